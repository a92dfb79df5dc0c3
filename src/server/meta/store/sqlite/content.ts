/** Primitives of extents, blocks and replicas on SQLite. */
import type { Database } from "bun:sqlite";
import { blockId, inodeId, serverId, type ServerId } from "../../../../base/ids.ts";
import type { ContentPrimitives } from "../primitives/content.ts";
import type { Block, BlockState, Extent, Replica, ReplicaState } from "../rows.ts";
import { Enumeration, orNull, orUndefined, toSigned, toUnsigned } from "./convert.ts";
import { ListStatement } from "./lists.ts";

const BLOCK_STATES = new Enumeration<BlockState>("block state", { live: 0, dead: 1 });

/** `present` is 1 in the partial index of schema.ts too. */
/** As the column `state` of `replicas` holds them. */
export const REPLICA_STATES = new Enumeration<ReplicaState>("replica state", {
  adding: 0,
  present: 1,
  removing: 2,
  bad: 3,
});

interface ExtentColumns {
  readonly offset: bigint;
  readonly length: bigint;
  readonly block: bigint;
  readonly block_offset: bigint;
}

interface ExtentBlockColumns extends ExtentColumns {
  readonly block_length: bigint;
  readonly checksum: bigint;
  readonly grp: bigint;
}

interface BlockColumns {
  readonly id: bigint;
  readonly state: bigint;
  readonly length: bigint;
  readonly checksum: bigint;
  readonly grp: bigint;
  readonly refs: bigint;
  readonly inode: bigint;
  readonly file_offset: bigint;
  readonly died: bigint | null;
}

interface ReplicaColumns {
  readonly block: bigint;
  readonly server: bigint;
  readonly state: bigint;
}

interface ReplicaBlockColumns extends ReplicaColumns {
  readonly length: bigint | null;
  readonly checksum: bigint | null;
  readonly block_state: bigint | null;
}

type Area<Prefix extends string> = Pick<
  ContentPrimitives,
  Extract<keyof ContentPrimitives, `${Prefix}.${string}`>
>;

export function blockPrimitives(
  database: Database,
): Area<"extent"> & Area<"block"> & Area<"replica"> {
  return { ...extentArea(database), ...blockArea(database), ...replicaArea(database) };
}

/** Condition for the extents that overlap [?2, ?3) of inode ?1: from the last one that begins at or before ?2. */
const OVERLAPPING = `inode = +?1 AND offset < ?3 AND offset + length > ?2 AND offset >= ifnull(
    (SELECT before.offset FROM extents before WHERE before.inode = +?1 AND before.offset <= +?2
     ORDER BY before.offset DESC LIMIT 1), 0)`;

