/**
 * The data servers of the cluster as this process sees them: their connections, what they said last, their states.
 *
 * What has to survive is in the store (ids, incarnations, addresses, states, the placement table); what is here comes
 * back by itself when servers reconnect. Registrations are handled one after the other, so two processes that claim one
 * id meet each other.
 */
import type { Clock } from "../../base/clock.ts";
import { DfsError, messageOf } from "../../base/errors.ts";
import type { InstanceId, Lsn, ReignId, ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import type { ServerState } from "../../protocol/messages/cluster.ts";
import type {
  memberChain,
  memberHeartbeat,
  memberRegister,
  memberRotten,
} from "../../protocol/messages/member.ts";
import type { Peer } from "../../protocol/peer.ts";
import type { Engine } from "./engine.ts";
import { LivenessTracker, type Liveness } from "./liveness.ts";
import {
  registerServer,
  setServerState,
  type Registered,
  type Registration,
} from "./member-operations.ts";
import { acceptances } from "./acceptance.ts";
import { endOfReign } from "./reign.ts";
import { markRotten } from "./replica-operations.ts";
import { ask, type Operation } from "./store/store.ts";

/** After this long a state that could not be written is tried again. */
const RETRY_DELAY_MS = 1_000;

/** What a server says about itself with each sign of life. */
export type Condition = Pick<Registration, "capacityBytes" | "usedBytes" | "full" | "blocks">;

/** A data server that is connected. */
export interface Member {
  readonly server: ServerId;
  readonly instance: InstanceId;
  readonly peer: Peer;
}

/** What a data server said last, connected or not, and when. */
export interface LastSign {
  readonly condition: Condition;
  readonly heardNs: bigint;
}

export interface MembersOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly heartbeatIntervalMs: number;
  readonly downDelayMs: number;
  readonly outDelayMs: number;
  /** Servers or the placement table have changed, durably. */
  readonly onChanged: () => void;
  /** Copies have gone on record as bad. */
  readonly onRotten: () => void;
  /** A server has registered and takes commands. */
  readonly onRegistered: (member: Member) => void;
  /** A server is in another state than it was, durably. */
  readonly onState: (server: ServerId) => void;
}

export class Members {
  private readonly options: MembersOptions;
  private readonly liveness: LivenessTracker;
  private readonly connected = new Map<ServerId, Member>();
  private readonly byPeer = new Map<Peer, Member>();
  /** Connections whose server has been compared with the record. */
  private readonly compared = new WeakSet<Peer>();
  /** Of every server that was heard of in this reign. */
  private readonly signs = new Map<ServerId, LastSign>();
  /** States on record, and when servers came to them; undefined: before this process began. */
  private readonly states = new Map<
    ServerId,
    { readonly state: ServerState; readonly sinceNs: bigint | undefined }
  >();
  /** Connections of servers that have looked at this database and not registered yet, */
  private readonly looking = new Set<Peer>();
  /** and servers that have gone away without registering. */
  private readonly refusing = new Set<ServerId>();
  private registrations: Promise<unknown> = Promise.resolve();
  private stopped = false;

  constructor(options: MembersOptions) {
    this.options = options;
    this.liveness = new LivenessTracker({
      clock: options.clock,
      heartbeatIntervalMs: options.heartbeatIntervalMs,
      downDelayMs: options.downDelayMs,
      outDelayMs: options.outDelayMs,
      onTooMany: (silent) =>
        options.logger.warn(
          "too many data servers are silent at once: none of them is replaced by itself until others are back",
          { silent: silent.join(", ") },
        ),
      onChange: (server, state) => this.recordState(server, state),
    });
  }

  /** Begins to wait for the servers that the database knows. */
  async start(): Promise<void> {
    const servers = await this.options.engine.question(() => ask("server.list"));
    for (const { id, state } of servers) {
      this.states.set(id, { state, sinceNs: undefined });
      this.liveness.begin(id, state === "down" || state === "out" ? state : "up");
    }
  }

  stop(): void {
    this.stopped = true;
    this.liveness.stop();
  }

  /** The servers that are connected, in order of id. */
  all(): Member[] {
    return [...this.connected.values()].toSorted((one, other) => one.server - other.server);
  }

  /** `member` has been compared with the record: copies may be made there and deletions ordered. */
  isCompared(member: Member): void {
    this.compared.add(member.peer);
  }

