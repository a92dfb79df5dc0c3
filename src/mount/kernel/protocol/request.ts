/**
 * One request of the kernel, read in place.
 *
 *      0  u32 len        of the whole request
 *      4  u32 opcode
 *      8  u64 unique     to be repeated in the reply
 *     16  u64 nodeid     inode number
 *     24  u32 uid, gid, pid
 *     36  u16 total_extlen, in units of 8 bytes: extensions behind the body; not negotiated, so 0
 *     40  body
 *
 * The memory is used again for the next request: handlers take everything out of it before they wait for anything. Names are
 * copied out; the bytes of a large write stay where they are, and the memory stays with the request until it is answered.
 * Whatever is read is checked against the length of the request; what does not fit is EINVAL.
 */
import { Cancellation, type CancelSignal } from "../../../base/cancellation.ts";
import { DfsError } from "../../../base/errors.ts";
import { inodeId, type InodeId } from "../../../base/ids.ts";
import type { Memory } from "../connection/memory.ts";
import type { Caller, Handle } from "../../file-system.ts";
import { IN_HEADER_BYTES } from "./constants.ts";

/** Writes smaller than this are copied out of the memory, which can then be used for the next request at once. */
const KEEP_MEMORY_FROM_BYTES = 64 * 1024;

const TWO_TO_THE_32 = 4_294_967_296;
/** High words from here on are beyond 2^53. */
const FIRST_UNSAFE_HIGH_WORD = 0x20_0000;

/** Turns two words into a number; Infinity from 2^53 on, which every comparison with a limit sees. */
function joinWords(low: number, high: number): number {
  return high >= FIRST_UNSAFE_HIGH_WORD ? Infinity : high * TWO_TO_THE_32 + low;
}

/** Requests by their `unique`, as one number. It rises by 2 with each request: 2^53 is never reached. */
export type RequestKey = number;

export class Request {
  readonly opcode: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly inode: InodeId;
  /** The thread that waits for the answer; 0 when we cannot see it. */
  readonly pid: number;
  /** True when the handler has kept the memory; it goes back when the request is answered. */
  keepsMemory = false;
  readonly memory: Memory;
  private readonly end: number;
  private position = IN_HEADER_BYTES;
  private abort: Cancellation | undefined;
  private interrupted = false;

  /** @throws DfsError `protocol` when these bytes are not one whole request. */
  constructor(memory: Memory, received: number) {
    const { view } = memory;
    if (received < IN_HEADER_BYTES || view.getUint32(0, true) !== received) {
      throw new DfsError(
        "protocol",
        `cannot read a request of the kernel: it has ${received} bytes and says otherwise`,
      );
    }
    const extensions = view.getUint16(36, true) * 8;
    if (IN_HEADER_BYTES + extensions > received) {
      throw new DfsError("protocol", `cannot read a request of the kernel: extensions too long`);
    }
    this.memory = memory;
    this.end = received - extensions;
    this.opcode = view.getUint32(4, true);
    this.uniqueLow = view.getUint32(8, true);
    this.uniqueHigh = view.getUint32(12, true);
    this.inode = inodeId(view.getBigUint64(16, true));
    this.pid = view.getUint32(32, true);
  }

  get key(): RequestKey {
    return this.uniqueHigh * TWO_TO_THE_32 + this.uniqueLow;
  }

  /** Who asks. Read before waiting. */
  get caller(): Caller {
    const { view } = this.memory;
    return {
      uid: view.getUint32(24, true),
      gid: view.getUint32(28, true),
      pid: this.pid,
    };
  }

  /** Aborted when the process that waits for this request shall not wait any longer. */
  get signal(): CancelSignal {
    this.abort ??= new Cancellation();
    if (this.interrupted) this.abort.abort();
    return this.abort;
  }

  /** The process that waits does not want to wait any longer. */
  interrupt(): void {
    this.interrupted = true;
    this.abort?.abort();
  }

  /** Bytes of the body that have not been read yet. */
  get remaining(): number {
    return this.end - this.position;
  }

  skip(length: number): void {
    this.advance(length);
  }

  uint32(): number {
    return this.memory.view.getUint32(this.advance(4), true);
  }

  uint64(): bigint {
    return this.memory.view.getBigUint64(this.advance(8), true);
  }

  int64(): bigint {
    return this.memory.view.getBigInt64(this.advance(8), true);
  }

  /** An unsigned 64-bit number as a JavaScript number; Infinity when it has no exact one. */
  number(): number {
    const at = this.advance(8);
    const { view } = this.memory;
    return joinWords(view.getUint32(at, true), view.getUint32(at + 4, true));
  }

  /** The number of an open file or directory. @throws DfsError `invalid` for one that was never given out. */
  handle(): Handle {
    const handle = this.number();
    if (handle === Infinity) throw new DfsError("invalid", "there is no such handle");
    return handle;
  }

  /** Bytes up to a NUL, which must be there, in memory of their own. */
  name(): Uint8Array {
    const { bytes } = this.memory;
    const nul = bytes.indexOf(0, this.position);
    if (nul < 0 || nul >= this.end) throw this.tooShort();
    const name = bytes.slice(this.position, nul);
    this.position = nul + 1;
    return name;
  }

  /** The next bytes in memory of their own. */
  bytes(length: number): Uint8Array {
    const at = this.advance(length);
    return this.memory.bytes.slice(at, at + length);
  }

  /** The next bytes, which stay valid until the request is answered: copied when they are few, else left in place. */
  payload(length: number): Uint8Array {
    if (length < KEEP_MEMORY_FROM_BYTES) return this.bytes(length);
    const at = this.advance(length);
    this.keepsMemory = true;
    return this.memory.bytes.subarray(at, at + length);
  }

  private advance(length: number): number {
    const at = this.position;
    if (length > this.end - at) throw this.tooShort();
    this.position = at + length;
    return at;
  }

  private tooShort(): DfsError {
    return new DfsError("invalid", `request ${this.opcode} of the kernel is too short`);
  }
}
