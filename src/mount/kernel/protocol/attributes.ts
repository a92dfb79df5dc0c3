/**
 * `fuse_attr`, `fuse_attr_out`, `fuse_entry_out` and `fuse_open_out`: attributes and how long they hold.
 */
import type { InodeId } from "../../../base/ids.ts";
import type { Attributes, FileType } from "../../../protocol/messages/common.ts";
import type { Timeouts, ToldAttributes } from "../../file-system.ts";
import { PAGE_BYTES, S_IFMT } from "./constants.ts";
import type { ReplyBody } from "./reply.ts";

const NS_PER_SECOND = 1_000_000_000;
const NO_INODE = 0n;

const MODE_OF_TYPE: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  characterDevice: 0o020000,
  directory: 0o040000,
  blockDevice: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

const TYPE_OF_MODE: ReadonlyMap<number, FileType> = new Map(
  Object.entries(MODE_OF_TYPE).map(([type, mode]) => [mode, type as FileType]),
);

/** The type in the upper bits of a mode; undefined when there is no such type. */
export function typeOfMode(mode: number): FileType | undefined {
  return TYPE_OF_MODE.get(mode & S_IFMT);
}

/** The number of a type in directory entries, `d_type`. */
export function direntType(type: FileType): number {
  return MODE_OF_TYPE[type] >> 12;
}

/** How attributes are shown that the file system says nothing about. */
export interface Presentation {
  readonly timeouts: Timeouts;
  /**
   * st_blksize. At least a page: programs size their buffers by it, and a cluster with blocks of 8 bytes would have them ask
   * for 8 bytes at a time.
   */
  readonly blockSize: number;
}

export function presentationOf(timeouts: Timeouts, blockSize: number): Presentation {
  return { timeouts, blockSize: Math.max(blockSize, PAGE_BYTES) };
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}

function nanoseconds(ms: number): number {
  return Math.floor((ms % 1000) * 1_000_000);
}

/** A time as the kernel has it: whole seconds, and nanoseconds within the second, which are never negative, also before 1970. */
class SplitTime {
  seconds = 0;
  ns = 0;
  private readonly view = new DataView(new ArrayBuffer(8));

  /** Divides 16 bits at a time: a BigInt for each step would be garbage. */
  split(timeNs: bigint): void {
    this.view.setBigInt64(0, timeNs);
    this.seconds = Math.floor(this.view.getInt16(0) / NS_PER_SECOND);
    this.ns = this.view.getInt16(0) - this.seconds * NS_PER_SECOND;
    for (let at = 2; at < 8; at += 2) {
      const left = this.ns * 65_536 + this.view.getUint16(at);
      const quotient = Math.floor(left / NS_PER_SECOND);
      this.seconds = this.seconds * 65_536 + quotient;
      this.ns = left - quotient * NS_PER_SECOND;
    }
  }
}

const [atime, mtime, ctime] = [new SplitTime(), new SplitTime(), new SplitTime()];

/** `fuse_attr`, 88 bytes. */
function encodeAttributes(body: ReplyBody, attributes: Attributes, blockSize: number): void {
  atime.split(attributes.atimeNs);
  mtime.split(attributes.mtimeNs);
  ctime.split(attributes.ctimeNs);
  body.uint64(attributes.inode);
  body.number(attributes.size);
  body.number(Math.ceil(attributes.allocated / 512));
  body.number(atime.seconds);
  body.number(mtime.seconds);
  body.number(ctime.seconds);
  body.uint32(atime.ns);
  body.uint32(mtime.ns);
  body.uint32(ctime.ns);
  body.uint32(MODE_OF_TYPE[attributes.type] | attributes.mode);
  body.uint32(attributes.nlink);
  body.uint32(attributes.uid);
  body.uint32(attributes.gid);
  body.uint32(attributes.rdev);
  body.uint32(blockSize);
  body.uint32(0);
}

/** `fuse_attr_out`, 104 bytes. */
export function encodeAttributesReply(
  body: ReplyBody,
  attributes: ToldAttributes,
  { timeouts, blockSize }: Presentation,
): void {
  const holdsMs = Math.max(0, timeouts.attributesMs - (attributes.ageMs ?? 0));
  body.number(seconds(holdsMs));
  body.uint32(nanoseconds(holdsMs));
  body.uint32(0);
  encodeAttributes(body, attributes, blockSize);
}

/** What a name stands for: how long name and attributes hold. */
function encodeValidity(
  body: ReplyBody,
  inode: InodeId | typeof NO_INODE,
  entryMs: number,
  attributesMs: number,
): void {
  body.uint64(inode);
  body.uint64(0n); // generation: inode numbers are never reused
  body.number(seconds(entryMs));
  body.number(seconds(attributesMs));
  body.uint32(nanoseconds(entryMs));
  body.uint32(nanoseconds(attributesMs));
}

/** `fuse_entry_out`, 128 bytes. */
export function encodeEntry(
  body: ReplyBody,
  attributes: Attributes,
  { timeouts, blockSize }: Presentation,
): void {
  encodeValidity(body, attributes.inode, timeouts.entryMs, timeouts.attributesMs);
  encodeAttributes(body, attributes, blockSize);
}

/** `fuse_entry_out` for a name that does not exist, which the kernel remembers for this time. */
export function encodeNegativeEntry(body: ReplyBody, negativeMs: number): void {
  encodeValidity(body, NO_INODE, negativeMs, 0);
  body.zeros(88);
}

/** `fuse_open_out`, 16 bytes. */
export function encodeOpened(body: ReplyBody, handle: number, flags: number): void {
  body.number(handle);
  body.uint32(flags);
  body.uint32(0);
}
