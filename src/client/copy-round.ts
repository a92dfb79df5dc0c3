/**
 * One attempt to make the copies of a block: as many requests at once as copies are lacking, the next candidate for
 * each that fails or is late.
 *
 * A late server goes on counting as asked: its answer is taken when it comes before the round is over, and the round
 * is not given up for lack of candidates while below the floor a late answer may still come.
 */
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { isDfsError } from "../base/errors.ts";
import type { IncarnationId, ServerId } from "../base/ids.ts";
import type { RequestOf } from "../protocol/message.ts";
import { blockPut } from "../protocol/messages/data.ts";
import type { DataServers } from "./servers.ts";

/** A server that has answered nothing at all for this long gets a stand-in. A slow disk's sync takes far less. */
export const LATE_MS = 5_000;

/** A server that answers others but not this request gets a stand-in after this long. */
export const SLOW_WRITE_MS = 15_000;

/**
 * A timer that fires this late, or later, tells that this process itself was held up, by a stop signal for example: answers
 * may lie there unread. The server gets as long again.
 */
const HELD_UP_MS = 500;

/** After this long the request is given up, and the connection with it. */
export const HUNG_MS = 30_000;

/** A block and the request that carries it. */
export interface BlockToSend {
  readonly bytes: Uint8Array;
  readonly body: RequestOf<typeof blockPut>;
}

/** Servers that have acknowledged a copy, each with the incarnation of it that has. */
export type Copies = Map<ServerId, IncarnationId | undefined>;

/** How many of them count. */
export function countedIn(
  copies: ReadonlyMap<ServerId, unknown>,
  counts: (server: ServerId) => boolean,
): number {
  return [...copies.keys()].filter(counts).length;
}

export interface RoundPlan {
  readonly toSend: BlockToSend;
  readonly candidates: readonly ServerId[];
  /** Copies to make, including those there already are. */
  readonly wanted: number;
  /** Copies that count without which the round goes on, asking further servers and waiting for late ones. */
  readonly floor: number;
  /** Whether the copy of a server counts. */
  readonly counts: (server: ServerId) => boolean;
  /** Servers that hold a copy; added to. */
  readonly copies: Copies;
  /** Why others do not; added to. */
  readonly failures: Map<ServerId, unknown>;
}

export interface RoundSeams {
  readonly servers: DataServers;
  readonly clock: Clock;
  readonly signal: CancelSignal;
}

export class CopyRound {
  private readonly plan: RoundPlan;
  private readonly seams: RoundSeams;
  private readonly waiting: ServerId[];
  private readonly over = Promise.withResolvers<void>();
  private readonly stop = new Cancellation();
  private readonly timers = new Set<Timer>();
  /** Requests that are neither answered nor late. */
  private inTime = 0;
  private late = 0;

  constructor(plan: RoundPlan, seams: RoundSeams) {
    this.plan = plan;
    this.seams = seams;
    this.waiting = [...plan.candidates];
  }

  /** Returns when the copies are made, or no candidate is left, or the transfer was cancelled. Never throws. */
  async run(): Promise<void> {
    const onAbort = (): void => this.over.resolve();
    this.seams.signal.addEventListener("abort", onAbort, { once: true });
    if (this.seams.signal.aborted) onAbort();
    else this.proceed();
    await this.over.promise;
    this.seams.signal.removeEventListener("abort", onAbort);
    for (const timer of this.timers) timer.cancel();
    if (this.inTime + this.late > 0) this.stop.abort();
  }

  private proceed(): void {
    const { copies, wanted, floor, counts } = this.plan;
    const belowFloor = Math.max(0, floor - countedIn(copies, counts));
    const lacking = Math.max(wanted - copies.size, belowFloor);
    while (this.inTime < lacking && this.waiting.length > 0) this.ask(this.waiting.shift()!);
    if (lacking === 0) this.over.resolve();
    else if (this.inTime === 0 && (this.late === 0 || belowFloor === 0)) this.over.resolve();
  }

  private ask(server: ServerId): void {
    const { servers, clock } = this.seams;
    const { toSend, copies, failures } = this.plan;
    let isLate = false;
    let timer: Timer | undefined;
    const watch = (waitedMs: number): void => {
      if (timer !== undefined) this.timers.delete(timer);
      const dueMs = clock.monotonicMs() + LATE_MS;
      timer = clock.setTimer(LATE_MS, () => {
        if (clock.monotonicMs() - dueMs >= HELD_UP_MS) return watch(waitedMs);
        const waited = waitedMs + LATE_MS;
        if (waited < SLOW_WRITE_MS && servers.answeredWithin(server, LATE_MS)) return watch(waited);
        isLate = true;
        this.inTime--;
        this.late++;
        servers.late(server, LATE_MS);
        this.proceed();
      });
      this.timers.add(timer);
    };
    const settled = (): void => {
      timer?.cancel();
      if (timer !== undefined) this.timers.delete(timer);
      if (isLate) this.late--;
      else this.inTime--;
      this.proceed();
    };
    this.inTime++;
    watch(0);
    const options = { bulk: toSend.bytes, timeoutMs: HUNG_MS, signal: this.stop };
    servers.request(server, blockPut, toSend.body, options).then(
      ({ incarnation }) => {
        copies.set(server, incarnation);
        failures.delete(server);
        settled();
      },
      (error: unknown) => {
        if (!isDfsError(error, "cancelled")) failures.set(server, error);
        settled();
      },
    );
  }
}
