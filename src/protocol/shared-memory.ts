/**
 * The memory that all connections of one listener may take together.
 *
 * Each connection has bounds of its own (connection.ts, incoming.ts), but many of them would add up. So two sums are kept: bytes
 * of frames that are being received or wait for an answer, and bytes that wait to be sent or are being read for that.
 *
 * - Over SHARED_RECEIVED_BYTES nobody begins to receive a long frame, over SHARED_QUEUED_BYTES nobody is read long replies for:
 *   they wait, in the order in which they came. Short frames go on, so that one who waits for little is not held up.
 * - While somebody waits, those who hold memory and do not get on are ended: who sends or reads nothing for a moment cannot keep
 *   others waiting. Nobody is ended for being slow while there is room.
 * - Over twice that much the connection that holds most is ended at once. Only short frames and replies can come to that.
 */
import { assert, DfsError } from "../base/errors.ts";
import { SHARED_QUEUED_BYTES, SHARED_RECEIVED_BYTES } from "../base/limits.ts";

/** Frames up to this length may be begun always: questions, heartbeats, hellos. */
export const SHORT_FRAME_BYTES = 64 * 1024;

/** A connection as seen from here. */
export interface MemoryUser {
  /** Bytes of frames that are being received, or are requests without an answer. */
  readonly receivedBytes: number;
  /** Bytes that wait to be sent, or are being read for that. */
  readonly queuedBytes: number;
  /** There is room: it may try again what `mayReceive` or `maySend` has refused. */
  memoryFreed(): void;
  /** Ends the connection. */
  fail(error: DfsError): void;
}

type Sum = "receivedBytes" | "queuedBytes";

const LIMITS: Readonly<Record<Sum, number>> = {
  receivedBytes: SHARED_RECEIVED_BYTES,
  queuedBytes: SHARED_QUEUED_BYTES,
};

export class SharedMemory {
  private readonly users = new Set<MemoryUser>();
  private readonly sums: Record<Sum, number> = { receivedBytes: 0, queuedBytes: 0 };
  /** Who waits for room, in the order in which they came. */
  private readonly waiting: Readonly<Record<Sum, Set<MemoryUser>>> = {
    receivedBytes: new Set(),
    queuedBytes: new Set(),
  };
  private wakePlanned = false;
  private endPlanned = false;

  /** Bytes of both kinds that are held now. */
  get bytes(): Readonly<Record<Sum, number>> {
    return this.sums;
  }

  join(user: MemoryUser): void {
    this.users.add(user);
  }

  /** The connection has ended. What it holds still must be given back as well. */
  leave(user: MemoryUser): void {
    this.users.delete(user);
    this.waiting.receivedBytes.delete(user);
    this.waiting.queuedBytes.delete(user);
    this.planWake();
  }

  /** True when `user` may begin to receive a frame of `length` bytes; otherwise `memoryFreed` follows. */
  mayReceive(user: MemoryUser, length: number): boolean {
    return length <= SHORT_FRAME_BYTES || this.may("receivedBytes", user, length);
  }

  /** True when up to `length` bytes may be read in order to be sent to `user`; otherwise `memoryFreed` follows. */
  maySend(user: MemoryUser, length: number): boolean {
    return this.may("queuedBytes", user, length);
  }

  /** Counts bytes that the connection holds more (or fewer: negative). */
  count(sum: Sum, bytes: number): void {
    this.sums[sum] += bytes;
    assert(this.sums[sum] >= 0, `${sum} of a listener went below zero`);
    if (bytes < 0) this.planWake();
    else if (this.sums[sum] > 2 * LIMITS[sum]) this.planEnd(sum);
  }

  /** True while somebody waits for room, so that who does not get on must go. */
  isScarce(sum: Sum): boolean {
    return this.waiting[sum].size > 0;
  }

  private may(sum: Sum, user: MemoryUser, length: number): boolean {
    if (!this.users.has(user)) return true; // it has ended: nothing comes of it any more
    const waiting = this.waiting[sum];
    const [first] = waiting;
    const isTurn = first === undefined || first === user;
    const held = this.sums[sum];
    if (isTurn && (held === 0 || held + length <= LIMITS[sum])) {
      waiting.delete(user);
      return true;
    }
    waiting.add(user);
    return false;
  }

  private planWake(): void {
    if (this.wakePlanned || !(this.isScarce("receivedBytes") || this.isScarce("queuedBytes")))
      return;
    this.wakePlanned = true;
    queueMicrotask(() => {
      this.wakePlanned = false;
      this.wake("receivedBytes");
      this.wake("queuedBytes");
    });
  }

  /** Lets those who wait try again, one after the other, until one has to wait on. */
  private wake(sum: Sum): void {
    const waiting = this.waiting[sum];
    const before = [...waiting];
    waiting.clear();
    for (const user of before) {
      if (!this.users.has(user)) continue;
      if (waiting.size > 0) waiting.add(user);
      else user.memoryFreed(); // who is refused again is now the first of those who wait
    }
  }

  /** Not at once: whoever holds more now is in the middle of something. */
  private planEnd(sum: Sum): void {
    if (this.endPlanned) return;
    this.endPlanned = true;
    queueMicrotask(() => {
      this.endPlanned = false;
      while (this.sums[sum] > 2 * LIMITS[sum] && this.endGreatest(sum));
    });
  }

  /** Returns false when nobody holds anything who could be ended. */
  private endGreatest(sum: Sum): boolean {
    let greatest: MemoryUser | undefined;
    for (const user of this.users) {
      if (greatest === undefined || user[sum] > greatest[sum]) greatest = user;
    }
    if (greatest === undefined || greatest[sum] === 0) return false;
    greatest.fail(notEnough(greatest[sum]));
    return true;
  }
}

/** Why a connection is ended whose memory others need. */
export function notEnough(bytes: number): DfsError {
  return new DfsError("busy", `it holds ${bytes} bytes, and others wait for memory`);
}
