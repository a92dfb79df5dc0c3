/** The messages by which data servers are drained, replaced and removed, and the progress of that is followed. */
import { counted, countText, sizeText } from "../../base/amounts.ts";
import { DfsError } from "../../base/errors.ts";
import type { InodeId, ServerId } from "../../base/ids.ts";
import type { HandlerTable } from "../../protocol/endpoint.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import * as cluster from "../../protocol/messages/cluster.ts";
import type { ClusterServiceOptions } from "./cluster-service.ts";
import { currentRows, membersOf, ringServer, rowsAfterLeave } from "./placement-operations.ts";
import { ringOrder, rowsWithJoined } from "./placement.ts";
import { clusterView } from "./repair/need.ts";
import {
  abandonStep,
  drain,
  knownServer,
  refuseChange,
  removeStep,
  replace,
  undrain,
  type ChangeContext,
} from "./server-changes.ts";
import type { CopyCount, Holding } from "./store/primitives/cluster.ts";
import type { ReplicaState, Server } from "./store/rows.ts";
import { ask } from "./store/store.ts";

/** Files that are named when blocks would be lost. */
const FILES_NAMED = 5;

/** Copies forgotten in one transaction: few enough that the event loop is never held long. */
const COPIES_AT_ONCE = 256;

type Plan = ReplyOf<typeof cluster.plan>;
type Move = Plan["moves"][number];
type Change = RequestOf<typeof cluster.setServer>;

const NOTHING: CopyCount = { copies: 0, bytes: 0 };

/** Registers the handlers of `cluster.plan`, `cluster.setServer`, `cluster.holdings` and `cluster.losses`. */
export function serveServerChanges(table: HandlerTable, options: ClusterServiceOptions): void {
  const service = new ServerChangeService(options);
  const { sessions } = options;
  table.onRequest(
    cluster.plan,
    async ({ peer, body }) => {
      sessions.of(peer);
      return { body: await service.plan(body) };
    },
    { turns: "own" },
  );
  table.onRequest(cluster.setServer, async ({ peer, body }) => {
    sessions.of(peer);
    await service.change(body, peer.identity.label);
    return { body: {} };
  });
  table.onRequest(cluster.holdings, async ({ peer, body }) => {
    sessions.of(peer);
    return { body: await service.holdings(body.server) };
  });
  table.onRequest(
    cluster.losses,
    async ({ peer, body }) => {
      sessions.of(peer);
      return { body: await service.losses(body) };
    },
    { turns: "own" },
  );
}

class ServerChangeService {
  private readonly options: ClusterServiceOptions;

  constructor(options: ClusterServiceOptions) {
    this.options = options;
  }

  async plan({ server: id, change }: Change): Promise<Plan> {
    const { engine } = this.options;
    const { server, all, rows } = await engine.question(function* () {
      return {
        server: yield* knownServer(id),
        all: yield* ask("server.list"),
        rows: (yield* currentRows()) ?? [],
      };
    });
    refuseChange(change, server, all, this.contextOf(id));
    if (change === "remove") await this.refuseCounting(server);
    if (change === "abandon") await this.refuseReadable(server);
    const moves = await this.movesOf(change, server, all, rows);
    if (moves.length > 0 && this.isYetToBegin(change, server)) this.refuseUnheard(change, id, all);
    const { copies, bytes } = sum(moves);
    return { state: server.state, copies, bytes, moves };
  }

  async change({ server, change }: Change, who: string): Promise<void> {
    const { engine, members, repair, logger, onServersChanged } = this.options;
    const context = this.contextOf(server);
    if (change === "drain") {
      await engine.change(() => drain(server, context));
      members.noteState(server, "draining");
    } else if (change === "undrain") {
      const seen = members.livenessOf(server);
      const state = seen === undefined || seen === "out" ? "down" : seen;
      await engine.change(() => undrain(server, context, state));
      members.noteState(server, state);
    } else if (change === "replace") {
      await engine.change(() => replace(server, context));
      members.declareOut(server);
      members.noteState(server, "out");
    } else await this.remove(server, context, change === "abandon");
    logger.info(`data server ${server}: ${change}, asked for by ${who}`);
    onServersChanged();
    repair.serversChanged();
  }