  isConnected(server: ServerId): boolean {
    return this.connected.has(server);
  }

  /** What is known of a server's liveness in this reign. */
  livenessOf(server: ServerId): Liveness | undefined {
    return this.liveness.stateOf(server);
  }

  /** A server has this state on record since now, unless it had it before. */
  noteState(server: ServerId, state: ServerState): void {
    if (this.states.get(server)?.state === state) return;
    this.states.set(server, { state, sinceNs: this.options.clock.nowNs() });
  }

  /** Since when a server has this state on record; undefined: since before this process began. */
  sinceNs(server: ServerId, state: ServerState): bigint | undefined {
    const noted = this.states.get(server);
    return noted?.state === state ? noted.sinceNs : undefined;
  }

  /** True when the server has looked at this database and not registered: it has served from a newer one. */
  refuses(server: ServerId): boolean {
    return this.refusing.has(server);
  }

  /** What becomes of a server that is silent. */
  outlookOf(server: ServerId): ReturnType<LivenessTracker["outlookOf"]> {
    return this.liveness.outlookOf(server);
  }

  /** A server is on record as out because somebody said so; nothing changes for one that has come back meanwhile. */
  declareOut(server: ServerId): void {
    if (!this.isConnected(server)) this.liveness.declareOut(server);
  }

  /** A server is not on record any more. */
  dismiss(server: ServerId): void {
    const member = this.connected.get(server);
    this.connected.delete(server);
    this.signs.delete(server);
    this.states.delete(server);
    this.refusing.delete(server);
    this.liveness.forget(server);
    if (member === undefined) return;
    this.byPeer.delete(member.peer);
    member.peer.close("this data server was removed from the cluster");
  }

  /** The servers that are connected and have been compared with the record, in order of id. */
  settled(): Member[] {
    return this.all().filter(({ peer }) => this.compared.has(peer));
  }

  /** What a server said last in this reign. */
  lastSign(server: ServerId): LastSign | undefined {
    return this.signs.get(server);
  }

  /** A server looks whether this database is older than what it has served. One that finds it so does not register. */
  async chain(
    peer: Peer,
    body: RequestOf<typeof memberChain>,
  ): Promise<ReplyOf<typeof memberChain>> {
    const { engine } = this.options;
    const { server } = peer.identity;
    if (server !== undefined) {
      this.looking.add(peer);
      void peer.closed.then(() => this.looking.delete(peer) && this.refusing.add(server));
    }
    const lsn = engine.durableLsn;
    const { end, accepted } = await engine.question(() => chainView(body.reign, lsn));
    return { current: engine.reign.reign, lsn, end: end ?? null, accepted };
  }

  /** Registers the data server behind `peer`. @throws DfsError as `registerServer`. */
  register(peer: Peer, body: Registration): Promise<ReplyOf<typeof memberRegister>> {
    this.looking.delete(peer);
    if (body.server !== null) this.refusing.delete(body.server);
    const turn = this.registrations.then(() => this.registerOne(peer, body));
    this.registrations = turn.catch(() => undefined); // the next one does not depend on this one
    return turn;
  }

  heartbeat(peer: Peer, body: RequestOf<typeof memberHeartbeat>): ReplyOf<typeof memberHeartbeat> {
    const member = this.memberOf(peer);
    const wasFull = this.signs.get(member.server)?.condition.full;
    this.sawAlive(member.server, body);
    if (wasFull !== body.full) this.options.onChanged();
    const { engine } = this.options;
    return { reign: engine.reign.reign, lsn: engine.durableLsn };
  }

  /** A server has found copies of its own rotten. What it tells twice changes nothing the second time. */
  async rotten(
    peer: Peer,
    { blocks }: RequestOf<typeof memberRotten>,
  ): Promise<ReplyOf<typeof memberRotten>> {
    const { server } = this.memberOf(peer);
    const { engine, logger } = this.options;
    const { replicas } = engine.settings;
    const marked = await engine.change(() => markRotten(blocks, server, replicas, engine.nowNs));
    if (marked > 0) this.options.onRotten();
    logger.warn(`data server ${server} has found rotten copies; they are on record for repair`, {
      copies: blocks.length,
      marked,
      block: blocks[0],
    });
    return { marked };
  }

