/**
 * What a data server keeps of one backup of the metadata: two files in its directory `backups`, named after the backup's
 * number in 16 hexadecimal digits. Both are written once.
 *
 *     NUMBER.db       the bytes
 *     NUMBER.json     what they are and their checksums; the backup is held once this file is there
 *
 *     { "format": 1, "backup", "cluster", "reign", "lsn", "createdNs", "length", "checksum", "address", "files",
 *       "chunks", "seal" }
 *
 * 64-bit numbers are texts of decimal digits, `chunks` is the list of chunk hashes in hexadecimal, `seal` the hash of
 * everything before it, as 16 hexadecimal digits.
 */
import { backupName, verifyChunkList } from "../../base/backup.ts";
import { hash64 } from "../../base/checksum.ts";
import { DfsError, messageOf } from "../../base/errors.ts";
import { clusterId, lsn, reignId } from "../../base/ids.ts";
import type { BackupManifest } from "../../protocol/messages/backup.ts";
import { clusterIdBytes, clusterIdOf } from "../../protocol/messages/common.ts";

const FORMAT = 1;

/** A backup that is held: what it is, and the hashes of its chunks. */
export interface HeldBackup {
  readonly manifest: BackupManifest;
  readonly chunks: Uint8Array;
}

/** The name of the file with the bytes, and of the one that says what they are. */
export const bytesFile = (backup: bigint): string => `${backupName(backup)}.db`;
export const manifestFile = (backup: bigint): string => `${backupName(backup)}.json`;

/** The number in the name of one of the two files; undefined for another file. */
export function backupOfFile(name: string): { backup: bigint; kind: "db" | "json" } | undefined {
  const match = /^([0-9a-f]{16})\.(db|json)$/.exec(name);
  if (match === null) return undefined;
  return { backup: BigInt(`0x${match[1]}`), kind: match[2] as "db" | "json" };
}

/** The bytes of the file that says what a backup is. */
export function encodeManifest({ manifest, chunks }: HeldBackup): Uint8Array {
  const fields = {
    format: FORMAT,
    backup: backupName(manifest.backup),
    cluster: clusterIdOf(manifest.cluster),
    reign: String(manifest.reign),
    lsn: String(manifest.lsn),
    createdNs: String(manifest.createdNs),
    length: manifest.length,
    checksum: String(manifest.checksum),
    address: manifest.address,
    files: manifest.files,
    chunks: chunks.toHex(),
  };
  const text = JSON.stringify({ ...fields, seal: sealOf(fields) }, null, 2);
  return new TextEncoder().encode(`${text}\n`);
}

/**
 * What the bytes of such a file say.
 * @throws DfsError `io` when they are damaged, `unsupported` when they are of another format.
 */
export function decodeManifest(bytes: Uint8Array): HeldBackup {
  const { seal, ...fields } = parse(bytes);
  if (seal !== sealOf(fields)) throw damaged("its checksum is wrong");
  if (fields["format"] !== FORMAT) {
    throw new DfsError("unsupported", `it is of format ${String(fields["format"])}`);
  }
  const number = (name: string): bigint => BigInt(String(fields[name]));
  const manifest: BackupManifest = {
    backup: BigInt(`0x${String(fields["backup"])}`),
    cluster: clusterIdBytes(clusterId(String(fields["cluster"]))),
    reign: reignId(number("reign")),
    lsn: lsn(number("lsn")),
    createdNs: number("createdNs"),
    length: Number(fields["length"]),
    checksum: number("checksum"),
    address: String(fields["address"]),
    files: Number(fields["files"]),
  };
  const chunks = Uint8Array.fromHex(String(fields["chunks"]));
  if (!verifyChunkList(manifest.length, chunks, manifest.checksum)) {
    throw damaged("its list of hashes does not fit its checksum");
  }
  return { manifest, chunks };
}

function sealOf(fields: Readonly<Record<string, unknown>>): string {
  return backupName(hash64(new TextEncoder().encode(JSON.stringify(fields))));
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch (error) {
    throw damaged(messageOf(error));
  }
  throw damaged("it is no object");
}

function damaged(how: string): DfsError {
  return new DfsError("io", `it is damaged: ${how}`);
}