  async holdings(id: ServerId): Promise<ReplyOf<typeof cluster.holdings>> {
    const { engine, members } = this.options;
    const { server, surveys } = await engine.question(function* () {
      return { server: yield* knownServer(id), surveys: yield* ask("survey.list") };
    });
    const connected = members.isConnected(id);
    const isCompared = members.settled().some((member) => member.server === id);
    const judging = surveys.some((each) => each.server === id) || (connected && !isCompared);
    const { holdings, lacking, lost, surplus } = await engine.figures.server(id);
    const inState = (state: ReplicaState): CopyCount =>
      sum(holdings.filter((each) => each.state === state));
    return {
      state: server.state,
      connected,
      filling: server.filling,
      judging,
      present: inState("present"),
      adding: inState("adding"),
      bad: inState("bad"),
      removing: inState("removing"),
      lacking: { ...lacking },
      lost: { ...lost },
      surplus: { ...surplus },
    };
  }

  private contextOf(server: ServerId): ChangeContext {
    const { engine, members } = this.options;
    return {
      replicas: engine.settings.replicas,
      connected: members.isConnected(server),
      isFull: (id) => members.lastSign(id)?.condition.full === true,
    };
  }

  async losses({ server, after }: RequestOf<typeof cluster.losses>): Promise<cluster.LossPage> {
    const { engine } = this.options;
    const page = await engine.figures.losses(server ?? undefined, after ?? 0n);
    return {
      losses: page.losses.map(({ servers, path, ...loss }) => ({
        ...loss,
        path: path ?? null,
        servers: [...servers],
      })),
      next: page.next ?? null,
    };
  }

  private async remove(id: ServerId, context: ChangeContext, giveUp: boolean): Promise<void> {
    const { engine, members, backups, quarantine } = this.options;
    const server = await engine.question(() => ask("server.get", id));
    if (server !== undefined) {
      refuseChange("remove", server, [], context);
      await (giveUp ? this.refuseReadable(server) : this.refuseCounting(server));
    }
    for (let done = false; !done;) {
      done = await engine.change(function* () {
        const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
        const step = giveUp ? abandonStep : removeStep;
        return yield* step(view, id, context, COPIES_AT_ONCE);
      });
    }
    members.dismiss(id);
    backups.dismiss(id);
    quarantine.dismiss(id);
  }

  /** Whether the change needs room that nobody has checked yet. */
  private isYetToBegin(change: Change["change"], { state }: Server): boolean {
    return (
      (change === "drain" && state !== "draining") || (change === "replace" && state !== "out")
    );
  }

  /**
   * After a start of this process no server's room is known until it has registered again.
   * @throws DfsError `invalid` when that is so for one that may get copies.
   */
  private refuseUnheard(change: string, id: ServerId, all: readonly Server[]): void {
    const unheard = all.filter(
      (each) =>
        each.id !== id &&
        (each.state === "up" || each.state === "suspect") &&
        this.options.members.lastSign(each.id) === undefined,
    );
    if (unheard.length === 0) return;
    const names = unheard.map((each) => each.id).join(", ");
    throw new DfsError(
      "invalid",
      `cannot ${change} data server ${id} yet: the metadata server has just started and does not know how much room there is ` +
        `on data server ${names}\ntry again in a few seconds`,
    );
  }

  /** @throws DfsError `invalid` while copies on the server count, with how many they are. */
  private async refuseCounting({ id, state }: Server): Promise<void> {
    const { present, bad, removing, lacking, lost, judging } = await this.holdings(id);
    const left = state === "out" ? lacking : sum([present, bad, removing]);
    if (left.copies === 0 && !(judging && state === "out")) return;
    if (!judging && left.copies === lost?.copies) throw await this.wouldLose(id, left.copies);
    const what =
      left.copies === 0
        ? "what its copies were needed for is still being found out"
        : state === "out"
          ? `${countText(left.copies)} of its blocks have not been copied elsewhere (${sizeText(left.bytes)})`
          : `it still holds ${counted(left.copies, "copy", "copies")} (${sizeText(left.bytes)})`;
    const watch = state === "out" ? `dfs rebuild ${id} --replace` : `dfs server drain ${id}`;
    throw new DfsError(
      "invalid",
      `cannot remove data server ${id}: ${what}\nto see how far that is: ${watch}`,
    );
  }

  /** @throws DfsError `invalid` while copies on a server that is to be given up can still be read. */
  private async refuseReadable({ id, state }: Server): Promise<void> {
    const { present, judging } = await this.holdings(id);
    const isWaited = judging && state === "out";
    if (!isWaited && (state === "out" || present.copies === 0)) return;
    const what = isWaited
      ? "what its copies were needed for is still being found out"
      : `${countText(present.copies)} of its copies can still be read`;
    const next = isWaited ? "try again in a moment" : `move them away: dfs server drain ${id}`;
    throw new DfsError("invalid", `cannot give up data server ${id}: ${what}\n${next}`);
  }

