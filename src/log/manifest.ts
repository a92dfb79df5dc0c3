/**
 * The manifest: the list of the segments that a log consists of, in a small file that is replaced as a whole.
 *
 * The segments tell everything but one thing: that one of them has disappeared. Therefore
 * - a segment is in the manifest, durably, before its first record is written,
 * - and is out of it, durably, before its file is deleted.
 *
 * So a segment that the manifest names and that is not there has been lost; one that is there and not named was being made,
 * or deleted, when the last process ended, and counts like any other. A lost one stays in the manifest until a record has
 * been written behind it: until then nothing else would tell which numbers it may have used.
 *
 *     0  magic "dfs-man\n"    8
 *     8  version              4
 *    12  server               4
 *    16  cluster             16
 *    32  count of segments    8
 *    40  XXH3 of the list     8
 *    48  XXH3 of 0 to 48      8
 *    56  the list: number (8) and salt (8) of each segment, by rising number
 *
 * Integers are unsigned and big-endian. Frozen, as format.ts.
 */
import { join } from "node:path";
import { hash64 } from "../base/checksum.ts";
import { readWholeFile, replaceFile, type Disk } from "../base/disk.ts";
import { DfsError, systemCodeOf } from "../base/errors.ts";
import type { ClusterId, ServerId } from "../base/ids.ts";
import { FIELD_BYTES, segmentIdentity, unknownVersion, viewOf } from "./format.ts";
import type { SegmentName } from "./segment.ts";

export const MANIFEST_FILE = "manifest";

const MANIFEST_VERSION = 1;

const { u32, u64, cluster: clusterBytes } = FIELD_BYTES;
const MAGIC = 0x64_66_73_2d_6d_61_6e_0an; // "dfs-man\n"
const MAGIC_AT = 0;
const VERSION_AT = MAGIC_AT + u64;
const SERVER_AT = VERSION_AT + u32;
const CLUSTER_AT = SERVER_AT + u32;
const COUNT_AT = CLUSTER_AT + clusterBytes;
const LIST_CHECKSUM_AT = COUNT_AT + u64;
const CHECKSUM_AT = LIST_CHECKSUM_AT + u64;
const HEADER_BYTES = CHECKSUM_AT + u64;
const ENTRY_BYTES = 2 * u64;

/** Whose log it is. */
export interface LogOwner {
  readonly cluster: ClusterId;
  readonly server: ServerId;
}

/** The bytes of a manifest that names `segments`, which are sorted by number. */
export function encodeManifest(owner: LogOwner, segments: readonly SegmentName[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + segments.length * ENTRY_BYTES);
  const view = viewOf(bytes);
  const { clusterWords } = segmentIdentity(owner.cluster, owner.server, 0, 0n);
  segments.forEach(({ number, salt }, index) => {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    view.setBigUint64(at, BigInt(number));
    view.setBigUint64(at + u64, salt);
  });
  view.setBigUint64(MAGIC_AT, MAGIC);
  view.setUint32(VERSION_AT, MANIFEST_VERSION);
  view.setUint32(SERVER_AT, owner.server);
  view.setBigUint64(CLUSTER_AT, clusterWords[0]);
  view.setBigUint64(CLUSTER_AT + u64, clusterWords[1]);
  view.setBigUint64(COUNT_AT, BigInt(segments.length));
  view.setBigUint64(LIST_CHECKSUM_AT, hash64(bytes.subarray(HEADER_BYTES)));
  view.setBigUint64(CHECKSUM_AT, hash64(bytes.subarray(0, CHECKSUM_AT)));
  return bytes;
}

/**
 * The segments that a manifest names, or undefined when its bytes are damaged.
 * @throws DfsError `unsupported` for a whole header of an unknown version, `wrongCluster`, `wrongPeer`.
 */
export function decodeManifest(owner: LogOwner, bytes: Uint8Array): SegmentName[] | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const view = viewOf(bytes);
  if (view.getBigUint64(MAGIC_AT) !== MAGIC) return undefined;
  if (view.getBigUint64(CHECKSUM_AT) !== hash64(bytes.subarray(0, CHECKSUM_AT))) return undefined;
  const version = view.getUint32(VERSION_AT);
  if (version !== MANIFEST_VERSION) throw unknownVersion(`a manifest of format version ${version}`);
  const cluster = bytes.subarray(CLUSTER_AT, CLUSTER_AT + clusterBytes).toHex();
  if (cluster !== owner.cluster) {
    throw new DfsError("wrongCluster", `it belongs to cluster ${cluster}, not to ${owner.cluster}`);
  }
  const server = view.getUint32(SERVER_AT);
  if (server !== owner.server) {
    throw new DfsError("wrongPeer", `it belongs to data server ${server}, not to ${owner.server}`);
  }
  const list = bytes.subarray(HEADER_BYTES);
  if (view.getBigUint64(COUNT_AT) * BigInt(ENTRY_BYTES) !== BigInt(list.length)) return undefined;
  if (view.getBigUint64(LIST_CHECKSUM_AT) !== hash64(list)) return undefined;
  const segments: SegmentName[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; at += ENTRY_BYTES) {
    const number = Number(view.getBigUint64(at));
    segments.push({ number, salt: view.getBigUint64(at + u64) });
  }
  return segments;
}

