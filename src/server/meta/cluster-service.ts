/** The service of the cluster as clients see it: servers, placement, figures, where blocks are, reports of bad copies. */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import type { HandlerTable } from "../../protocol/endpoint.ts";
import type { ReplyOf } from "../../protocol/message.ts";
import * as cluster from "../../protocol/messages/cluster.ts";
import { statfs } from "../../protocol/messages/namespace.ts";
import type { Backups } from "./backup/backups.ts";
import type { Engine } from "./engine.ts";
import { ringOf } from "./member-operations.ts";
import type { Condition, Members } from "./members.ts";
import { operationContext } from "./namespace-service.ts";
import { explain } from "./namespace/operations.ts";
import type { Quarantine } from "./quarantine.ts";
import { REFILL } from "./repair/need.ts";
import type { Repair } from "./repair/repair.ts";
import type { Sessions } from "./sessions.ts";
import type { Server } from "./store/rows.ts";
import type { RepairCount } from "./store/primitives/cluster.ts";
import { ask } from "./store/store.ts";

/** The number of inodes that statfs tells may be this old. */
const INODES_AGE_MS = 10_000;

/** What is known of a server that has not been heard of in this reign. */
const UNHEARD: Condition = { capacityBytes: 0, usedBytes: 0, full: false, blocks: 0 };

export interface ClusterServiceOptions {
  readonly engine: Engine;
  readonly sessions: Sessions;
  readonly members: Members;
  readonly repair: Repair;
  readonly backups: Backups;
  readonly quarantine: Quarantine;
  readonly settings: cluster.ServiceSettings;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Servers or the placement table have changed, durably. */
  readonly onServersChanged: () => void;
}

/** Registers the handlers of the cluster messages and of `statfs`. */
export function serveCluster(table: HandlerTable, options: ClusterServiceOptions): void {
  const service = new ClusterService(options);
  const { sessions, engine } = options;
  table.onRequest(
    cluster.servers,
    async ({ peer }) => {
      sessions.of(peer);
      return { body: await service.servers() };
    },
    { turns: "own" },
  );
  table.onRequest(cluster.placement, async ({ peer }) => {
    sessions.of(peer);
    return { body: await service.placement() };
  });
  table.onRequest(
    cluster.status,
    async ({ peer }) => {
      sessions.of(peer);
      return { body: await service.status() };
    },
    { turns: "own" },
  );
  table.onRequest(cluster.explain, async ({ peer, body }) => {
    const session = sessions.of(peer);
    const rows = await engine.question(
      () => explain(operationContext(engine, sessions, session), body),
      peer,
    );
    return { body: rows };
  });
  table.onRequest(cluster.reportReplica, async ({ peer, body }) => {
    sessions.of(peer);
    await options.repair.report({ ...body, reporter: peer.identity.label });
    return { body: {} };
  });
  table.onRequest(statfs, async ({ peer }) => {
    sessions.of(peer);
    return { body: await service.statfs() };
  });
}

class ClusterService {
  private readonly options: ClusterServiceOptions;
  private inodes: { readonly count: Promise<number>; readonly countedMs: number } | undefined;

  constructor(options: ClusterServiceOptions) {
    this.options = options;
  }

  async servers(): Promise<ReplyOf<typeof cluster.servers>> {
    const { engine, members } = this.options;
    const rows = await engine.question(() => ask("server.list"));
    const counts = await engine.figures.replicas();
    const replicas = new Map(counts.map((each) => [each.server, each.replicas]));
    return {
      servers: rows.map((row) => {
        const sign = members.lastSign(row.id);
        const { outInMs, heldBack } = members.outlookOf(row.id);
        return {
          server: row.id,
          address: row.address,
          state: row.state,
          zone: row.zone,
          tags: [...row.tags],
          incarnation: row.incarnation,
          instance: row.instance,
          ...this.conditionOf(row),
          replicas: replicas.get(row.id) ?? 0,
          heardNs: sign?.heardNs ?? null,
          filling: row.filling,
          sinceNs: members.sinceNs(row.id, row.state) ?? null,
          outInMs: outInMs ?? null,
          heldBack,
          refuses: members.refuses(row.id),
        };
      }),
    };
  }

  async placement(): Promise<ReplyOf<typeof cluster.placement>> {
    const { engine } = this.options;
    const { table, servers } = await engine.question(placementView);
    return {
      version: table?.version ?? 0n,
      width: table?.width ?? engine.settings.replicas,
      table: table?.rows ?? new Uint8Array(0),
      servers: ringOf(servers).map((row) => ({
        server: row.id,
        address: row.address,
        incarnation: row.incarnation,
        state: row.state,
        zone: row.zone,
        full: this.conditionOf(row).full,
        filling: row.filling,
      })),
    };
  }