function extentArea(database: Database): Area<"extent"> {
  type Range = [bigint, number, number, number];
  const list = database.prepare<ExtentColumns, Range>(
    `SELECT offset, length, block, block_offset FROM extents WHERE ${OVERLAPPING} ORDER BY offset LIMIT +?4`,
  );
  const listWithBlocks = database.prepare<ExtentBlockColumns, Range>(
    `SELECT e.offset, e.length, e.block, e.block_offset, b.length AS block_length, b.checksum, b.grp
     FROM (SELECT * FROM extents WHERE ${OVERLAPPING} ORDER BY offset LIMIT +?4) e JOIN blocks b ON b.id = e.block
     ORDER BY e.offset`,
  );
  const insert = database.prepare(
    "INSERT INTO extents (inode, offset, length, block, block_offset) VALUES (?, ?, ?, ?, ?)",
  );
  const setLength = database.prepare(
    "UPDATE extents SET length = ? WHERE inode = ? AND offset = ?",
  );
  const remove = database.prepare("DELETE FROM extents WHERE inode = ? AND offset = ?");
  const nth = database.prepare<{ offset: bigint }, [bigint, number, number]>(
    "SELECT offset FROM extents WHERE inode = +? AND offset >= ? ORDER BY offset LIMIT 1 OFFSET +?",
  );
  const move = database.prepare(
    "UPDATE extents SET inode = ? WHERE inode = ? AND offset >= ? AND offset < ?",
  );
  const total = database.prepare<{ total: bigint }, [bigint, number, number]>(
    "SELECT ifnull(sum(length), 0) AS total FROM extents WHERE inode = ? AND offset >= ? AND offset < ?",
  );
  return {
    "extent.list": (inode, from, to, limit) => list.all(inode, from, to, limit).map(extentOf),
    "extent.listWithBlocks": (inode, from, to, limit) =>
      listWithBlocks.all(inode, from, to, limit).map((row) => ({
        ...extentOf(row),
        blockLength: Number(row.block_length),
        checksum: toUnsigned(row.checksum),
        group: Number(row.grp),
      })),
    "extent.insert": (inode, extent) =>
      void insert.run(inode, extent.offset, extent.length, extent.block, extent.blockOffset),
    "extent.setLength": (inode, offset, length) => void setLength.run(length, inode, offset),
    "extent.delete": (inode, offset) => void remove.run(inode, offset),
    "extent.nth": (inode, from, number) => {
      const row = nth.get(inode, from, number - 1);
      return row === null ? undefined : Number(row.offset);
    },
    "extent.move": (inode, from, end, to) => {
      const bytes = Number(total.get(inode, from, end)?.total ?? 0n);
      if (bytes > 0) move.run(to, inode, from, end);
      return bytes;
    },
  };
}