  /** @throws DfsError `stale` when no server has registered on this connection, or it has on another one since. */
  private memberOf(peer: Peer): Member {
    const member = this.byPeer.get(peer);
    if (member !== undefined) return member;
    throw new DfsError(
      "stale",
      "this connection belongs to no registered data server: register first",
    );
  }

  private async registerOne(
    peer: Peer,
    body: Registration,
  ): Promise<ReplyOf<typeof memberRegister>> {
    const { engine, heartbeatIntervalMs, logger } = this.options;
    const { server, joined } = await engine.vital(() => this.registration(body));
    logger.info(joined ? "a new data server has joined" : "a data server has registered", {
      server: server.id,
      address: server.address,
      zone: server.zone === "" ? undefined : server.zone,
      blocks: body.blocks,
      recovered: body.recovered || undefined,
    });
    this.noteState(server.id, server.state);
    if (peer.open) {
      this.sawAlive(server.id, body);
      this.admit({ server: server.id, instance: server.instance, peer });
    } else {
      this.liveness.begin(server.id, "up"); // it has gone again meanwhile
    }
    return {
      server: server.id,
      settings: engine.settings,
      reign: engine.reign.reign,
      lsn: engine.durableLsn,
      heartbeatIntervalMs,
    };
  }

  private *registration(body: Registration): Operation<Registered> {
    const { engine } = this.options;
    engine.ids.skipTo("block", body.highestBlock);
    return yield* registerServer(
      {
        nowNs: engine.nowNs,
        replicas: engine.settings.replicas,
        aliveInstance: (server) => this.aliveInstance(server),
      },
      body,
    );
  }

  private aliveInstance(server: ServerId): InstanceId | undefined {
    const member = this.connected.get(server);
    if (member === undefined || !member.peer.open) return undefined;
    return this.liveness.stateOf(server) === "up" ? member.instance : undefined;
  }

  private admit(member: Member): void {
    const former = this.connected.get(member.server);
    this.connected.set(member.server, member);
    this.byPeer.set(member.peer, member);
    if (former !== undefined && former.peer !== member.peer) {
      this.byPeer.delete(former.peer);
      former.peer.close("this data server has registered again on another connection");
    }
    void member.peer.closed.then((reason) => this.onClosed(member, reason));
    this.options.onChanged();
    this.options.onRegistered(member);
  }

  private onClosed(member: Member, reason: DfsError): void {
    if (this.byPeer.get(member.peer) !== member) return;
    this.byPeer.delete(member.peer);
    this.connected.delete(member.server);
    if (this.stopped) return;
    this.options.logger.warn("lost the connection to a data server", {
      server: member.server,
      reason: reason.message,
    });
    this.liveness.lost(member.server);
  }

  /**
   * Ends the connection of a server that is there and says nothing: whatever was asked of it would be waited for until its deadline,
   * and the blocks of copies that it was to make with it. When it goes on it registers again, which settles what it was doing.
   */
  private hangUp(server: ServerId): void {
    this.connected.get(server)?.peer.close("this data server has been silent for the down-delay");
  }

  private sawAlive(server: ServerId, said: Condition): void {
    const { capacityBytes, usedBytes, full, blocks } = said;
    const condition = { capacityBytes, usedBytes, full, blocks };
    this.signs.set(server, { condition, heardNs: this.options.clock.nowNs() });
    this.liveness.heard(server);
  }

  private recordState(server: ServerId, state: Liveness): void {
    const { engine, logger, onChanged, onState, clock } = this.options;
    if (state === "down") this.hangUp(server);
    engine
      .change(() => setServerState(server, state))
      .then((changed) => {
        if (changed === undefined) return;
        this.noteState(server, changed);
        if (state === "out") {
          logger.warn(
            `data server ${server} is out: its copies are made again where other servers can take them`,
          );
        } else logger.info(`data server ${server} is ${state}`);
        onChanged();
        onState(server);
      })
      .catch((error: unknown) => {
        if (this.stopped) return;
        logger.warn(`cannot record that data server ${server} is ${state}: ${messageOf(error)}`);
        const again = (): void => {
          if (!this.stopped && this.liveness.stateOf(server) === state)
            this.recordState(server, state);
        };
        clock.setTimer(RETRY_DELAY_MS, again, { background: true });
      });
  }
}

function* chainView(reign: ReignId, current: Lsn) {
  const accepted = (yield* acceptances()).map((each) => each.acceptance);
  return { end: yield* endOfReign(reign, current), accepted };
}
