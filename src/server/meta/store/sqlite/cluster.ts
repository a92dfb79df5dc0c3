/** Primitives of the cluster on SQLite. */
import type { Database } from "bun:sqlite";
import {
  blockId,
  incarnationId,
  instanceId,
  lsn,
  reignId,
  serverId,
  type ServerId,
} from "../../../../base/ids.ts";
import { PLACEMENT_GROUPS } from "../../../../base/limits.ts";
import type { ServerState } from "../../../../protocol/messages/cluster.ts";
import type { ClusterPrimitives, RepairCount, StoreFigures } from "../primitives/cluster.ts";
import type { Reign, Server } from "../rows.ts";
import { REPLICA_STATES } from "./content.ts";
import { Enumeration } from "./convert.ts";
import { ListStatement } from "./lists.ts";

const STATES = new Enumeration<ServerState>("server state", {
  up: 0,
  suspect: 1,
  down: 2,
  out: 3,
  draining: 4,
});

/** Bytes of one server id in a placement row, as in base/placement.ts. */
const ROW_SERVER_BYTES = 4;

interface ServerColumns {
  readonly id: bigint;
  readonly incarnation: bigint;
  readonly instance: bigint;
  readonly address: string;
  readonly zone: string;
  readonly tags: string;
  readonly state: bigint;
  readonly filling: bigint;
  readonly registered: bigint;
}

interface ReignColumns {
  readonly number: bigint;
  readonly reign: bigint;
  readonly start_lsn: bigint;
}

type Area<Prefix extends string> = Pick<
  ClusterPrimitives,
  Extract<keyof ClusterPrimitives, `${Prefix}.${string}`>
>;

export function clusterPrimitives(database: Database): ClusterPrimitives {
  return {
    ...serverArea(database),
    ...placementArea(database),
    ...counterArea(database),
    ...reignArea(database),
    ...figuresArea(database),
  };
}