function blockArea(database: Database): Area<"block"> {
  const get = database.prepare<BlockColumns, [bigint]>("SELECT * FROM blocks WHERE id = ?");
  const getMany = new ListStatement<BlockColumns>(
    database,
    (list) => `SELECT * FROM blocks WHERE id IN ${list}`,
  );
  const insert = database.prepare(
    `INSERT INTO blocks (id, state, length, checksum, grp, refs, inode, file_offset, died)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const addRefs = database.prepare<{ refs: bigint }, [number, bigint]>(
    "UPDATE blocks SET refs = refs + ? WHERE id = ? RETURNING refs",
  );
  const setDead = database.prepare("UPDATE blocks SET state = 1, died = ? WHERE id = ?");
  const remove = database.prepare("DELETE FROM blocks WHERE id = ?");
  const listDead = database.prepare<{ id: bigint }, [bigint, number]>(
    "SELECT id FROM blocks WHERE state = 1 AND id > ? ORDER BY id LIMIT +?",
  );
  return {
    "block.get": (block) => {
      const row = get.get(block);
      return row === null ? undefined : blockOf(row);
    },
    "block.getMany": (blocks) => getMany.all(blocks).map(blockOf),
    "block.insert": (block) =>
      void insert.run(
        block.id,
        BLOCK_STATES.number(block.state),
        block.length,
        toSigned(block.checksum),
        block.group,
        block.refs,
        block.inode,
        block.fileOffset,
        orNull(block.diedNs),
      ),
    "block.addRefs": (block, delta) => {
      const row = addRefs.get(delta, block);
      if (row === null) throw new Error(`block ${block} is not in the metadata database`);
      return Number(row.refs);
    },
    "block.setDead": (block, diedNs) => void setDead.run(diedNs, block),
    "block.delete": (block) => void remove.run(block),
    "block.listDead": (after, limit) => listDead.all(after, limit).map((row) => blockId(row.id)),
  };
}

function replicaArea(database: Database): Area<"replica"> {
  const get = database.prepare<{ state: bigint }, [bigint, number]>(
    "SELECT state FROM replicas WHERE block = ? AND server = ?",
  );
  const put = database.prepare(
    `INSERT INTO replicas (block, server, state) VALUES (?, ?, ?)
     ON CONFLICT (block, server) DO UPDATE SET state = excluded.state`,
  );
  const setAll = database.prepare("UPDATE replicas SET state = ? WHERE block = ?");
  const remove = database.prepare("DELETE FROM replicas WHERE block = ? AND server = ?");
  const list = database.prepare<ReplicaColumns, [bigint]>(
    "SELECT block, server, state FROM replicas WHERE block = +? ORDER BY server",
  );
  const listMany = new ListStatement<ReplicaColumns>(
    database,
    (list) =>
      `SELECT block, server, state FROM replicas WHERE block IN ${list} ORDER BY block, server`,
  );
  const present = database.prepare<{ server: bigint }, [bigint]>(
    "SELECT server FROM replicas WHERE block = +? AND state = 1 ORDER BY server",
  );
  const byServer = database.prepare<ReplicaColumns, [number, bigint, number]>(
    "SELECT block, server, state FROM replicas WHERE server = +? AND block > ? ORDER BY block LIMIT +?",
  );
  const withBlocks = database.prepare<ReplicaBlockColumns, [number, bigint, number]>(
    `SELECT r.block, r.server, r.state, b.length, b.checksum, b.state AS block_state
     FROM replicas r LEFT JOIN blocks b ON b.id = r.block
     WHERE r.server = +? AND r.block > ? ORDER BY r.block LIMIT +?`,
  );
  const unsettled = database.prepare<ReplicaColumns, [number, number, bigint, number]>(
    `SELECT block, server, state FROM replicas
     WHERE server = +? AND state = +? AND state <> 1 AND block > ? ORDER BY block LIMIT +?`,
  );
  const count = database.prepare<{ total: bigint }, [number]>(
    "SELECT count(*) AS total FROM replicas WHERE server = ?",
  );
  const putOne = ({ block, server, state }: Replica): void =>
    void put.run(block, server, REPLICA_STATES.number(state));
  return {
    "replica.get": (block, server) => {
      const row = get.get(block, server);
      return row === null ? undefined : REPLICA_STATES.name(row.state);
    },
    "replica.put": putOne,
    // Rows from one JSON text would take as long: what costs is the table and its indexes.
    "replica.putMany": (replicas) => replicas.forEach(putOne),
    "replica.setAll": (block, state) => void setAll.run(REPLICA_STATES.number(state), block),
    "replica.delete": (block, server) => void remove.run(block, server),
    "replica.list": (block) => list.all(block).map(replicaOf),
    "replica.listMany": (blocks) => listMany.all(blocks).map(replicaOf),
    "replica.present": (block) => present.all(block).map((row) => serverOf(row.server)),
    "replica.listByServer": (server, after, limit) =>
      byServer.all(server, after, limit).map(replicaOf),
    "replica.listWithBlocks": (server, after, limit) =>
      withBlocks.all(server, after, limit).map((row) => ({
        ...replicaOf(row),
        length: row.length === null ? undefined : Number(row.length),
        checksum: row.checksum === null ? undefined : toUnsigned(row.checksum),
        blockState: row.block_state === null ? undefined : BLOCK_STATES.name(row.block_state),
      })),
    "replica.listUnsettled": (server, state, after, limit) =>
      unsettled.all(server, REPLICA_STATES.number(state), after, limit).map(replicaOf),
    "replica.countByServer": (server) => Number(count.get(server)?.total ?? 0n),
  };
}

function extentOf(row: ExtentColumns): Extent {
  return {
    offset: Number(row.offset),
    length: Number(row.length),
    block: blockId(row.block),
    blockOffset: Number(row.block_offset),
  };
}

function blockOf(row: BlockColumns): Block {
  return {
    id: blockId(row.id),
    state: BLOCK_STATES.name(row.state),
    length: Number(row.length),
    checksum: toUnsigned(row.checksum),
    group: Number(row.grp),
    refs: Number(row.refs),
    inode: inodeId(row.inode),
    fileOffset: Number(row.file_offset),
    diedNs: orUndefined(row.died),
  };
}

function replicaOf(row: ReplicaColumns): Replica {
  return {
    block: blockId(row.block),
    server: serverOf(row.server),
    state: REPLICA_STATES.name(row.state),
  };
}

function serverOf(value: bigint): ServerId {
  return serverId(Number(value));
}
