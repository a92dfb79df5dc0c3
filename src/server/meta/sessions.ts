/**
 * The sessions of clients as this process sees them: which connection each is bound to, and how long it has been silent.
 *
 * Invariants
 * - Requests of a session are accepted on one connection only, the one on which it was opened or resumed last. So an
 *   operation that is sent again cannot be overtaken by its own older copy.
 * - A session that has been silent for its lease ends: durably first, then here. Silence is counted as `silence.ts` does.
 * - After a start every session on record gets a whole lease. Until each of them has come back or ended, `recovering` is
 *   true, and files without a name are not reclaimed: somebody may yet say that he has one open.
 */
import type { Clock } from "../../base/clock.ts";
import { DfsError, messageOf } from "../../base/errors.ts";
import { sessionId, type SessionId } from "../../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE } from "../../base/limits.ts";
import { LimitedLines } from "../../base/limited-lines.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import type {
  sessionHeartbeat,
  sessionOpen,
  sessionResume,
} from "../../protocol/messages/session.ts";
import type { Peer } from "../../protocol/peer.ts";
import { Changes, watched } from "./changes.ts";
import type { Engine } from "./engine.ts";
import { requireRole } from "./roles.ts";
import { endSession, type Moment } from "./namespace/operations.ts";
import { acknowledge, openSession, resumeSession } from "./session-operations.ts";
import { Silence } from "./silence.ts";
import { ask, type Operation } from "./store/store.ts";

/** A lease is divided into this many ticks. */
const TICKS_PER_LEASE = 12;

/** Most sessions at a time: each costs memory here for as long as its lease runs. */
const MAX_SESSIONS = 65_536;

const LOAD_PAGE = 1024;

export interface SessionsOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly leaseTimeoutMs: number;
  /** A session has ended, durably, which has changed this. */
  readonly onEnded: (session: SessionId, changes: Changes) => void;
  /** A session has lost its connection. It may come back on another one, or has done so already. */
  readonly onLost: (session: SessionId) => void;
}

export class Sessions {
  private readonly options: SessionsOptions;
  private readonly silence: Silence<SessionId>;
  private readonly live = new Set<SessionId>();
  private readonly peerOf = new Map<SessionId, Peer>();
  private readonly sessionOf = new Map<Peer, SessionId>();
  /** Connections whose end is waited for: once, however many sessions one has had. */
  private readonly watched = new WeakSet<Peer>();
  /** Sessions of before the start that have not come back. */
  private readonly awaited = new Set<SessionId>();
  private readonly ending = new Set<SessionId>();
  /** Whoever may connect can open as many sessions as he likes and leave them. */
  private readonly expiries: LimitedLines;

  constructor(options: SessionsOptions) {
    this.options = options;
    this.expiries = new LimitedLines(options.logger, options.clock, ["sessions", "have expired"]);
    this.silence = new Silence({
      clock: options.clock,
      tickMs: Math.max(1, options.leaseTimeoutMs / TICKS_PER_LEASE),
      onSilent: (session, ticks) => {
        if (ticks > TICKS_PER_LEASE) this.expire(session);
      },
    });
  }

  /** Finds the sessions that the store has on record as live, and begins their leases. */
  async start(): Promise<void> {
    for (let after = sessionId(0n); ;) {
      const page = await this.options.engine.question(() =>
        ask("session.list", "live", after, LOAD_PAGE),
      );
      for (const { id } of page) {
        this.live.add(id);
        this.awaited.add(id);
        this.silence.heard(id);
        after = id;
      }
      if (page.length < LOAD_PAGE) return;
    }
  }

  stop(): void {
    this.silence.stop();
    this.expiries.close();
  }

  /** True until all sessions of before the start have come back or ended. */
  get recovering(): boolean {
    return this.awaited.size > 0;
  }

  /** The moment of an operation that is executed now. */
  get moment(): Moment {
    return { nowNs: this.options.engine.nowNs, holdRemovals: this.recovering };
  }

  /** The connection of a session, if it has one. */
  peer(session: SessionId): Peer | undefined {
    return this.peerOf.get(session);
  }

  /** Connections with a session. */
  get clients(): Iterable<Peer> {
    return this.sessionOf.keys();
  }

  /**
   * The session of a request that came over `peer`; the request counts as a sign of life.
   * @throws DfsError `stale` when there is none, `protocol` when the peer is no client.
   */
  of(peer: Peer): SessionId {
    const session = this.sessionOf.get(peer);
    if (session === undefined) {
      requireRole(peer, "client");
      throw noSession();
    }
    this.silence.heard(session);
    if (this.awaited.size > 0) this.awaited.delete(session);
    return session;
  }

  /** To be asked when an operation is executed: its connection may have lost the session since it came. */
  checkBound(peer: Peer, session: SessionId): void {
    if (this.sessionOf.get(peer) !== session) throw noSession();
  }

