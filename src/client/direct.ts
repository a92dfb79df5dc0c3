/**
 * Requests to one data server and no other, for those who want to know or do something right there: check its copies,
 * damage them, stop it. Nothing is warned of, tried again or asked of somebody else; what fails is the caller's to tell.
 *
 * Connections are kept. A server that could not be reached is not tried again for a moment, so that many questions to it
 * in a row fail fast.
 */
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import type { RequestDefinition } from "../protocol/message.ts";
import type { Answer, Peer, RequestOptions } from "../protocol/peer.ts";
import type { PlacementCache } from "./placement-cache.ts";
import type { ServerConnector } from "./servers.ts";

const CONNECT_TIMEOUT_MS = 3_000;

/** For how long a failure to connect is remembered. */
const REMEMBERED_MS = 2_000;

interface Entry {
  readonly peer: Promise<Peer>;
  /** From then on it is connected to anew. */
  overAtMs: number;
}

export class DirectRequests {
  private readonly connect: ServerConnector;
  private readonly placement: PlacementCache;
  private readonly clock: Clock;
  private readonly entries = new Map<ServerId, Entry>();

  constructor(connect: ServerConnector, placement: PlacementCache, clock: Clock) {
    this.connect = connect;
    this.placement = placement;
    this.clock = clock;
  }

  /** The server. @throws DfsError `notFound` when there is none with this id; `unreachable`, `timeout`, `wrongPeer`. */
  peer(server: ServerId): Promise<Peer> {
    const known = this.entries.get(server);
    if (known !== undefined && this.clock.monotonicMs() < known.overAtMs) return known.peer;
    const entry: Entry = { peer: this.begin(server), overAtMs: Infinity };
    this.entries.set(server, entry);
    entry.peer.then(
      (peer) => peer.closed.then(() => (entry.overAtMs = 0)),
      () => (entry.overAtMs = this.clock.monotonicMs() + REMEMBERED_MS),
    );
    return entry.peer;
  }

  /** Asks the server. @throws DfsError its error, `cancelled`, and as `peer`. */
  async request<Request, Reply>(
    server: ServerId,
    definition: RequestDefinition<Request, Reply>,
    body: Request,
    options: RequestOptions,
  ): Promise<Answer<Reply>> {
    const peer = await this.peer(server);
    try {
      return await peer.request(definition, body, options);
    } catch (error) {
      if (isDfsError(error, "timeout")) peer.close("it did not answer in time");
      throw error;
    }
  }

  close(): void {
    for (const { peer } of this.entries.values()) {
      peer.then(
        (open) => open.close("the client was closed"),
        () => undefined, // whoever asked was told
      );
    }
  }

  private async begin(server: ServerId): Promise<Peer> {
    const table = await this.placement.current();
    const known = table.server(server) ?? (await this.placement.refresh()).server(server);
    if (known === undefined) {
      throw new DfsError(
        "notFound",
        `there is no data server ${server}\ndfs server list shows those that there are`,
      );
    }
    return this.connect(known, CONNECT_TIMEOUT_MS);
  }
}
