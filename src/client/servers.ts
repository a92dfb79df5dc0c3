/**
 * Connections to data servers, made when they are needed, and what is known about which of them are worth asking.
 *
 * Invariants
 * - A connection is used only after the peer has shown in its hello that it is the very server that was meant.
 * - A server that failed or was slow is avoided until it has answered again. After a while, which grows with each failure,
 *   it is probed in the background, so that no transfer has to wait for it. Avoiding is advice: who has nobody else to
 *   ask may ask it all the same.
 * - The user is warned once about each server.
 */
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { RequestDefinition } from "../protocol/message.ts";
import { dataStats } from "../protocol/messages/data.ts";
import type { Answer, Peer, PeerIdentity, RequestOptions } from "../protocol/peer.ts";
import type { KnownServer, Placement, PlacementCache } from "./placement-cache.ts";
import { backoffDelayMs, isNoAnswer, type Backoff } from "./retry.ts";
import type { Warnings } from "./warnings.ts";

const CONNECT_TIMEOUT_MS = 3_000;

/** Longest wait for the answer to a probe. */
const PROBE_TIMEOUT_MS = 3_000;

/** After this long a server that is avoided is probed. */
const AVOIDED: Backoff = { firstMs: 500, maxMs: 30_000 };

/** A server that has no space is asked again after this long, unless the service says otherwise before. */
const FULL_MS = 10_000;

/** Connects to a data server and makes sure that it is the one meant. */
export type ServerConnector = (server: KnownServer, timeoutMs: number) => Promise<Peer>;

/** An answer, and the incarnation of the server that gave it. */
export type ServerAnswer<Reply> = Answer<Reply> & Pick<PeerIdentity, "incarnation">;

export interface DataServersOptions {
  readonly connect: ServerConnector;
  readonly placement: PlacementCache;
  readonly warnings: Warnings;
  readonly clock: Clock;
  readonly random: Random;
}

interface Entry {
  readonly server: ServerId;
  peer: Peer | undefined;
  connecting: Promise<Peer> | undefined;
  address: string;
  /** When it last answered anything. */
  answeredMs: number;
  failures: number;
  /** Undefined: it is not avoided. */
  probeAtMs: number | undefined;
  probing: boolean;
  fullUntilMs: number;
}

export class DataServers {
  private readonly options: DataServersOptions;
  private readonly entries = new Map<ServerId, Entry>();
  private closed = false;

  constructor(options: DataServersOptions) {
    this.options = options;
  }

  /** True unless the server is avoided. */
  usable(server: ServerId): boolean {
    const entry = this.entries.get(server);
    if (entry?.probeAtMs === undefined) return true;
    const due = entry.probeAtMs <= this.options.clock.monotonicMs();
    if (due && !entry.probing && !this.closed) void this.probe(entry);
    return false;
  }

  /** True when the server has lately refused a block for want of space. */
  full(server: ServerId): boolean {
    const entry = this.entries.get(server);
    return entry !== undefined && entry.fullUntilMs > this.options.clock.monotonicMs();
  }

  /**
   * Sends a request to a server, connecting first if need be.
   * @throws DfsError the server's answer; `unreachable`, `timeout`, `wrongPeer`, `wrongCluster` after which it is
   * avoided.
   */
  async request<Request, Reply>(
    server: ServerId,
    definition: RequestDefinition<Request, Reply>,
    body: Request,
    options: RequestOptions,
  ): Promise<ServerAnswer<Reply>> {
    const entry = this.entry(server);
    const peer = entry.peer?.open === true ? entry.peer : await this.connection(entry);
    try {
      const answer = await peer.request(definition, body, options);
      this.answered(entry);
      return { ...answer, incarnation: peer.identity.incarnation };
    } catch (error) {
      this.note(entry, peer, error);
      throw error;
    }
  }

  /**
   * A request has been without answer for `waitedMs`, which is too long. When nothing else was answered meanwhile either,
   * the connection is given up, so that all requests on it fail now and not one by one.
   */
  late(server: ServerId, waitedMs: number): void {
    const entry = this.entry(server);
    const reason = `no answer within ${waitedMs / 1000} s`;
    this.avoid(entry, reason);
    if (!this.answeredWithin(server, waitedMs)) entry.peer?.close(reason);
  }

  /** True when the server has answered anything in the last `periodMs`. */
  answeredWithin(server: ServerId, periodMs: number): boolean {
    return this.options.clock.monotonicMs() - this.entry(server).answeredMs < periodMs;
  }