  async status(): Promise<ReplyOf<typeof cluster.status>> {
    const { engine } = this.options;
    const view = await engine.question(statusView);
    const isUp = ({ id, state }: Server): boolean =>
      state === "up" || (state === "draining" && this.options.members.isConnected(id));
    const up = view.servers.filter(isUp).map((each) => each.id);
    const counted = await engine.figures.blocks(up, engine.settings.replicas);
    return {
      reign: engine.reign.reign,
      lsn: engine.durableLsn,
      startedNs: engine.startedNs,
      inodes: counted.inodes,
      files: counted.files,
      directories: counted.directories,
      liveBytes: counted.liveBytes,
      liveBlocks: counted.liveBlocks,
      blocksByCopies: [...counted.blocksByCopies],
      missingCopies: view.missingCopies,
      deadBlocks: counted.deadBlocks,
      sessions: view.sessions,
      placementVersion: view.placementVersion,
      repair: {
        queue: queueAsTold(counted.repairs, engine.settings.replicas),
        ...this.options.repair.progress(),
      },
      backup: await this.options.backups.status(),
      risk: counted.risk,
      service: serviceSettingsOf(this.options.settings),
      metadataDisk: engine.disk,
    };
  }

  async statfs(): Promise<ReplyOf<typeof statfs>> {
    const { engine } = this.options;
    const servers = await engine.question(() => ask("server.list"));
    const usable = servers.filter((each) => each.state === "up" || each.state === "suspect");
    let capacity = 0;
    let available = 0;
    for (const server of usable) {
      const { capacityBytes, usedBytes, full } = this.conditionOf(server);
      capacity += capacityBytes;
      available += full ? 0 : Math.max(0, capacityBytes - usedBytes);
    }
    const { replicas } = engine.settings;
    return {
      capacityBytes: Math.floor(capacity / replicas),
      availableBytes: Math.floor(available / replicas),
      inodes: await this.countInodes(),
    };
  }

  private conditionOf(server: Server): Condition {
    return this.options.members.lastSign(server.id)?.condition ?? UNHEARD;
  }

  private countInodes(): Promise<number> {
    const { engine, clock } = this.options;
    const nowMs = clock.monotonicMs();
    if (this.inodes === undefined || nowMs - this.inodes.countedMs > INODES_AGE_MS) {
      this.inodes = { count: engine.figures.inodes(), countedMs: nowMs };
      this.inodes.count.catch(() => {
        this.inodes = undefined; // whoever waits is told; the next one counts again
      });
    }
    return this.inodes.count;
  }
}

/** Whole numbers, and none that was above 0 becomes 0, which is no limit. */
function serviceSettingsOf(settings: cluster.ServiceSettings): cluster.ServiceSettings {
  return {
    leaseTimeoutMs: Math.ceil(settings.leaseTimeoutMs),
    downDelayMs: Math.ceil(settings.downDelayMs),
    outDelayMs: Math.ceil(settings.outDelayMs),
    repairBytesPerSecond: Math.ceil(settings.repairBytesPerSecond),
    backupIntervalMs: Math.ceil(settings.backupIntervalMs),
  };
}

function* placementView() {
  return {
    table: yield* ask("placement.current"),
    servers: yield* ask("server.list"),
  };
}

function* statusView() {
  return {
    servers: yield* ask("server.list"),
    missingCopies: yield* ask("repair.total"),
    sessions: yield* ask("session.count", "live"),
    placementVersion: yield* ask("placement.version"),
  };
}

/** What is on record for repair, where blocks that wait for a refill count as what they are: they have all copies but one. */
function queueAsTold(counted: readonly RepairCount[], replicas: number): RepairCount[] {
  const told = new Map<number, RepairCount>();
  for (const row of counted) {
    const urgency = row.urgency === REFILL ? replicas - 1 : row.urgency;
    const { blocks, copies, bytes } = told.get(urgency) ?? { blocks: 0, copies: 0, bytes: 0 };
    told.set(urgency, {
      urgency,
      blocks: blocks + row.blocks,
      copies: copies + row.copies,
      bytes: bytes + row.bytes,
    });
  }
  return [...told.values()].toSorted((one, other) => one.urgency - other.urgency);
}
