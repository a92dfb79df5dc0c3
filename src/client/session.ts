/**
 * The client's session with the metadata service: questions, changes, heartbeats, and life across broken connections.
 *
 * Invariants
 * - A change is executed once: it keeps its operation number however often it is sent, and is sent again only on a
 *   connection that carries the session in which it was sent first. When that session has expired meanwhile, the answer
 *   is `outcomeUnknown`.
 * - A session that has expired is replaced by a new one, with a higher epoch. What was reserved or created without a
 *   name under the old one is gone; whoever depends on that gives the epoch with the request and gets `stale`.
 * - Inodes that are held open are declared again whenever the session is bound to a new connection.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { assert, DfsError, isDfsError } from "../base/errors.ts";
import type { InodeId, SessionId } from "../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { MutationHead, Question, RequestDefinition } from "../protocol/message.ts";
import type { ClusterSettings } from "../protocol/messages/common.ts";
import { open as openInode } from "../protocol/messages/namespace.ts";
import {
  sessionClose,
  sessionHeartbeat,
  sessionOpen,
  sessionResume,
} from "../protocol/messages/session.ts";
import type { Peer } from "../protocol/peer.ts";
import { Heartbeats } from "./heartbeats.ts";
import { MetaLink, type Bound } from "./meta-link.ts";
import { OperationNumbers } from "./operations.ts";
import { backoffDelayMs, Deadline, isNoAnswer, pause, type Backoff } from "./retry.ts";
import type { Warnings } from "./warnings.ts";

/** A request that is not answered for this long is sent again on a new connection. */
const ATTEMPT_TIMEOUT_MS = 15_000;

/** For opening, resuming and ending a session. */
const BIND_TIMEOUT_MS = 5_000;

const BUSY: Backoff = { firstMs: 20, maxMs: 1_000 };

const EMPTY_PATH = new Uint8Array(0);

export interface SessionOptions {
  readonly address: string;
  readonly label: string;
  readonly connect: (timeoutMs: number) => Promise<Peer>;
  /** How long a request may wait for the service to come back. */
  readonly retryTimeoutMs: number;
  readonly warnings: Warnings;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The session is in place on a new connection, which is not used for anything else yet. */
  readonly onBound: (peer: Peer, timeoutMs: number) => Promise<void>;
  /** The session had expired, and another one has taken its place. */
  readonly onReplaced: () => void;
}

export interface AskOptions {
  readonly signal?: CancelSignal | undefined;
}

export interface ChangeOptions extends AskOptions {
  /** Fail with `stale` unless the session is still the one of this epoch. */
  readonly epoch?: number | undefined;
}

/** What a new session's open files are told. */
export interface OpenFiles {
  /** Inodes held open. */
  inodes(): InodeId[];
  /** The new session has opened this one, once. */
  reopened(inode: InodeId, epoch: number): void;
  /** The new session could not open this one: it is gone. */
  lost(inode: InodeId): void;
}

interface Identity {
  readonly session: SessionId;
  readonly token: bigint;
  readonly epoch: number;
  readonly operations: OperationNumbers;
}

/** A change as the caller gives it: the session adds the operation number. */
export type ChangeBody<Request> = Omit<Request, keyof MutationHead>;

export class Session {
  private readonly options: SessionOptions;
  private readonly link: MetaLink;
  private readonly heartbeats: Heartbeats;
  private readonly openFiles: OpenFiles;
  private identity: Identity | undefined;
  private clusterSettings: ClusterSettings | undefined;
  private leaseMs = Infinity;
  /** When the last request was sent that the service answered as that of a live session. */
  private provenMs = 0;

  constructor(options: SessionOptions, openFiles: OpenFiles) {
    this.options = options;
    this.openFiles = openFiles;
    this.link = new MetaLink({ ...options, bind: (peer) => this.bind(peer) });
    this.heartbeats = new Heartbeats(options.clock, (peer, timeoutMs) =>
      this.heartbeat(peer, timeoutMs),
    );
  }

  /** Opens the session. @throws DfsError `unreachable` and what the service refuses with. */
  start(timeoutMs: number): Promise<void> {
    return this.link.start(timeoutMs);
  }

  get id(): SessionId {
    return this.present.session;
  }

  /** Number of the session among those that this client has had, from 1. */
  get epoch(): number {
    return this.present.epoch;
  }

  /** True when there is a connection to the service at this moment. */
  get connected(): boolean {
    return this.link.bound !== undefined;
  }

  /** True while the service cannot have ended the session for being silent, as far as this client knows. */
  get isFresh(): boolean {
    return this.options.clock.monotonicMs() - this.provenMs < this.leaseMs;
  }