  /** What is said when nothing is in the way but blocks that are nowhere else. */
  private async wouldLose(id: ServerId, blocks: number): Promise<DfsError> {
    const { losses, next } = await this.losses({ server: id, after: null });
    const paths = new Set(losses.map(({ path, inode }) => nameOf(path, inode)));
    const named = [...paths].slice(0, FILES_NAMED);
    const more = paths.size > named.length || next !== null ? " and more" : "";
    return new DfsError(
      "invalid",
      `cannot remove data server ${id}: ${counted(blocks, "block has", "blocks have")} no other copy, of ` +
        `${named.join(", ")}${more}\n` +
        `start it again if it still has them; to give them up for lost: dfs server remove ${id} --force`,
      { details: { lost: blocks } },
    );
  }

  /** Copies that a change has made, by the server that gets them. */
  private async movesOf(
    change: Change["change"],
    server: Server,
    all: readonly Server[],
    rows: readonly (readonly ServerId[])[],
  ): Promise<Move[]> {
    const { figures } = this.options.engine;
    if (change === "remove" || change === "abandon") return [];
    const { holdings, lacking } = await figures.server(server.id);
    const takers = all.filter(({ id, state }) => id !== server.id && state === "up");
    if (change === "undrain") return this.movesTo(server, all, rows, holdings);
    if (change === "replace" && server.state === "out") {
      return lacking.copies === 0 ? [] : [this.move(undefined, lacking, takers)];
    }
    const next = rowsAfterLeave(rows, all, server.id);
    const heirOf = (group: number): ServerId | undefined =>
      next[group]?.find((each) => !(rows[group] ?? []).includes(each));
    const counted = holdings.filter(({ state }) => change === "replace" || state === "present");
    const alive = counted.filter(({ state }) => state !== "removing");
    const byHeir = Map.groupBy(alive, ({ group }) => heirOf(group));
    return [...byHeir]
      .map(([heir, parts]) => this.move(heir, sum(parts), takers))
      .toSorted((one, other) => (one.server ?? Infinity) - (other.server ?? Infinity));
  }

  /** What a server gets that has no place in the table and is to have one. */
  private async movesTo(
    server: Server,
    all: readonly Server[],
    rows: readonly (readonly ServerId[])[],
    holdings: readonly Holding[],
  ): Promise<Move[]> {
    const { engine } = this.options;
    const members = [...membersOf(rows, all), server].map(ringServer);
    const next = rowsWithJoined(rows, ringOrder(members), server.id, engine.settings.replicas);
    const held = new Map(
      holdings.filter(({ state }) => state === "present").map((each) => [each.group, each]),
    );
    const gained = (await engine.figures.groups()).filter(
      ({ group }) => next[group]?.includes(server.id) === true,
    );
    const parts = gained.map(({ group, blocks, bytes }) => ({
      copies: Math.max(0, blocks - (held.get(group)?.copies ?? 0)),
      bytes: Math.max(0, bytes - (held.get(group)?.bytes ?? 0)),
    }));
    const total = sum(parts);
    return total.copies === 0 ? [] : [this.move(server.id, total, [])];
  }

  /** `server` undefined: wherever there is room on `takers`. */
  private move(
    server: ServerId | undefined,
    { copies, bytes }: CopyCount,
    takers: readonly Server[],
  ): Move {
    const { members } = this.options;
    const freeOf = (id: ServerId): number => {
      const condition = members.lastSign(id)?.condition;
      if (condition === undefined || condition.full) return 0;
      return Math.max(0, condition.capacityBytes - condition.usedBytes);
    };
    const freeBytes =
      server === undefined
        ? takers.reduce((total, { id }) => total + freeOf(id), 0)
        : freeOf(server);
    return { server: server ?? null, copies, bytes, freeBytes };
  }
}

/** A file in words. */
function nameOf(path: Uint8Array | null, inode: InodeId): string {
  return path === null ? `inode ${inode}` : JSON.stringify(Buffer.from(path).toString());
}

function sum(parts: Iterable<CopyCount>): CopyCount {
  let { copies, bytes } = NOTHING;
  for (const part of parts) {
    copies += part.copies;
    bytes += part.bytes;
  }
  return { copies, bytes };
}
