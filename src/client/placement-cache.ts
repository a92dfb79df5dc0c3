/**
 * The client's copy of the placement table and of the list of data servers.
 *
 * It is a hint: a block written by an old table is misplaced, not lost. It is fetched again when the service says that
 * something has changed, when a reservation names a newer version, and when a server is needed that it does not know.
 */
import type { IncarnationId, ServerId } from "../base/ids.ts";
import { candidateOrder, decodeRows, type RingServer } from "../base/placement.ts";
import type { ReplyOf } from "../protocol/message.ts";
import type { placement, ServerState } from "../protocol/messages/cluster.ts";

/** A data server as the service last described it. */
export interface KnownServer extends RingServer {
  readonly address: string;
  readonly incarnation: IncarnationId;
  readonly state: ServerState;
  readonly full: boolean;
  /** It lost its disk and is being refilled: its copies count in no quorum. */
  readonly filling: boolean;
}

export type PlacementReply = ReplyOf<typeof placement>;

export class Placement {
  readonly version: bigint;
  /** In ring order. */
  readonly servers: readonly KnownServer[];
  private readonly byId: ReadonlyMap<ServerId, KnownServer>;
  private readonly rows: readonly (readonly ServerId[])[];
  private readonly orders = new Map<number, readonly ServerId[]>();

  constructor(reply: PlacementReply) {
    this.version = reply.version;
    this.servers = reply.servers.map((each) => ({ ...each, filling: each.filling === true }));
    this.byId = new Map(this.servers.map((each) => [each.server, each]));
    this.rows = decodeRows(reply.table, reply.width);
  }

  server(id: ServerId): KnownServer | undefined {
    return this.byId.get(id);
  }

  /**
   * True when a copy that this incarnation of a server acknowledged is not to be reckoned with any more: the server has lost
   * its disk since, was removed, or is out.
   */
  isLost(server: ServerId, incarnation: IncarnationId | undefined): boolean {
    const known = this.byId.get(server);
    if (known === undefined || known.state === "out") return true;
    return incarnation !== undefined && incarnation !== known.incarnation;
  }

  /** True when the copies of a server, unless they are lost, count towards the write quorum. */
  counts(server: ServerId): boolean {
    return this.byId.get(server)?.filling === false;
  }

  /** The servers that the table names for a group. */
  targets(group: number): readonly ServerId[] {
    return this.rows[group] ?? [];
  }

  /** The servers to try for a new block of the group, in order: its targets, then the stand-ins. */
  candidates(group: number): readonly ServerId[] {
    let order = this.orders.get(group);
    if (order === undefined) {
      order = candidateOrder(this.targets(group), this.servers);
      this.orders.set(group, order);
    }
    return order;
  }
}

export class PlacementCache {
  /** Told of each new picture. */
  onChange: ((before: Placement | undefined, now: Placement) => void) | undefined;
  private readonly fetch: () => Promise<PlacementReply>;
  private known: Placement | undefined;
  private outdated = true;
  private arriving: Promise<Placement> | undefined;

  constructor(fetch: () => Promise<PlacementReply>) {
    this.fetch = fetch;
  }

  /** Something has changed: the next write fetches it. */
  invalidate(): void {
    this.outdated = true;
  }

  /** The service has this version. */
  noteVersion(version: bigint): void {
    if (this.known !== undefined && version > this.known.version) this.outdated = true;
  }

  /** What is known, fetched first if it is known to be outdated. */
  async current(): Promise<Placement> {
    if (this.known !== undefined && !this.outdated) return this.known;
    return this.refresh();
  }

  /** What is known, however old; fetched when nothing is. */
  async any(): Promise<Placement> {
    return this.known ?? this.refresh();
  }

  /** What is known now, if anything. */
  get last(): Placement | undefined {
    return this.known;
  }

  /** Fetches it now. Calls that come while a fetch is under way share it. */
  refresh(): Promise<Placement> {
    this.arriving ??= this.load().finally(() => {
      this.arriving = undefined;
    });
    return this.arriving;
  }

  private async load(): Promise<Placement> {
    this.outdated = false; // before the question, so that a change that comes meanwhile is not missed
    try {
      const fresh = new Placement(await this.fetch());
      const before = this.known;
      this.known = fresh;
      this.onChange?.(before, fresh);
      return fresh;
    } catch (error) {
      this.outdated = true;
      throw error;
    }
  }
}
