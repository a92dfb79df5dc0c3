/**
 * Keeps this server joined to the metadata service: connects, joins, sends heartbeats, and begins again whenever that
 * ends, for as long as the process lives.
 *
 * The first time is different. A service that refuses this server then ends the process, because a person is there to
 * read why; so does one that is not there within the time for a first contact. A database that is too old does neither:
 * the server waits for a newer one and serves nothing meanwhile.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { DfsError, isDfsError, messageOf, type ErrorKind } from "../../base/errors.ts";
import type { Lsn, ReignId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import { memberHeartbeat } from "../../protocol/messages/member.ts";
import type { Peer } from "../../protocol/peer.ts";
import type { Condition } from "./join.ts";

const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 1_000;

/** A heartbeat that has not been answered after this many intervals ends the connection. */
const HEARTBEATS_MISSED = 5;
const MIN_HEARTBEAT_TIMEOUT_MS = 2_000;

/** Kinds of error that pass by themselves. */
const PASSING: ReadonlySet<ErrorKind> = new Set(["unreachable", "timeout", "busy", "stale"]);

export interface MembershipOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Addresses of the metadata service, tried in turn. */
  readonly addresses: readonly string[];
  readonly connect: (address: string) => Promise<Peer>;
  /** Joins the service behind a fresh connection; resolves with the time between heartbeats. */
  readonly join: (peer: Peer) => Promise<number>;
  readonly condition: () => Condition;
  /** A heartbeat was answered from this position of the database. */
  readonly onSeen: (reign: ReignId, lsn: Lsn) => void;
  /** The service's database is older than what has been served. */
  readonly onOlder: (error: DfsError) => void;
  /** For the first contact. */
  readonly firstContactTimeoutMs: number;
}

export class Membership {
  private readonly options: MembershipOptions;
  private readonly first = Promise.withResolvers<void>();
  private hasJoined = false;
  private stopped = false;
  private peer: Peer | undefined;
  private ended: Promise<void> = Promise.resolve();
  /** Ends the wait that is under way. */
  private wake: () => void = () => undefined;
  private told = "";
  private sequence = 0n;

  constructor(options: MembershipOptions) {
    this.options = options;
    this.first.promise.catch(() => undefined); // whoever started us is told; nobody may have waited yet
  }

  /**
   * Begins; resolves when the service has accepted this server for the first time.
   * @throws DfsError the reason why it will not; `cancelled` when `stop` came first.
   */
  start(): Promise<void> {
    this.ended = this.run();
    return this.first.promise;
  }

  /** Leaves the service. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.first.reject(
      new DfsError("cancelled", "the server was asked to end before it had started"),
    );
    this.peer?.close("the data server is shutting down");
    this.wake();
    await this.ended;
  }

  private async run(): Promise<void> {
    const { clock, addresses } = this.options;
    const startMs = clock.monotonicMs();
    let failures = 0;
    for (let turn = 0; !this.stopped; turn++) {
      const address = addresses[turn % addresses.length]!;
      try {
        await this.liveWith(address);
        failures = 0;
      } catch (error) {
        this.peer?.close(messageOf(error));
        if (this.stopped) return;
        const contactMs = clock.monotonicMs() - startMs;
        if (!this.hasJoined && this.isFinal(error, contactMs)) {
          this.first.reject(neverReached(address, error));
          return;
        }
        this.tell(address, error);
        failures++;
      }
      if (!this.stopped) await this.pause(this.retryDelayMs(failures));
    }
  }

  /** Joins the service at `address` and stays until the connection ends. @throws when it cannot be joined. */
  private async liveWith(address: string): Promise<void> {
    const { connect, join, logger } = this.options;
    const peer = await connect(address);
    this.peer = peer;
    if (this.stopped) return peer.close("the data server is shutting down");
    const heartbeatIntervalMs = await join(peer);
    if (this.hasJoined) logger.info(`joined the metadata service at ${address} again`);
    this.hasJoined = true;
    this.told = "";
    this.first.resolve();
    const reason = await this.keepInTouch(peer, heartbeatIntervalMs);
    if (!this.stopped) {
      logger.warn(`lost the metadata service at ${address}; trying again: ${messageOf(reason)}`);
    }
  }

  /** Sends heartbeats until the connection ends; returns why it did. */
  private async keepInTouch(peer: Peer, intervalMs: number): Promise<unknown> {
    const { condition, onSeen } = this.options;
    const timeoutMs = Math.max(intervalMs * HEARTBEATS_MISSED, MIN_HEARTBEAT_TIMEOUT_MS);
    void peer.closed.then(() => this.wake());
    while (peer.open && !this.stopped) {
      await this.pause(intervalMs);
      if (!peer.open || this.stopped) break;
      try {
        const sequence = ++this.sequence;
        const body = { sequence, ...condition() };
        const answer = await peer.request(memberHeartbeat, body, { timeoutMs });
        onSeen(answer.body.reign, answer.body.lsn);
      } catch (error) {
        peer.close(messageOf(error));
        return error;
      }
    }
    return peer.open ? undefined : peer.closed;
  }

  private isFinal(error: unknown, contactMs: number): boolean {
    if (isDfsError(error, "databaseOlder")) return false;
    if (!isDfsError(error) || !PASSING.has(error.kind)) return true;
    return contactMs >= this.options.firstContactTimeoutMs;
  }

  /** Logs a failure, once for as long as it stays the same. */
  private tell(address: string, error: unknown): void {
    const { logger, onOlder } = this.options;
    if (isDfsError(error, "databaseOlder")) onOlder(error);
    const message = messageOf(error);
    if (message === this.told) return;
    this.told = message;
    logger.warn(`cannot join the metadata service at ${address}; trying again: ${message}`);
  }

  private retryDelayMs(failures: number): number {
    const delayMs = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** Math.min(failures, 10));
    return delayMs / 2 + this.options.random.below(Math.ceil(delayMs / 2) + 1);
  }

  private pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer: Timer = this.options.clock.setTimer(delayMs, resolve);
      this.wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

/** Nobody there, or nobody who answers: for whoever starts a server both mean that the address leads nowhere. */
function neverReached(address: string, error: unknown): unknown {
  if (!isDfsError(error, "unreachable") && !isDfsError(error, "timeout")) return error;
  return new DfsError(
    "unreachable",
    `cannot reach a metadata service at ${address}: ${messageOf(error)}\n` +
      "check the address, or start the metadata server first",
    { cause: error },
  );
}
