/**
 * Connections to other data servers, from which blocks are fetched: one for each server, made when it is needed, kept
 * while it is open.
 *
 * A server that stands still keeps its connections open and says nothing. One with a slow disk says nothing for a while either. They
 * are told apart by greeting the server once more, on another connection: who runs answers a hello at once.
 *
 * Invariant: a connection is used only after its other end has shown to be the very server that was meant, of this
 * cluster.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../../base/errors.ts";
import type { ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import { connectPeer } from "../../protocol/endpoint.ts";
import type { Question } from "../../protocol/message.ts";
import type { Answer, Peer, PeerIdentity } from "../../protocol/peer.ts";
import type { Address, Transport } from "../../protocol/transport.ts";

const CONNECT_TIMEOUT_MS = 5_000;

/** Longest wait for an answer with blocks, of a server that runs. */
const ANSWER_TIMEOUT_MS = 30_000;

/** A server that has not answered for so long is greeted, again and again, and has so long to greet back. */
const SILENCE_MS = 2_000;
const GREETING_TIMEOUT_MS = 3_000;

/**
 * Connections kept; of more the one that was used longest ago is closed, be it in use or not. So there are more of them than servers
 * that blocks are fetched from at a time.
 */
const MAX_KEPT = 256;

/** A server and where it listens. */
export interface Source {
  readonly server: ServerId;
  readonly address: Address;
}

export interface SourcePeersOptions {
  readonly identity: () => PeerIdentity;
  readonly transport: Transport;
  readonly key: Uint8Array | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export class SourcePeers {
  private readonly options: SourcePeersOptions;
  /** By server and address, the one that was used last at the end. */
  private readonly kept = new Map<string, Promise<Peer>>();
  /** Connections whose server is being greeted on another one. */
  private readonly greeted = new Set<Peer>();
  private closed = false;

  constructor(options: SourcePeersOptions) {
    this.options = options;
  }

  /** An open connection. @throws DfsError `unreachable`, `timeout`, `wrongPeer` and others when there can be none. */
  async to(source: Source): Promise<Peer> {
    const key = `${source.server} ${source.address}`;
    const present = this.kept.get(key);
    if (present !== undefined) {
      this.kept.delete(key);
      this.kept.set(key, present);
      const peer = await present;
      if (peer.open) return peer;
      if (this.kept.get(key) === present) this.kept.delete(key);
    }
    return this.kept.get(key) ?? this.connect(key, source);
  }

  /**
   * Asks a source for blocks.
   * @throws DfsError as `to`, and what it answers; `unreachable` when it stands still, `timeout` when it runs and does not answer.
   */
  async ask<Request, Reply>(
    source: Source,
    definition: Question<Request, Reply>,
    body: Request,
    signal: CancelSignal,
  ): Promise<Answer<Reply>> {
    const peer = await this.to(source);
    const watch = this.watch(source, peer);
    try {
      return await peer.request(definition, body, { timeoutMs: ANSWER_TIMEOUT_MS, signal });
    } catch (error) {
      // Whatever else waits there would wait as long: a new connection shows whether the server lives.
      if (isDfsError(error, "timeout")) peer.close("it did not answer in time");
      throw error;
    } finally {
      watch.cancel();
    }
  }

  /** Closes all connections; no more are made. */
  close(): void {
    this.closed = true;
    for (const key of this.kept.keys()) this.drop(key, "the data server is shutting down");
  }

  /** Ends a connection when its server is found to stand still, until that is cancelled. */
  private watch(source: Source, peer: Peer): Timer {
    let timer: Timer;
    const look = (): void => {
      void this.greet(source, peer);
      start();
    };
    const start = (): void => {
      timer = this.options.clock.setTimer(SILENCE_MS, look, { background: true });
    };
    start();
    return { cancel: () => timer.cancel() };
  }

  private async greet(source: Source, peer: Peer): Promise<void> {
    if (this.closed || this.greeted.has(peer)) return;
    this.greeted.add(peer);
    try {
      (await this.open(source, GREETING_TIMEOUT_MS)).close("the server runs");
    } catch (error) {
      peer.close(`it does not answer, and no greeting either: ${messageOf(error)}`);
    } finally {
      this.greeted.delete(peer);
    }
  }

  private open({ server, address }: Source, timeoutMs: number): Promise<Peer> {
    const identity = this.options.identity();
    const { cluster } = identity;
    const expect = { role: "data", server, ...(cluster === undefined ? {} : { cluster }) } as const;
    return connectPeer({ ...this.options, identity, address, expect, timeoutMs });
  }

  private async connect(key: string, source: Source): Promise<Peer> {
    if (this.closed) throw new DfsError("cancelled", "the data server is shutting down");
    const connecting = this.open(source, CONNECT_TIMEOUT_MS);
    this.kept.set(key, connecting);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= MAX_KEPT) break;
      this.drop(oldest, "other servers are asked now");
    }
    try {
      return await connecting;
    } catch (error) {
      if (this.kept.get(key) === connecting) this.kept.delete(key);
      throw error;
    }
  }

  private drop(key: string, reason: string): void {
    const peer = this.kept.get(key);
    this.kept.delete(key);
    peer?.then(
      (open) => open.close(reason),
      (error: unknown) => this.options.logger.debug(`no connection to close: ${messageOf(error)}`),
    );
  }
}
