/**
 * Which data servers are up, suspect, down or out.
 *
 *     up ── connection lost, or heartbeats missing ──► suspect ── still silent after the down-delay ──► down
 *     down ── still silent after the out-delay, and few enough others are ──► out
 *     suspect, down, out ── heartbeat or registration ──► up
 *
 * The connection of one that is down is ended (members.ts): so it comes back by registering.
 *
 * Silence is counted as `silence.ts` does it, so a stall of this process declares nobody down or out. After a start all
 * servers that were not down or out are suspect until they are heard of, and the delays begin anew.
 *
 * What is out is copied elsewhere, which is a lot of work that nobody needs when a switch or a room has lost its power. So
 * nobody becomes out while more than a third of the servers that are not out already are silent: whoever made so many
 * silent is somebody to call, and a repair onto the others could not give back what is missing. When enough have
 * returned, those that are still silent follow.
 */
import type { Clock } from "../../base/clock.ts";
import type { ServerId } from "../../base/ids.ts";
import { Silence } from "./silence.ts";

export type Liveness = "up" | "suspect" | "down" | "out";

/** While more than one in so many servers is silent, none becomes out. */
const MOST_SILENT = 3;

/** Heartbeats in a row that a connected server may miss before it is suspect. */
const MISSED_HEARTBEATS = 3;

/** The down-delay is divided into at least this many ticks. */
const TICKS_PER_DELAY = 5;

export interface LivenessOptions {
  readonly clock: Clock;
  readonly heartbeatIntervalMs: number;
  /** From suspect to down. */
  readonly downDelayMs: number;
  /** From losing it to out. */
  readonly outDelayMs: number;
  /** So many are silent that none becomes out; called once for each time that this begins. */
  readonly onTooMany?: (silent: readonly ServerId[]) => void;
  /** A server's state has changed. */
  readonly onChange: (server: ServerId, state: Liveness) => void;
}

export class LivenessTracker {
  private readonly options: LivenessOptions;
  private readonly states = new Map<ServerId, Liveness>();
  private readonly silence: Silence<ServerId>;
  private readonly tickMs: number;
  private readonly suspectTicks: number;
  private readonly downTicks: number;
  private readonly outTicks: number;
  private heldBack = false;

  constructor(options: LivenessOptions) {
    const { clock, heartbeatIntervalMs, downDelayMs, outDelayMs } = options;
    const tickMs = Math.max(1, Math.min(heartbeatIntervalMs, downDelayMs / TICKS_PER_DELAY));
    this.options = options;
    this.tickMs = tickMs;
    this.suspectTicks = Math.ceil((MISSED_HEARTBEATS * heartbeatIntervalMs) / tickMs);
    this.downTicks = Math.ceil(downDelayMs / tickMs);
    // Counting begins anew when a server becomes suspect, and goes on through down.
    this.outTicks = Math.max(this.downTicks + 1, Math.ceil(outDelayMs / tickMs));
    this.silence = new Silence({
      clock,
      tickMs,
      onSilent: (server, ticks) => this.onSilent(server, ticks),
    });
  }

  /** A server that the database knows, with the state that it had when this process began. */
  begin(server: ServerId, state: Liveness): void {
    this.states.set(server, state);
    if (state === "out") return;
    this.silence.heard(server);
    if (state !== "down") this.change(server, "suspect");
  }

  stateOf(server: ServerId): Liveness | undefined {
    return this.states.get(server);
  }

  heard(server: ServerId): void {
    this.silence.heard(server);
    this.change(server, "up");
  }

  /**
   * What becomes of a server that is silent: `outInMs` milliseconds until it is out if it stays so (undefined when that
   * is not to be), `heldBack` when it would be out were not too many others silent as well.
   */
  outlookOf(server: ServerId): {
    readonly outInMs: number | undefined;
    readonly heldBack: boolean;
  } {
    const state = this.states.get(server);
    const isSilent = state === "suspect" || state === "down";
    if (!isSilent) return { outInMs: undefined, heldBack: false };
    if (this.silentOnes().tooMany) return { outInMs: undefined, heldBack: true };
    const left = this.outTicks + 1 - (this.silence.ticksOf(server) ?? 0);
    return { outInMs: Math.max(0, left) * this.tickMs, heldBack: false };
  }

  /** Its connection has ended. */
  lost(server: ServerId): void {
    if (this.states.get(server) !== "up") return;
    this.silence.heard(server); // the delays begin now
    this.change(server, "suspect");
  }

  /** Somebody who knows says that a server will not come back; nobody is told. */
  declareOut(server: ServerId): void {
    this.silence.forget(server);
    this.states.set(server, "out");
  }

  /** There is no such server any more. */
  forget(server: ServerId): void {
    this.silence.forget(server);
    this.states.delete(server);
  }

  stop(): void {
    this.silence.stop();
  }

  private onSilent(server: ServerId, ticks: number): void {
    const state = this.states.get(server);
    if (state === "up" && ticks > this.suspectTicks) {
      this.silence.heard(server);
      this.change(server, "suspect");
    } else if (state === "suspect" && ticks > this.downTicks) {
      this.change(server, "down");
    } else if (state === "down" && ticks > this.outTicks && this.mayBeOut()) {
      this.silence.forget(server);
      this.change(server, "out");
    }
  }

  /** False while too many servers are silent. */
  private mayBeOut(): boolean {
    const { silent, tooMany } = this.silentOnes();
    if (tooMany && !this.heldBack) this.options.onTooMany?.(silent);
    this.heldBack = tooMany;
    return !tooMany;
  }

  private silentOnes(): { readonly silent: ServerId[]; readonly tooMany: boolean } {
    const counted = [...this.states].filter(([, state]) => state !== "out");
    const silent = counted.filter(([, state]) => state !== "up").map(([server]) => server);
    return { silent, tooMany: silent.length * MOST_SILENT > counted.length };
  }

  private change(server: ServerId, state: Liveness): void {
    if (this.states.get(server) === state) return;
    this.states.set(server, state);
    this.options.onChange(server, state);
  }
}