  async open(
    peer: Peer,
    body: RequestOf<typeof sessionOpen>,
  ): Promise<ReplyOf<typeof sessionOpen>> {
    const { engine, random, logger, leaseTimeoutMs } = this.options;
    if (this.sessionOf.has(peer)) {
      throw new DfsError("protocol", "this connection has a session already");
    }
    if (this.live.size >= MAX_SESSIONS) {
      throw new DfsError("busy", `there are ${MAX_SESSIONS} sessions already; try again later`);
    }
    const token = random.id64();
    const session = await engine.vital(() =>
      openSession(engine.ids, token, body.label, engine.nowNs),
    );
    this.live.add(session);
    this.silence.heard(session);
    this.bind(session, peer);
    logger.debug("session opened", { session, label: body.label });
    return { session, token, leaseTimeoutMs, settings: engine.settings };
  }

  async resume(
    peer: Peer,
    body: RequestOf<typeof sessionResume>,
  ): Promise<ReplyOf<typeof sessionResume>> {
    const { engine, logger, leaseTimeoutMs } = this.options;
    const { session, token, open } = body;
    const bindingPeer = this.sessionOf.get(peer);
    if (bindingPeer !== undefined && bindingPeer !== session) {
      throw new DfsError("protocol", "this connection has another session already");
    }
    const bind = (): void => this.bind(session, peer);
    const gone = await engine.vital(function* () {
      const missing = yield* resumeSession(session, token, open, engine.startedNs);
      bind(); // from here on nothing is executed for the connection that had the session before
      return missing;
    });
    this.live.add(session);
    this.silence.heard(session);
    // A full page may be followed by more; anything else that the session says ends the list as well.
    if (open.length < MAX_ENTRIES_PER_PAGE) this.awaited.delete(session);
    logger.debug("session resumed", { session, open: open.length, gone: gone.length });
    return { leaseTimeoutMs, settings: engine.settings };
  }

  async heartbeat(
    peer: Peer,
    body: RequestOf<typeof sessionHeartbeat>,
  ): Promise<ReplyOf<typeof sessionHeartbeat>> {
    const { engine } = this.options;
    const session = this.of(peer);
    await engine.lazy(() => acknowledge(session, body.acknowledged));
    return { lsn: engine.durableLsn };
  }

  /** Ends the session of a connection, as its client wishes. */
  async close(peer: Peer): Promise<void> {
    const { engine, onEnded } = this.options;
    const session = this.of(peer);
    const changes = await engine.vital(() => this.end(session, "closed"));
    this.forget(session);
    onEnded(session, changes);
  }

  /** The session is bound to this connection, and to no other. */
  private bind(session: SessionId, peer: Peer): void {
    const former = this.peerOf.get(session);
    if (former === peer || !peer.open) return;
    if (former !== undefined) {
      this.sessionOf.delete(former);
      former.close("the session goes on over another connection");
      this.options.onLost(session);
    }
    this.peerOf.set(session, peer);
    this.sessionOf.set(peer, session);
    if (this.watched.has(peer)) return;
    this.watched.add(peer);
    void peer.closed.then(() => this.lost(peer));
  }

  private lost(peer: Peer): void {
    const session = this.sessionOf.get(peer);
    this.sessionOf.delete(peer);
    this.options.engine.forget(peer);
    if (session === undefined || this.peerOf.get(session) !== peer) return;
    this.peerOf.delete(session);
    this.options.onLost(session);
  }

  private expire(session: SessionId): void {
    if (this.ending.has(session)) return;
    const { engine, logger, leaseTimeoutMs, onEnded } = this.options;
    this.ending.add(session);
    const stillSilent = (): boolean => (this.silence.ticksOf(session) ?? 0) > TICKS_PER_LEASE;
    const end = (): Operation<Changes> => this.end(session, "expired");
    engine
      .change(function* () {
        return stillSilent() ? yield* end() : undefined; // it was heard of before it came to that
      })
      .then((changes) => {
        if (changes === undefined) return;
        this.forget(session);
        onEnded(session, changes);
        this.expiries.tell({
          level: "info",
          message: `session ${session} has expired`,
          why: `not heard of for ${leaseTimeoutMs} ms`,
        });
      })
      .catch((error: unknown) => {
        // The next tick tries again.
        logger.warn(`session ${session} could not be ended: ${messageOf(error)}`);
      })
      .finally(() => this.ending.delete(session));
  }

  private *end(session: SessionId, state: "closed" | "expired"): Operation<Changes> {
    const changes = new Changes();
    yield* watched(endSession(this.moment, session, state), changes);
    return changes;
  }

  private forget(session: SessionId): void {
    this.live.delete(session);
    this.awaited.delete(session);
    this.silence.forget(session);
    const peer = this.peerOf.get(session);
    this.peerOf.delete(session);
    if (peer !== undefined) this.sessionOf.delete(peer);
  }
}

function noSession(): DfsError {
  return new DfsError(
    "stale",
    "this connection has no session, or its session has ended: open one, or resume it",
  );
}