  /** A request takes longer than usual: others are preferred until a probe has been answered. Nobody is warned yet. */
  slow(server: ServerId): void {
    const entry = this.entry(server);
    if (entry.probeAtMs === undefined) this.postpone(entry);
  }

  /** The service has a new picture of the servers: one that came back is worth asking again. */
  learn(before: Placement | undefined, now: Placement): void {
    for (const { server, state, address, full } of now.servers) {
      const entry = this.entries.get(server);
      const old = before?.server(server);
      if (entry === undefined || old === undefined) continue;
      const cameBack = state === "up" && (old.state !== "up" || old.address !== address);
      if (cameBack) entry.probeAtMs = undefined;
      if (old.full && !full) entry.fullUntilMs = 0;
    }
  }

  /** Ends all connections. */
  close(): void {
    this.closed = true;
    for (const entry of this.entries.values()) entry.peer?.close("the client was closed");
  }

  private entry(server: ServerId): Entry {
    let entry = this.entries.get(server);
    if (entry === undefined) {
      entry = {
        server,
        peer: undefined,
        connecting: undefined,
        address: "",
        answeredMs: -Infinity,
        failures: 0,
        probeAtMs: undefined,
        probing: false,
        fullUntilMs: 0,
      };
      this.entries.set(server, entry);
    }
    return entry;
  }

  private avoid(entry: Entry, reason: string): void {
    const where = entry.address === "" ? "" : ` (${entry.address})`;
    this.options.warnings.warn({
      kind: "serverUnreachable",
      server: entry.server,
      message: `data server ${entry.server}${where} does not answer, using others: ${reason}`,
    });
    if (entry.probeAtMs === undefined) this.postpone(entry);
  }

  /** Plans the next probe. */
  private postpone(entry: Entry): void {
    const { clock, random } = this.options;
    entry.probeAtMs = clock.monotonicMs() + backoffDelayMs(AVOIDED, entry.failures, random);
    entry.failures++;
  }

  private async probe(entry: Entry): Promise<void> {
    entry.probing = true;
    try {
      await this.request(entry.server, dataStats, {}, { timeoutMs: PROBE_TIMEOUT_MS });
    } catch {
      // `request` has noted what it means; while it is still avoided, the next probe comes later.
      if (entry.probeAtMs !== undefined) this.postpone(entry);
    } finally {
      entry.probing = false;
    }
  }

  private answered(entry: Entry): void {
    entry.answeredMs = this.options.clock.monotonicMs();
    entry.failures = 0;
    entry.probeAtMs = undefined;
  }

  /** What a request that failed tells about its server. */
  private note(entry: Entry, peer: Peer, error: unknown): void {
    if (isDfsError(error, "cancelled")) return;
    if (!isNoAnswer(error)) {
      this.answered(entry); // with an error, but it lives
      if (isDfsError(error, "noSpace")) {
        entry.fullUntilMs = this.options.clock.monotonicMs() + FULL_MS;
      }
      return;
    }
    this.avoid(entry, messageOf(error));
    // Whatever else waits there would wait as long: a new connection shows whether it lives.
    if (isDfsError(error, "timeout")) peer.close("it did not answer in time");
  }

  /** One attempt to connect at a time for each server. */
  private connection(entry: Entry): Promise<Peer> {
    entry.connecting ??= this.connect(entry).finally(() => {
      entry.connecting = undefined;
    });
    return entry.connecting;
  }

  private async connect(entry: Entry): Promise<Peer> {
    const known = await this.known(entry);
    entry.address = known.address;
    let peer: Peer;
    try {
      peer = await this.options.connect(known, CONNECT_TIMEOUT_MS);
    } catch (error) {
      // Nobody is there, or somebody who is not the server that was meant, or who does not want us.
      this.avoid(entry, messageOf(error));
      throw error;
    }
    if (this.closed) {
      peer.close("the client was closed");
      throw new DfsError("cancelled", "the client has been closed");
    }
    entry.peer = peer;
    return peer;
  }

  /** Where the server is, as far as is known. */
  private async known({ server, failures }: Entry): Promise<KnownServer> {
    const { placement } = this.options;
    const cached = (await placement.any()).server(server);
    if (cached === undefined) {
      const fresh = (await placement.refresh()).server(server);
      if (fresh !== undefined) return fresh;
      throw new DfsError("unreachable", `the metadata service knows no data server ${server}`);
    }
    // It may have moved; but who reads must not wait for a metadata service that may be away as well.
    if (failures > 0) placement.refresh().catch(() => undefined);
    return cached;
  }
}