/** What an opening finds where the manifest should be. */
export interface FoundManifest {
  readonly state: "whole" | "damaged" | "missing";
  /** Length of the file. */
  readonly bytes: number;
  /** Empty unless it is whole. */
  readonly segments: readonly SegmentName[];
}

/**
 * Reads the manifest of a log's directory. What the disk cannot read is damaged.
 * @throws DfsError `unsupported`, `wrongCluster`, `wrongPeer` naming the file.
 */
export function readManifest(disk: Disk, directory: string, owner: LogOwner): FoundManifest {
  if (disk.list(directory)?.includes(MANIFEST_FILE) !== true) {
    return { state: "missing", bytes: 0, segments: [] };
  }
  const path = join(directory, MANIFEST_FILE);
  const bytes = readOrNothing(disk, path);
  try {
    const segments = decodeManifest(owner, bytes);
    const state = segments === undefined ? "damaged" : "whole";
    return { state, bytes: bytes.length, segments: segments ?? [] };
  } catch (error) {
    if (!(error instanceof DfsError)) throw error;
    throw new DfsError(error.kind, `cannot open ${path}: ${error.message}`, { cause: error });
  }
}

function readOrNothing(disk: Disk, path: string): Uint8Array {
  try {
    return readWholeFile(disk, path);
  } catch (error) {
    if (systemCodeOf(error) !== "EIO") throw error;
    return new Uint8Array(0);
  }
}

/** The manifest of an open log. Changes are made one after the other; those that wait are written together. */
export class Manifest {
  private readonly disk: Disk;
  private readonly directory: string;
  private readonly owner: LogOwner;
  private readonly salts: Map<number, bigint>;
  private lost: readonly SegmentName[];
  private writing: Promise<void> = Promise.resolve();
  private waiting: Promise<void> | undefined;
  /** The file names what it should, as far as is known. An opening says so when it has found it so. */
  isRight = false;

  /** `segments` and `lost` are those that the file names, or will name with the next change. */
  constructor(
    disk: Disk,
    directory: string,
    owner: LogOwner,
    segments: readonly SegmentName[],
    lost: readonly SegmentName[] = [],
  ) {
    this.disk = disk;
    this.directory = directory;
    this.owner = owner;
    this.lost = lost;
    this.salts = new Map(segments.map(({ number, salt }) => [number, salt]));
  }

  /** Adds a segment; resolves when that is durable. When it fails nobody knows whether the file names it. */
  async add({ number, salt }: SegmentName): Promise<void> {
    this.salts.set(number, salt);
    await this.write();
  }

  /** Takes a segment out; resolves when that is durable. When it fails the segment stays in. */
  async remove(number: number): Promise<void> {
    const salt = this.salts.get(number);
    if (salt === undefined) return;
    this.salts.delete(number);
    try {
      await this.write();
    } catch (error) {
      this.salts.set(number, salt);
      throw error;
    }
  }

  /** A record is durable behind all segments that have been lost: they need not be named any more. Does nothing twice. */
  async forgetLost(): Promise<void> {
    if (this.lost.length === 0) return;
    this.lost = [];
    await this.write();
  }

  /** Makes sure that the file names all segments: it may not, when the disk was full at the opening. */
  async settle(): Promise<void> {
    if (!this.isRight) await this.write();
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await this.waiting?.catch(() => undefined); // whoever asked is told
    await this.writing;
  }

  /** Writes the list as it is when its turn comes. */
  write(): Promise<void> {
    this.waiting ??= this.writing.then(() => {
      this.waiting = undefined;
      this.isRight = false;
      const write = this.replace().then(() => void (this.isRight = true));
      this.writing = write.catch(() => undefined); // whoever asked is told; the next write writes everything anew
      return write;
    });
    return this.waiting;
  }

  private replace(): Promise<void> {
    const segments = [...this.salts].map(([number, salt]) => ({ number, salt }));
    segments.push(...this.lost);
    segments.sort((a, b) => a.number - b.number);
    const bytes = encodeManifest(this.owner, segments);
    return replaceFile(this.disk, this.directory, MANIFEST_FILE, bytes);
  }
}
