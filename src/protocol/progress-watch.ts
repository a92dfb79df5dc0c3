/**
 * Notices a connection that does not get on: a frame that was begun and does not come, a peer that asks nothing for a long time,
 * and, while others wait for memory, one that holds some and neither sends nor reads.
 *
 * It is looked at every LOOK_MS (door.ts). What is counted are looks, not time: when this process stood still, its peers had no
 * chance to send.
 */
import { DfsError } from "../base/errors.ts";
import { LOOK_MS } from "./door.ts";
import { notEnough } from "./shared-memory.ts";
import { SEND_STALL_TIMEOUT_MS } from "./stall-watch.ts";

/** A frame that was begun is to come at this rate at least; and whatever its length, it has FRAME_GRACE_MS. */
const FRAME_BYTES_PER_SECOND = 64 * 1024;
export const FRAME_GRACE_MS = 30_000;

/** A peer that has said and been asked nothing for so long is sent away. It connects again when it wants something. */
export const IDLE_MS = 600_000;

/** Looks without progress after which a connection must go when others wait for memory. */
const SCARCE_LOOKS = 2;

/** A connection as it is at one look. */
export interface Progress {
  /** A frame has been begun, and nothing on this side keeps it from coming. */
  readonly isFrameComing: boolean;
  /** Memory taken for it. */
  readonly frameBytes: number;
  /** Frames that have come whole so far. */
  readonly frames: number;
  /** Bytes wait for the peer to read. */
  readonly isStalled: boolean;
  /** Something is asked, answered or sent. */
  readonly isBusy: boolean;
  /** What it holds of the memory that others wait for; 0 when nobody waits. */
  readonly scarceFrameBytes: number;
  readonly scarceBytes: number;
}

function notReading(): DfsError {
  return new DfsError("timeout", "bytes wait for a peer that does not read");
}

export class ProgressWatch {
  private receivedBytes = 0;
  private hasTaken = false;
  private idleLooks = 0;
  /** Looks during which one frame was being received, and how many had come whole before it. */
  private frameLooks = 0;
  private framesBefore = 0;
  /** Looks in a row during which bytes waited for the peer and it took none. */
  private stalledLooks = 0;

  /** For how many looks in a row nothing has gone on. */
  get idleFor(): number {
    return this.idleLooks;
  }

  /** Bytes have come from the peer. */
  received(bytes: number): void {
    this.receivedBytes += bytes;
  }

  /** The peer has taken bytes. */
  taken(): void {
    this.hasTaken = true;
  }

  /** True when nothing has gone on for IDLE_MS. */
  get isIdle(): boolean {
    return this.idleLooks * LOOK_MS >= IDLE_MS;
  }

  /** Why the connection must end now; undefined when it may go on. */
  look(progress: Progress): DfsError | undefined {
    const received = this.receivedBytes;
    this.receivedBytes = 0;
    this.count(progress, received);
    return this.lateFrame(progress) ?? this.notGettingOn(progress, received);
  }

  private count({ isFrameComing, frames, isStalled, isBusy }: Progress, received: number): void {
    const isSameFrame = frames === this.framesBefore;
    this.frameLooks = isFrameComing ? (isSameFrame ? this.frameLooks : 0) + 1 : 0;
    this.framesBefore = frames;
    this.stalledLooks = isStalled && !this.hasTaken ? this.stalledLooks + 1 : 0;
    this.hasTaken = false;
    this.idleLooks = isBusy || received > 0 ? 0 : this.idleLooks + 1;
  }

  private lateFrame({ frameBytes }: Progress): DfsError | undefined {
    const waitedMs = this.frameLooks * LOOK_MS;
    if (waitedMs <= FRAME_GRACE_MS + (frameBytes / FRAME_BYTES_PER_SECOND) * 1000) return undefined;
    return new DfsError("timeout", `a frame that was begun was not there after ${waitedMs} ms`);
  }

  private notGettingOn(
    { scarceFrameBytes, scarceBytes }: Progress,
    received: number,
  ): DfsError | undefined {
    const isSlow = received < (FRAME_BYTES_PER_SECOND * LOOK_MS) / 1000;
    if (scarceFrameBytes > 0 && isSlow && this.frameLooks > SCARCE_LOOKS) {
      return notEnough(scarceFrameBytes);
    }
    if (this.stalledLooks * LOOK_MS > SEND_STALL_TIMEOUT_MS) return notReading();
    // What it has asked for cannot be answered, as long as it does not read.
    return scarceBytes > 0 && this.stalledLooks >= SCARCE_LOOKS
      ? notEnough(scarceBytes)
      : undefined;
  }
}
