/**
 * Turns at making replies without bulk bytes that can be long, such as pages of large directories, for all connections of a
 * listener.
 *
 * Each connection has a bound of its own (incoming.ts), but many of them would add up to seconds of work in one turn of the event
 * loop, during which nobody else is answered and no garbage is collected. So few are made at a time. Who wants one meanwhile
 * waits in line: one reply, and then the others, however much a connection asks for.
 *
 * How long replies usually are is known from those before, and may be wrong: somebody who lists empty directories and then large
 * ones makes them look short. What has been begun cannot be taken back, so of those that can be long and usually are not only
 * some are begun together as well. They have a line of their own: who opens a file does not wait behind listings.
 *
 * A handler that waits for a thread or for another server holds its place as long as that takes. Such requests have lines of
 * their own, one pair for each kind: nobody else waits for what they wait for.
 */
import type { Shape } from "./schema.ts";

/** A reply of so many bytes is a long one. */
export const LONG_REPLY_BYTES = 64 * 1024;

const LONGEST_INTEGER_BYTES = 9;

/** So many that are usually long are made at a time, and in one turn of the event loop. */
export const LONG_REPLIES_AT_ONCE = 4;

/** So many that can be long are made at a time, when they usually are not. */
export const UNSURE_REPLIES_AT_ONCE = 32;

/**
 * Where a request has its turn: in the lines of all whose replies can be long, in those of its kind alone, or nowhere.
 */
export type Turns = "shared" | "own" | "none";

/** What decides about the line of a request. */
export interface Turning {
  readonly definition: { readonly code: number };
  readonly turns: Turns;
  /** How long its replies usually are; undefined: nobody knows. */
  readonly usualReplyBytes: number | undefined;
}

/** Whether a reply of this shape can be so long. */
export function mayBeLong(shape: Shape): boolean {
  return mostBytes(shape) >= LONG_REPLY_BYTES;
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
    case "packed":
      return shape.most * shape.rowBytes;
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

/** For replies that usually are long, and for those that can be and usually are not. */
interface Lines {
  readonly long: Line;
  readonly unsure: Line;
}

/** The lines of a listener. */
export class LongReplies {
  private readonly defer: (callback: () => void) => void;
  private readonly shared: Lines;
  /** By the code of the request. */
  private readonly own = new Map<number, Lines>();

  /** `defer` calls back in a later turn of the event loop. */
  constructor(defer: (callback: () => void) => void) {
    this.defer = defer;
    this.shared = this.newLines();
  }

  /** The line in which a request has its turn; undefined: it need not wait for one. */
  lineFor({ definition, turns, usualReplyBytes }: Turning): Line | undefined {
    if (turns === "none") return undefined;
    const { long, unsure } = turns === "shared" ? this.shared : this.ownOf(definition.code);
    return (usualReplyBytes ?? Infinity) >= LONG_REPLY_BYTES ? long : unsure;
  }

  /** It wants nothing any more. */
  forget(waiter: Waiter): void {
    for (const { long, unsure } of [this.shared, ...this.own.values()]) {
      long.forget(waiter);
      unsure.forget(waiter);
    }
  }

  private ownOf(code: number): Lines {
    const lines = this.own.get(code) ?? this.newLines();
    this.own.set(code, lines);
    return lines;
  }

  private newLines(): Lines {
    return {
      long: new Line(LONG_REPLIES_AT_ONCE, this.defer),
      unsure: new Line(UNSURE_REPLIES_AT_ONCE, this.defer),
    };
  }
}

/** Places for replies that are made at a time, and those who wait for one. */
export class Line {
  private readonly places: number;
  private readonly waiting = new Set<Waiter>();
  private readonly defer: (callback: () => void) => void;
  private taken = 0;
  /** Of these, places whose replies were long: they are free in the next turn of the event loop. */
  private freedLater = 0;
  private called: Waiter | undefined;
  private isDeferred = false;
  private isCalling = false;

  constructor(places: number, defer: (callback: () => void) => void) {
    this.places = places;
    this.defer = defer;
  }

  /** True when a reply may be begun, which `ended` must follow; otherwise `handleParked` is called later. */
  take(waiter: Waiter): boolean {
    const isTurn = this.waiting.size === 0 || this.called === waiter;
    if (this.taken >= this.places || !isTurn) {
      this.waiting.add(waiter);
      return false;
    }
    this.called = undefined;
    this.taken++;
    return true;
  }

  /** A reply that was begun has ended, in whatever way, and has so many bytes. */
  ended(bytes: number): void {
    if (bytes >= LONG_REPLY_BYTES) {
      this.freedLater++;
      this.freeLater();
      return;
    }
    this.taken--;
    this.callSoon();
  }

  /** It wants nothing any more. */
  forget(waiter: Waiter): void {
    this.waiting.delete(waiter);
  }

  private freeLater(): void {
    if (this.isDeferred) return;
    this.isDeferred = true;
    this.defer(() => {
      this.isDeferred = false;
      this.taken -= this.freedLater;
      this.freedLater = 0;
      this.callWaiting();
    });
  }

  /** Not from inside `ended`: a handler that answers at once would call it again from there. */
  private callSoon(): void {
    if (this.isCalling || this.waiting.size === 0) return;
    this.isCalling = true;
    queueMicrotask(() => {
      this.isCalling = false;
      this.callWaiting();
    });
  }

  private callWaiting(): void {
    const before = [...this.waiting];
    for (const waiter of before) {
      if (this.taken >= this.places) break;
      if (!this.waiting.delete(waiter)) continue; // it has ended
      this.called = waiter;
      waiter.handleParked(); // who wants more is the last of those who wait now
      this.called = undefined;
    }
    // Nobody is left whose end would call those who wait now.
    if (this.waiting.size > 0 && this.taken === 0) this.freeLater();
  }
}
