/**
 * Which data servers are up, suspect or down.
 *
 *     up ── connection lost, or heartbeats missing ──► suspect ── still silent after the down-delay ──► down
 *     suspect, down ── heartbeat or registration ──► up
 *
 * Silence is counted as `silence.ts` does it, so a stall of this process declares nobody down. After a start all servers
 * that were not down are suspect until they are heard of.
 */
import type { Clock } from "../../base/clock.ts";
import type { ServerId } from "../../base/ids.ts";
import { Silence } from "./silence.ts";

export type Liveness = "up" | "suspect" | "down";

/** Heartbeats in a row that a connected server may miss before it is suspect. */
const MISSED_HEARTBEATS = 3;

/** The down-delay is divided into at least this many ticks. */
const TICKS_PER_DELAY = 5;

export interface LivenessOptions {
  readonly clock: Clock;
  readonly heartbeatIntervalMs: number;
  /** From suspect to down. */
  readonly downDelayMs: number;
  /** A server's state has changed. */
  readonly onChange: (server: ServerId, state: Liveness) => void;
}

export class LivenessTracker {
  private readonly options: LivenessOptions;
  private readonly states = new Map<ServerId, Liveness>();
  private readonly silence: Silence<ServerId>;
  private readonly suspectTicks: number;
  private readonly downTicks: number;

  constructor(options: LivenessOptions) {
    const { clock, heartbeatIntervalMs, downDelayMs } = options;
    const tickMs = Math.max(1, Math.min(heartbeatIntervalMs, downDelayMs / TICKS_PER_DELAY));
    this.options = options;
    this.suspectTicks = Math.ceil((MISSED_HEARTBEATS * heartbeatIntervalMs) / tickMs);
    this.downTicks = Math.ceil(downDelayMs / tickMs);
    this.silence = new Silence({
      clock,
      tickMs,
      onSilent: (server, ticks) => this.onSilent(server, ticks),
    });
  }

  /** A server that the database knows, with the state that it had when this process began. */
  begin(server: ServerId, state: Liveness): void {
    this.states.set(server, state);
    if (state === "down") return;
    this.silence.heard(server);
    this.change(server, "suspect");
  }

  stateOf(server: ServerId): Liveness | undefined {
    return this.states.get(server);
  }

  heard(server: ServerId): void {
    this.silence.heard(server);
    this.change(server, "up");
  }

  /** Its connection has ended. */
  lost(server: ServerId): void {
    if (this.states.get(server) !== "up") return;
    this.silence.heard(server); // the down-delay begins now
    this.change(server, "suspect");
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
      this.silence.forget(server);
      this.change(server, "down");
    }
  }

  private change(server: ServerId, state: Liveness): void {
    if (this.states.get(server) === state) return;
    this.states.set(server, state);
    this.options.onChange(server, state);
  }
}