  /** Makes sure that there is a live session, a new one if need be. @throws DfsError as `ask`. */
  async confirm(): Promise<void> {
    const { clock, retryTimeoutMs } = this.options;
    const lives = await this.attempts({}, async (bound, timeoutMs) => {
      try {
        await this.heartbeat(bound.peer, timeoutMs);
        return true;
      } catch (error) {
        if (isDfsError(error, "stale")) return false; // its connection has been given up with it
        throw error;
      }
    });
    if (!lives) await this.link.wait(new Deadline(clock, retryTimeoutMs));
  }

  /** True once a session has been opened. */
  get known(): boolean {
    return this.clusterSettings !== undefined;
  }

  get settings(): ClusterSettings {
    assert(
      this.clusterSettings !== undefined,
      "settings were asked for before the session was open",
    );
    return this.clusterSettings;
  }

  /**
   * Asks something that may be asked twice.
   * @throws DfsError the service's answer; `unreachable` when it cannot be reached in time.
   */
  async ask<Request, Reply>(
    definition: Question<Request, Reply>,
    body: Request,
    options: AskOptions = {},
  ): Promise<Reply> {
    return this.attempts(options, async (bound, timeoutMs) => {
      const answer = await bound.peer.request(definition, body, {
        timeoutMs,
        ...signalOf(options),
      });
      return answer.body;
    });
  }

  /** Asks once, on the present connection; for what must not be asked twice and may be lost. */
  async askOnce<Request, Reply>(
    definition: RequestDefinition<Request, Reply>,
    body: Request,
    timeoutMs = BIND_TIMEOUT_MS,
  ): Promise<Reply> {
    const bound = await this.link.wait(new Deadline(this.options.clock, 0));
    const answer = await bound.peer.request(definition, body, { timeoutMs });
    return answer.body;
  }

  /**
   * Changes something, once.
   * @throws DfsError the service's answer; `unreachable` when it cannot be reached in time; `outcomeUnknown` when the
   * session expired while the answer was outstanding; `stale` when it is not of the epoch that was given, and nothing has been
   * changed.
   */
  async change<Request extends MutationHead, Reply>(
    definition: RequestDefinition<Request, Reply>,
    body: ChangeBody<Request>,
    options: ChangeOptions = {},
  ): Promise<Reply> {
    let sent: { readonly identity: Identity; readonly operation: bigint } | undefined;
    let uncertain = false;
    try {
      return await this.attempts(options, async (bound, timeoutMs) => {
        const identity = this.present;
        if (uncertain && sent?.identity !== identity) throw unknownOutcome(definition.name);
        if (options.epoch !== undefined && options.epoch !== identity.epoch) throw expired();
        if (sent?.identity !== identity) {
          sent?.identity.operations.settle(sent.operation);
          sent = { identity, operation: identity.operations.next() };
        }
        const { operation } = sent;
        const head: MutationHead = { operation, acknowledged: identity.operations.acknowledged };
        try {
          const request = { ...head, ...body } as unknown as Request;
          const wire = { timeoutMs, ...signalOf(options) };
          return (await bound.peer.request(definition, request, wire)).body;
        } catch (error) {
          uncertain ||= isNoAnswer(error);
          throw error;
        }
      });
    } finally {
      sent?.identity.operations.settle(sent.operation);
    }
  }

  /** Ends the session and the connection. */
  async close(): Promise<void> {
    this.heartbeats.stop();
    const bound = this.link.bound;
    try {
      await bound?.peer.request(sessionClose, {}, { timeoutMs: BIND_TIMEOUT_MS });
    } catch (error) {
      // The service ends it by itself when its lease has run out.
      this.options.logger.debug(`could not end the session: ${String(error)}`);
    }
    this.link.close("the client was closed");
  }

  /** Calls `attempt` until it succeeds, fails for good, or time is up. */
  private async attempts<Reply>(
    options: AskOptions,
    attempt: (bound: Bound, timeoutMs: number) => Promise<Reply>,
  ): Promise<Reply> {
    const { clock, random, retryTimeoutMs } = this.options;
    const deadline = new Deadline(clock, retryTimeoutMs);
    for (let number = 0; ; number++) {
      const bound = this.link.bound ?? (await this.link.wait(deadline, options.signal));
      const timeoutMs = Math.max(1, Math.min(ATTEMPT_TIMEOUT_MS, deadline.remainingMs));
      try {
        return await attempt(bound, timeoutMs);
      } catch (error) {
        if (!(await this.worthTrying(error, bound.peer))) throw error;
        if (deadline.passed) throw isNoAnswer(error) ? this.link.outage(deadline, error) : error;
        if (isDfsError(error, "busy")) {
          await pause(clock, backoffDelayMs(BUSY, number, random), options.signal);
        }
      }
    }
  }

