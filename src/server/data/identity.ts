/**
 * Who a data server is and what it has seen, in one small file of its directory.
 *
 *     identity.json      { "format": 1, "cluster", "server", "incarnation", "recovered", "reign", "lsn",
 *                          "highestBlock", "address", "accepted", "checksum" }
 *
 * 64-bit numbers are texts of decimal digits; `checksum` is the hash of everything before it, as 16 hexadecimal digits.
 * `accepted` names the times that an older copy of the metadata was declared the right one, as far as this server knows
 * them (`join.ts`); files of before have none. The file is replaced as a whole, durably. `cluster` and `server` are null from the moment that `--new` or `--recover`
 * has begun a directory to its first registration (with `--recover` the server is known, the cluster is not).
 */
import { join } from "node:path";
import { hash64 } from "../../base/checksum.ts";
import { readWholeFile, replaceFile, type Disk } from "../../base/disk.ts";
import { DfsError, messageOf } from "../../base/errors.ts";
import {
  blockId,
  clusterId,
  incarnationId,
  lsn,
  reignId,
  serverId,
  type BlockId,
  type ClusterId,
  type IncarnationId,
  type Lsn,
  type ReignId,
  type ServerId,
} from "../../base/ids.ts";

export const IDENTITY_FILE = "identity.json";

const FORMAT = 1;

/** The newest state of a metadata database that this server has served. */
export interface SeenReign {
  readonly reign: ReignId;
  readonly lsn: Lsn;
}

export interface Identity {
  readonly cluster: ClusterId | undefined;
  readonly server: ServerId | undefined;
  readonly incarnation: IncarnationId;
  /** The incarnation was begun by `--recover`. */
  readonly recovered: boolean;
  readonly seen: SeenReign | undefined;
  /** No block with a larger id was ever held in a segment that has been deleted since. */
  readonly highestBlock: BlockId;
  /** Where it listened last, so that it comes back there. */
  readonly address: string | undefined;
  /** Acceptances of older copies of the metadata that this server knows: each makes it go along with one but once. */
  readonly accepted: readonly bigint[];
}

/** The bytes of the file. */
export function encodeIdentity(identity: Identity): Uint8Array {
  const fields = {
    format: FORMAT,
    cluster: identity.cluster ?? null,
    server: identity.server ?? null,
    incarnation: String(identity.incarnation),
    recovered: identity.recovered,
    reign: identity.seen === undefined ? null : String(identity.seen.reign),
    lsn: identity.seen === undefined ? null : String(identity.seen.lsn),
    highestBlock: String(identity.highestBlock),
    address: identity.address ?? null,
    accepted: identity.accepted.map(String),
  };
  const text = JSON.stringify({ ...fields, checksum: checksumOfFields(fields) }, null, 2);
  return new TextEncoder().encode(`${text}\n`);
}

/**
 * What the bytes of the file say.
 * @throws DfsError `io` when they are damaged, `unsupported` when they are of another format. `path` is for the message.
 */
export function decodeIdentity(bytes: Uint8Array, path: string): Identity {
  const fields = parse(bytes, path);
  const { checksum, ...rest } = fields;
  if (checksum !== checksumOfFields(rest)) throw damaged(path);
  if (fields["format"] !== FORMAT) {
    throw new DfsError(
      "unsupported",
      `cannot use ${path}: it is of format ${String(fields["format"])}, which this build does not know\n` +
        "start the newer build that wrote it",
    );
  }
  const text = (name: string): string => String(fields[name]);
  const isThere = (name: string): boolean => fields[name] !== null;
  return {
    cluster: isThere("cluster") ? clusterId(text("cluster")) : undefined,
    server: isThere("server") ? serverId(Number(fields["server"])) : undefined,
    incarnation: incarnationId(BigInt(text("incarnation"))),
    recovered: fields["recovered"] === true,
    seen: isThere("reign")
      ? { reign: reignId(BigInt(text("reign"))), lsn: lsn(BigInt(text("lsn"))) }
      : undefined,
    highestBlock: blockId(BigInt(text("highestBlock"))),
    address: isThere("address") ? text("address") : undefined,
    accepted: ((fields["accepted"] ?? []) as unknown[]).map((each) => BigInt(String(each))),
  };
}

/** The identity in a directory, and the way to change it. Changes are written one after the other, each durably. */
export class IdentityFile {
  private readonly disk: Disk;
  private readonly directory: string;
  private identity: Identity;
  private writing: Promise<void> = Promise.resolve();

  private constructor(disk: Disk, directory: string, identity: Identity) {
    this.disk = disk;
    this.directory = directory;
    this.identity = identity;
  }

  /** Reads the file of a directory; undefined when there is none. @throws DfsError as `decodeIdentity`. */
  static read(disk: Disk, directory: string): IdentityFile | undefined {
    if (disk.list(directory)?.includes(IDENTITY_FILE) !== true) return undefined;
    const path = join(directory, IDENTITY_FILE);
    return new IdentityFile(disk, directory, decodeIdentity(readWholeFile(disk, path), path));
  }

  /** Begins a directory with this identity. */
  static async create(disk: Disk, directory: string, identity: Identity): Promise<IdentityFile> {
    const file = new IdentityFile(disk, directory, identity);
    await file.change({});
    return file;
  }

  /** As it was written last, or is being written. */
  get current(): Identity {
    return this.identity;
  }

  /** Changes fields; resolves when that is durable. @throws DfsError `io` when it cannot be made so. */
  change(fields: Partial<Identity>): Promise<void> {
    this.identity = { ...this.identity, ...fields };
    const write = this.writing.then(() => this.write());
    this.writing = write.catch(() => undefined); // whoever asked is told; the next change writes everything anew
    return write;
  }

  private async write(): Promise<void> {
    try {
      const bytes = encodeIdentity(this.identity);
      await replaceFile(this.disk, this.directory, IDENTITY_FILE, bytes);
    } catch (error) {
      const path = join(this.directory, IDENTITY_FILE);
      throw new DfsError("io", `cannot write ${path}: ${messageOf(error)}`, { cause: error });
    }
  }
}

function checksumOfFields(fields: Readonly<Record<string, unknown>>): string {
  const bytes = new TextEncoder().encode(JSON.stringify(fields));
  return hash64(bytes).toString(16).padStart(16, "0");
}

function parse(bytes: Uint8Array, path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch {
    // not JSON at all: damaged, as below
  }
  throw damaged(path);
}

function damaged(path: string): DfsError {
  return new DfsError(
    "io",
    `cannot use ${path}: it is damaged, so nobody knows which server this directory is\n` +
      "move the directory away and start the server with an empty one and --recover ID; its blocks are copied again",
  );
}
