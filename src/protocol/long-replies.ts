/**
 * Turns at making long replies without bulk bytes, such as pages of large directories, for all connections of a listener.
 *
 * Each connection has a bound of its own (incoming.ts), but many of them would add up to seconds of work in one turn of the event
 * loop, during which nobody else is answered and no garbage is collected. So few are made at a time. Who wants one meanwhile
 * waits in line: one reply, and then the others, however much a connection asks for.
 */
import type { Shape } from "./schema.ts";

/** Replies that are usually longer than this take turns. */
export const LONG_REPLY_BYTES = 64 * 1024;

const LONGEST_INTEGER_BYTES = 9;

/** So many are made at a time. */
export const LONG_REPLIES_AT_ONCE = 4;

/** Whether a reply of this shape can be so long: what is supposed of it before the first one is known. */
export function mayBeLong(shape: Shape): boolean {
  return mostBytes(shape) > LONG_REPLY_BYTES;
}

function mostBytes(shape: Shape): number {
  switch (shape.kind) {
    case "text":
      return 3 * shape.most; // bytes of a character of UTF-16, at most
    case "bytes":
      return shape.most;
    case "optional":
      return mostBytes(shape.of);
    case "list":
      return shape.most * mostBytes(shape.of);
    case "record":
      return shape.fields.reduce((sum, [, field]) => sum + mostBytes(field), 0);
    default:
      return LONGEST_INTEGER_BYTES;
  }
}

/** Who may have to wait. */
export interface Waiter {
  /** Its turn has come, or may have: it asks again. */
  handleParked(): void;
}

export class LongReplies {
  private readonly waiting = new Set<Waiter>();
  private readonly defer: (callback: () => void) => void;
  private running = 0;
  private called: Waiter | undefined;
  private isPlanned = false;

  /** `defer` calls back in a later turn of the event loop. */
  constructor(defer: (callback: () => void) => void) {
    this.defer = defer;
  }

  /** True when one may be begun, which `ended` must follow; otherwise `handleParked` is called later. */
  take(waiter: Waiter): boolean {
    const isTurn = this.waiting.size === 0 || this.called === waiter;
    if (this.running >= LONG_REPLIES_AT_ONCE || !isTurn) {
      this.waiting.add(waiter);
      return false;
    }
    this.called = undefined;
    this.running++;
    return true;
  }

  /** One that was begun has ended, in whatever way. */
  ended(): void {
    this.running--;
    if (this.waiting.size > 0) this.plan();
  }

  /** It wants nothing any more. */
  forget(waiter: Waiter): void {
    this.waiting.delete(waiter);
  }

  private plan(): void {
    if (this.isPlanned) return;
    this.isPlanned = true;
    this.defer(() => {
      this.isPlanned = false;
      this.callWaiting();
    });
  }

  private callWaiting(): void {
    const before = [...this.waiting];
    for (const waiter of before) {
      if (this.running >= LONG_REPLIES_AT_ONCE) break;
      if (!this.waiting.delete(waiter)) continue; // it has ended
      this.called = waiter;
      waiter.handleParked(); // who wants more is the last of those who wait now
      this.called = undefined;
    }
    if (this.waiting.size > 0 && this.running === 0) this.plan();
  }
}