  /** True when the same request may do better: on a new connection, later, or in a new session. */
  private async worthTrying(error: unknown, peer: Peer): Promise<boolean> {
    if (isDfsError(error, "busy")) return true;
    if (isDfsError(error, "timeout"))
      this.link.suspect(peer, "the metadata service did not answer");
    if (isNoAnswer(error)) return true;
    // An expired session is answered with the same kind as an inode that is gone: a heartbeat tells them apart.
    return isDfsError(error, "stale") && peer.open && !(await this.isAlive(peer));
  }

  private async isAlive(peer: Peer): Promise<boolean> {
    try {
      await this.heartbeat(peer, BIND_TIMEOUT_MS);
      return true;
    } catch (error) {
      if (!isDfsError(error, "stale") && !isNoAnswer(error)) throw error;
      this.link.suspect(peer, "the session has expired");
      return false;
    }
  }

  private async heartbeat(peer: Peer, timeoutMs: number): Promise<void> {
    const { acknowledged } = this.present.operations;
    const sentMs = this.options.clock.monotonicMs();
    try {
      await peer.request(sessionHeartbeat, { acknowledged }, { timeoutMs });
      this.provenMs = sentMs;
    } catch (error) {
      this.link.suspect(peer, "the heartbeat was not answered");
      throw error;
    }
  }

  private get present(): Identity {
    assert(this.identity !== undefined, "the session was used before it was open");
    return this.identity;
  }

  private async bind(peer: Peer): Promise<number> {
    const beganMs = this.options.clock.monotonicMs();
    if (this.identity === undefined || !(await this.resumed(peer, this.identity))) {
      await this.openNew(peer);
    }
    await this.options.onBound(peer, BIND_TIMEOUT_MS);
    this.provenMs = beganMs;
    return this.present.epoch;
  }

  private async openNew(peer: Peer): Promise<void> {
    const { body } = await peer.request(
      sessionOpen,
      { label: this.options.label },
      { timeoutMs: BIND_TIMEOUT_MS },
    );
    const { session, token, leaseTimeoutMs, settings } = body;
    this.identity = {
      session,
      token,
      epoch: (this.identity?.epoch ?? 0) + 1,
      operations: new OperationNumbers(),
    };
    this.clusterSettings = settings;
    this.leaseMs = leaseTimeoutMs;
    this.heartbeats.start(peer, leaseTimeoutMs);
    if (this.identity.epoch > 1) this.options.onReplaced();
    await this.openAgain(peer);
  }

  /** Declares the files held open to a new session. */
  private async openAgain(peer: Peer): Promise<void> {
    for (const inode of this.openFiles.inodes()) {
      try {
        const body = { start: inode, path: EMPTY_PATH, limit: 0 };
        await peer.request(openInode, body, { timeoutMs: BIND_TIMEOUT_MS });
        this.openFiles.reopened(inode, this.present.epoch);
      } catch (error) {
        if (!isDfsError(error) || isNoAnswer(error)) throw error;
        this.openFiles.lost(inode);
      }
    }
  }

  /** Binds the session to a new connection; false when it has expired. */
  private async resumed(peer: Peer, identity: Identity): Promise<boolean> {
    const { session, token } = identity;
    const inodes = this.openFiles.inodes();
    try {
      for (let at = 0; at === 0 || at < inodes.length; at += MAX_ENTRIES_PER_PAGE) {
        const open = inodes.slice(at, at + MAX_ENTRIES_PER_PAGE);
        const request = { session, token, open };
        const { body } = await peer.request(sessionResume, request, { timeoutMs: BIND_TIMEOUT_MS });
        this.clusterSettings = body.settings;
        this.leaseMs = body.leaseTimeoutMs;
        this.heartbeats.start(peer, body.leaseTimeoutMs);
      }
      return true;
    } catch (error) {
      if (isDfsError(error, "stale")) return false;
      throw error;
    }
  }
}

function signalOf(options: AskOptions): { signal?: CancelSignal } {
  return options.signal === undefined ? {} : { signal: options.signal };
}

function expired(): DfsError {
  return new DfsError(
    "stale",
    "the session with the metadata service has expired, and what it had prepared is gone",
  );
}

function unknownOutcome(name: string): DfsError {
  return new DfsError(
    "outcomeUnknown",
    `${name}: the session expired before the answer came; it may or may not have been done: look, then try again`,
  );
}