function serverArea(database: Database): Area<"server"> {
  const get = database.prepare<ServerColumns, [number]>("SELECT * FROM servers WHERE id = ?");
  const standing = database.prepare<
    Pick<ServerColumns, "state" | "filling" | "incarnation">,
    [number]
  >("SELECT state, filling, incarnation FROM servers WHERE id = ?");
  const put = database.prepare(
    `INSERT OR REPLACE INTO servers (id, incarnation, instance, address, zone, tags, state, filling, registered)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const remove = database.prepare("DELETE FROM servers WHERE id = ?");
  const list = database.prepare<ServerColumns, []>("SELECT * FROM servers ORDER BY id");
  return {
    "server.get": (server) => {
      const row = get.get(server);
      return row === null ? undefined : serverOf(row);
    },
    "server.standing": (server) => {
      const row = standing.get(server);
      if (row === null) return undefined;
      const incarnation = incarnationId(row.incarnation);
      return { state: STATES.name(row.state), filling: row.filling !== 0n, incarnation };
    },
    "server.put": (row) =>
      void put.run(
        row.id,
        row.incarnation,
        row.instance,
        row.address,
        row.zone,
        JSON.stringify(row.tags),
        STATES.number(row.state),
        row.filling ? 1 : 0,
        row.registeredNs,
      ),
    "server.delete": (server) => void remove.run(server),
    "server.list": () => list.all().map(serverOf),
  };
}

/** One version of the table at a time, a row of it for each group: readers of a file want single rows. */
function placementArea(database: Database): Area<"placement"> {
  const current = database.prepare<{ version: bigint; width: bigint }, []>(
    "SELECT version, width FROM placement ORDER BY version DESC LIMIT 1",
  );
  const rows = database.prepare<{ servers: Uint8Array }, []>(
    "SELECT servers FROM placement_rows ORDER BY grp",
  );
  const version = database.prepare<{ version: bigint | null }, []>(
    "SELECT max(version) AS version FROM placement",
  );
  const clear = database.prepare("DELETE FROM placement");
  const insert = database.prepare("INSERT INTO placement (version, width) VALUES (?, ?)");
  const putRow = database.prepare(
    "INSERT OR REPLACE INTO placement_rows (grp, servers) VALUES (?, ?)",
  );
  const row = database.prepare<{ servers: Uint8Array }, [number]>(
    "SELECT servers FROM placement_rows WHERE grp = ?",
  );
  const rowsOf = new ListStatement<{ grp: bigint; servers: Uint8Array }>(
    database,
    (groups) => `SELECT grp, servers FROM placement_rows WHERE grp IN ${groups}`,
  );
  return {
    "placement.current": () => {
      const found = current.get();
      if (found === null) return undefined;
      const parts = rows.all().map((each) => each.servers);
      return { version: found.version, width: Number(found.width), rows: Buffer.concat(parts) };
    },
    "placement.version": () => version.get()?.version ?? 0n,
    "placement.put": (table) => {
      clear.run();
      insert.run(table.version, table.width);
      const bytes = table.width * ROW_SERVER_BYTES;
      for (let group = 0; group < PLACEMENT_GROUPS; group++) {
        putRow.run(group, table.rows.subarray(group * bytes, (group + 1) * bytes));
      }
    },
    "placement.row": (group) => serversOfRow(row.get(group)?.servers),
    "placement.rows": (groups) =>
      rowsOf
        .all(groups)
        .map((each) => ({ group: Number(each.grp), servers: serversOfRow(each.servers) })),
  };
}

function counterArea(database: Database): Area<"counter"> {
  const get = database.prepare<{ reserved: bigint }, [string]>(
    "SELECT reserved FROM counters WHERE name = ?",
  );
  const put = database.prepare("INSERT OR REPLACE INTO counters (name, reserved) VALUES (?, ?)");
  return {
    "counter.get": (name) => get.get(name)?.reserved ?? 0n,
    "counter.put": (name, reserved) => void put.run(name, reserved),
  };
}

function reignArea(database: Database): Area<"reign"> {
  const insert = database.prepare("INSERT INTO reigns (number, reign, start_lsn) VALUES (?, ?, ?)");
  const find = database.prepare<ReignColumns, [bigint]>("SELECT * FROM reigns WHERE reign = ?");
  const next = database.prepare<ReignColumns, [bigint]>(
    "SELECT * FROM reigns WHERE number > ? ORDER BY number LIMIT 1",
  );
  const last = database.prepare<ReignColumns, []>(
    "SELECT * FROM reigns ORDER BY number DESC LIMIT 1",
  );
  return {
    "reign.insert": (row) => void insert.run(row.number, row.reign, row.startLsn),
    "reign.find": (reign) => reignOf(find.get(reign)),
    "reign.next": (number) => reignOf(next.get(number)),
    "reign.last": () => reignOf(last.get()),
  };
}

function figuresArea(database: Database): Area<"figures"> {
  type Row = { readonly [Name in keyof StoreFigures]: bigint };
  const store = database.prepare<Row, []>(
    `SELECT count(*) AS inodes, count(*) FILTER (WHERE type = 8) AS files,
       count(*) FILTER (WHERE type = 4) AS directories,
       (SELECT count(*) FROM blocks WHERE state = 0) AS liveBlocks,
       (SELECT ifnull(sum(length), 0) FROM blocks WHERE state = 0) AS liveBytes,
       (SELECT count(*) FROM blocks WHERE state = 1) AS deadBlocks
     FROM inodes`,
  );
  type RepairRow = { readonly [Name in keyof RepairCount]: bigint };
  const repairs = database.prepare<RepairRow, []>(
    `SELECT urgency, count(*) AS blocks, sum(missing) AS copies, sum(missing * b.length) AS bytes
     FROM repairs JOIN blocks b ON b.id = block GROUP BY urgency ORDER BY urgency`,
  );
  const inodes = database.prepare<{ total: bigint }, []>("SELECT count(*) AS total FROM inodes");
  const replicas = database.prepare<{ server: bigint; replicas: bigint }, []>(
    "SELECT server, count(*) AS replicas FROM replicas GROUP BY server",
  );
  const highest = database.prepare<{ highest: bigint }, []>(
    `SELECT max(ifnull((SELECT max(id) FROM blocks), 0),
       ifnull((SELECT first + count - 1 FROM reservations ORDER BY first DESC LIMIT 1), 0)) AS highest`,
  );
  type HoldingRow = {
    readonly state: bigint;
    readonly grp: bigint;
    readonly copies: bigint;
    readonly bytes: bigint;
  };
  const holdings = database.prepare<HoldingRow, [number]>(
    `SELECT r.state AS state, ifnull(b.grp, 0) AS grp, count(*) AS copies, ifnull(sum(b.length), 0) AS bytes
     FROM replicas r LEFT JOIN blocks b ON b.id = r.block WHERE r.server = +? GROUP BY r.state, grp`,
  );
  const lacking = database.prepare<{ copies: bigint; bytes: bigint }, [number]>(
    `SELECT count(*) AS copies, ifnull(sum(b.length), 0) AS bytes
     FROM repairs p CROSS JOIN replicas r ON r.block = p.block AND r.server = +? JOIN blocks b ON b.id = p.block
     WHERE p.missing > 0`,
  );
  const lost = database.prepare<{ copies: bigint; bytes: bigint }, [number]>(
    `SELECT count(*) AS copies, ifnull(sum(b.length), 0) AS bytes
     FROM repairs p CROSS JOIN replicas r ON r.block = p.block AND r.server = +? JOIN blocks b ON b.id = p.block
     WHERE p.urgency = 0`,
  );
  const surplus = database.prepare<{ copies: bigint; bytes: bigint }, [number, number]>(
    `SELECT count(*) AS copies, ifnull(sum(b.length), 0) AS bytes
     FROM repairs p CROSS JOIN replicas r ON r.block = p.block AND r.server = +?1 AND r.state IN (1, 3) JOIN blocks b ON b.id = p.block
     WHERE p.urgency = ?2`,
  );
  const groups = database.prepare<{ grp: bigint; blocks: bigint; bytes: bigint }, []>(
    "SELECT grp, count(*) AS blocks, sum(length) AS bytes FROM blocks WHERE state = 0 GROUP BY grp",
  );
  return {
    "figures.holdings": (server) =>
      holdings.all(server).map((row) => ({
        state: REPLICA_STATES.name(row.state),
        group: Number(row.grp),
        copies: Number(row.copies),
        bytes: Number(row.bytes),
      })),
    "figures.lacking": (server) => {
      const row = lacking.get(server);
      return { copies: Number(row?.copies ?? 0n), bytes: Number(row?.bytes ?? 0n) };
    },
    "figures.lost": (server) => {
      const row = lost.get(server);
      return { copies: Number(row?.copies ?? 0n), bytes: Number(row?.bytes ?? 0n) };
    },
    "figures.surplus": (server, urgency) => {
      const row = surplus.get(server, urgency);
      return { copies: Number(row?.copies ?? 0n), bytes: Number(row?.bytes ?? 0n) };
    },
    "figures.groups": () =>
      groups.all().map((row) => ({
        group: Number(row.grp),
        blocks: Number(row.blocks),
        bytes: Number(row.bytes),
      })),
    "figures.store": () => numbersOf(store.get()),
    "figures.repairs": () =>
      repairs.all().map((row) => ({
        urgency: Number(row.urgency),
        blocks: Number(row.blocks),
        copies: Number(row.copies),
        bytes: Number(row.bytes),
      })),
    "figures.inodes": () => Number(inodes.get()?.total ?? 0n),
    "figures.replicasByServer": () =>
      replicas.all().map((row) => ({
        server: serverId(Number(row.server)),
        replicas: Number(row.replicas),
      })),
    "figures.highestBlock": () => blockId(highest.get()?.highest ?? 0n),
  };
}

function numbersOf(row: { readonly [Name in keyof StoreFigures]: bigint } | null): StoreFigures {
  return {
    inodes: Number(row?.inodes ?? 0n),
    files: Number(row?.files ?? 0n),
    directories: Number(row?.directories ?? 0n),
    liveBlocks: Number(row?.liveBlocks ?? 0n),
    liveBytes: Number(row?.liveBytes ?? 0n),
    deadBlocks: Number(row?.deadBlocks ?? 0n),
  };
}

function serverOf(row: ServerColumns): Server {
  return {
    id: serverId(Number(row.id)),
    incarnation: incarnationId(row.incarnation),
    instance: instanceId(row.instance),
    address: row.address,
    zone: row.zone,
    tags: JSON.parse(row.tags) as string[],
    state: STATES.name(row.state),
    filling: row.filling !== 0n,
    registeredNs: row.registered,
  };
}

function reignOf(row: ReignColumns | null): Reign | undefined {
  if (row === null) return undefined;
  return { number: row.number, reign: reignId(row.reign), startLsn: lsn(row.start_lsn) };
}

/** The servers of one row of the table: 4 bytes each, big-endian, 0 for none. */
function serversOfRow(row: Uint8Array | undefined): ServerId[] {
  if (row === undefined) return [];
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const servers: ServerId[] = [];
  for (let at = 0; at + ROW_SERVER_BYTES <= row.length; at += ROW_SERVER_BYTES) {
    const server = view.getUint32(at);
    if (server !== 0) servers.push(serverId(server));
  }
  return servers;
}
