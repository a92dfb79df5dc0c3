/**
 * The requests that this end has made on one connection and that have no reply yet.
 *
 * A request is either waiting for its turn (MAX_REQUESTS_IN_FLIGHT are unanswered, or the send queue is full), or sent,
 * or abandoned: sent, but its caller has been told `timeout` or `cancelled`. An abandoned one goes on counting, since
 * the peer is still busy with it; its late reply is dropped. So the table is bounded whatever the peer does.
 * One timer serves all deadlines.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { DfsError } from "../base/errors.ts";
import { MAX_REQUESTS_IN_FLIGHT } from "../base/limits.ts";
import type { Frame } from "./cbor.ts";
import type { QueuedBulk } from "./send-queue.ts";

/** Longest delay that timers take; a later deadline is looked at again then. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** How a request ends: exactly one of the two is called, once. */
export interface Outcome {
  /** The peer has answered, with a reply or an error. */
  answered(frame: Frame): void;
  failed(error: DfsError): void;
}

/** A request to be made. */
export interface Call {
  /** Name of the message, for error messages. */
  readonly name: string;
  readonly timeoutMs: number;
  readonly signal: CancelSignal | undefined;
  /** Queues the frame, when it is the request's turn. */
  send(): QueuedBulk | undefined;
  readonly outcome: Outcome;
}

interface Entry {
  readonly id: number;
  readonly call: Call;
  readonly deadlineMs: number;
  onAbort: (() => void) | undefined;
  bulk: QueuedBulk | undefined;
  abandoned: boolean;
}

export class PendingRequests {
  private readonly clock: Clock;
  private readonly address: string;
  private readonly hasRoom: () => boolean;
  private readonly sent = new Map<number, Entry>();
  private readonly waiting = new Map<number, Entry>();
  private nextId = 1;
  private timer: Timer | undefined;
  private timerDueMs = Infinity;

  /** `hasRoom` tells whether another request may be queued now. */
  constructor(clock: Clock, address: string, hasRoom: () => boolean) {
    this.clock = clock;
    this.address = address;
    this.hasRoom = hasRoom;
  }

  /** Requests sent and not answered, abandoned ones included. */
  get inFlight(): number {
    return this.sent.size;
  }

  /** A number that no unanswered request has. */
  takeId(): number {
    for (;;) {
      const id = this.nextId;
      this.nextId = id === 0xffffffff ? 1 : id + 1;
      if (!this.sent.has(id) && !this.waiting.has(id)) return id;
    }
  }

  /** Makes the request `id`, at once or when its turn comes. */
  add(id: number, call: Call): void {
    const entry: Entry = {
      id,
      call,
      deadlineMs: this.clock.monotonicMs() + call.timeoutMs,
      onAbort: undefined,
      bulk: undefined,
      abandoned: false,
    };
    if (call.signal !== undefined && !this.listenForAbort(entry, call.signal)) return;
    this.watch(entry.deadlineMs);
    if (this.waiting.size === 0 && this.maySend()) this.send(entry);
    else this.waiting.set(id, entry);
  }

  /** Sends what waits, as far as there is room. */
  sendWaiting(): void {
    for (const entry of this.waiting.values()) {
      if (!this.maySend()) return;
      this.waiting.delete(entry.id);
      this.send(entry);
    }
  }

  /** Hands a reply or error to its request. Returns false when no such request is unanswered. */
  answer(frame: Frame): boolean {
    const entry = this.sent.get(frame.id);
    if (entry === undefined) return false;
    this.sent.delete(frame.id);
    if (!entry.abandoned) {
      this.forgetSignal(entry);
      entry.call.outcome.answered(frame);
    }
    this.sendWaiting();
    return true;
  }

  /** Ends all requests, since the connection has ended. */
  failAll(error: (name: string) => DfsError): void {
    this.timer?.cancel();
    const entries = [...this.sent.values(), ...this.waiting.values()];
    this.sent.clear();
    this.waiting.clear();
    for (const entry of entries) {
      if (entry.abandoned) continue;
      this.forgetSignal(entry);
      entry.call.outcome.failed(error(entry.call.name));
    }
  }

  private maySend(): boolean {
    return this.sent.size < MAX_REQUESTS_IN_FLIGHT && this.hasRoom();
  }

  private send(entry: Entry): void {
    this.sent.set(entry.id, entry);
    entry.bulk = entry.call.send();
  }

  private listenForAbort(entry: Entry, signal: CancelSignal): boolean {
    const onAbort = (): void =>
      this.giveUp(entry, new DfsError("cancelled", `${entry.call.name} was cancelled`));
    if (signal.aborted) {
      onAbort();
      return false;
    }
    entry.onAbort = onAbort;
    signal.addEventListener("abort", onAbort, { once: true });
    return true;
  }

  private forgetSignal(entry: Entry): void {
    if (entry.onAbort === undefined) return;
    entry.call.signal?.removeEventListener("abort", entry.onAbort);
    entry.onAbort = undefined;
  }

  /** Tells the caller `error`; a sent request stays behind as abandoned. */
  private giveUp(entry: Entry, error: DfsError): void {
    this.forgetSignal(entry);
    this.waiting.delete(entry.id);
    entry.abandoned = true;
    entry.bulk?.detach(); // the caller may change its buffer from now on
    entry.bulk = undefined;
    entry.call.outcome.failed(error);
  }

  /** Makes sure that the timer fires at `deadlineMs` or earlier. */
  private watch(deadlineMs: number): void {
    if (deadlineMs >= this.timerDueMs) return;
    this.timer?.cancel();
    this.timerDueMs = deadlineMs;
    const leftMs = Math.ceil(deadlineMs - this.clock.monotonicMs());
    const delayMs = Math.min(Math.max(0, leftMs), MAX_TIMER_MS);
    this.timer = this.clock.setTimer(delayMs, () => this.expire());
  }

  private expire(): void {
    this.timerDueMs = Infinity;
    const now = this.clock.monotonicMs();
    let next = Infinity;
    for (const entry of [...this.sent.values(), ...this.waiting.values()]) {
      if (entry.abandoned) continue;
      if (entry.deadlineMs <= now) this.giveUp(entry, this.timedOut(entry));
      else next = Math.min(next, entry.deadlineMs);
    }
    if (next < Infinity) this.watch(next);
  }

  private timedOut(entry: Entry): DfsError {
    const { name, timeoutMs } = entry.call;
    return new DfsError(
      "timeout",
      `${name}: no answer from ${this.address} within ${Math.round(timeoutMs)} ms`,
      { details: { address: this.address, timeoutMs } },
    );
  }
}
