/**
 * Connections to other data servers, from which blocks are fetched: one for each server, made when it is needed, kept
 * while it is open.
 *
 * Invariant: a connection is used only after its other end has shown to be the very server that was meant, of this
 * cluster.
 */
import type { Clock } from "../../base/clock.ts";
import { DfsError, messageOf } from "../../base/errors.ts";
import type { ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import { connectPeer } from "../../protocol/endpoint.ts";
import type { Peer, PeerIdentity } from "../../protocol/peer.ts";
import type { Address, Transport } from "../../protocol/transport.ts";

const CONNECT_TIMEOUT_MS = 5_000;

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

  /** Closes all connections; no more are made. */
  close(): void {
    this.closed = true;
    for (const key of this.kept.keys()) this.drop(key, "the data server is shutting down");
  }

  private async connect(key: string, { server, address }: Source): Promise<Peer> {
    if (this.closed) throw new DfsError("cancelled", "the data server is shutting down");
    const identity = this.options.identity();
    const { cluster } = identity;
    const expect = { role: "data", server, ...(cluster === undefined ? {} : { cluster }) } as const;
    const connecting = connectPeer({
      ...this.options,
      identity,
      address,
      expect,
      timeoutMs: CONNECT_TIMEOUT_MS,
    });
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
