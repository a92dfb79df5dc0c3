/**
 * How fast are the metadata operations on the SQLite engine? No network, no waiting for the disk: what one core can do.
 *
 *     bin/dfs-bun bench/metadata.ts                 all of it, about 15 s
 *     bin/dfs-bun bench/metadata.ts --count 20000   fewer operations, more noise
 *     bin/dfs-bun bench/metadata.ts --dir D         the database in another folder than the temporary one
 *
 * Changes run as the service runs them: each in its savepoint and under its operation number, with its reply stored,
 * so many to a transaction. "raw create" is what SQLite needs for the four statements of a create without any logic; it
 * is what the creates are to be compared with. Times are those of the processor, so that other work on the machine counts
 * little. The last lines show the size of the database and the cost of a large cut.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  blockId,
  incarnationId,
  inodeId,
  instanceId,
  ROOT_INODE,
  serverId,
  sessionId,
  type BlockId,
  type InodeId,
  type Lsn,
} from "../src/base/ids.ts";
import { encodeRows, groupOf } from "../src/base/placement.ts";
import type { RequestDefinition } from "../src/protocol/message.ts";
import * as content from "../src/protocol/messages/content.ts";
import * as names from "../src/protocol/messages/namespace.ts";
import * as operations from "../src/server/meta/namespace/operations.ts";
import type { OperationContext } from "../src/server/meta/namespace/operations.ts";
import { createSqliteStore } from "../src/server/meta/store/sqlite/store.ts";
import { runSync, type Operation } from "../src/server/meta/store/store.ts";

const PER_COMMIT = 128;

/** Operations between two checkpoints. */
const PER_CHECKPOINT = 64 * PER_COMMIT;

const BLOCK_SIZE = 1 << 20;
const SESSION = sessionId(1n);
const OWNER = { mode: 0o644, uid: 1000, gid: 1000 };
const LARGE_FILE_EXTENTS = 100_000;

const count = Number(option("--count") ?? 50_000);
const dir = mkdtempSync(join(option("--dir") ?? tmpdir(), "dfs-bench-metadata-"));
const path = join(dir, "meta.db");
const store = createSqliteStore(path);
const { primitives } = store;
let nextInode = 2n;
let nextBlock = 1n;
let operation = 0n;
let reserved: BlockId[] = [];

try {
  store.transaction(prepare);
  rawCreates();
  for (const perCommit of [1, 16, PER_COMMIT]) creates(perCommit);
  questions();
  writes();
  removals();
  largeCut();
} finally {
  store.close();
  rmSync(dir, { recursive: true, force: true });
}

function prepare(): void {
  runSync(primitives, operations.formatNamespace(1n));
  primitives["session.insert"]({
    id: SESSION,
    token: 1n,
    label: "bench",
    state: "live",
    openedNs: 1n,
    endedNs: undefined,
    acknowledged: 0n,
  });
  for (const id of [1, 2, 3, 4]) {
    primitives["server.put"]({
      id: serverId(id),
      incarnation: incarnationId(1n),
      instance: instanceId(1n),
      address: "127.0.0.1:1",
      zone: "",
      tags: [],
      state: "up",
      filling: false,
      registeredNs: 1n,
    });
  }
  const rows = Array.from({ length: 1024 }, (_, group) =>
    [0, 1, 2].map((rank) => serverId(((group + rank) % 4) + 1)),
  );
  const table = { version: 1n, width: 3 };
  primitives["placement.put"]({ ...table, rows: encodeRows({ ...table, rows }) });
}

function rawCreates(): void {
  const { database } = store;
  const parent = database.prepare("SELECT * FROM inodes WHERE id = 1");
  const taken = database.prepare("SELECT inode FROM dentries WHERE parent = ? AND name = ?");
  const inode = database.prepare(
    "INSERT INTO inodes VALUES (?, 8, 420, 1000, 1000, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0)",
  );
  const dentry = database.prepare("INSERT INTO dentries VALUES (?, ?, ?, 8)");
  const touched = database.prepare("UPDATE inodes SET mtime = ?, ctime = ? WHERE id = 1");
  const directory = nextInode++;
  measure("raw create", PER_COMMIT, (index) => {
    const name = bytes(`raw${index}`);
    parent.get();
    taken.get(directory, name);
    const id = nextInode++;
    inode.run(id);
    dentry.run(directory, name, id);
    touched.run(BigInt(index), BigInt(index));
  });
}

function creates(perCommit: number): void {
  const parent = makeDirectory(`creates ${perCommit}`);
  const total = perCommit === 1 ? count / 10 : count;
  measure(
    "create",
    perCommit,
    (index) => {
      const body = { parent, name: bytes(`f${index}`), ...OWNER, base: 0 };
      change(names.create, operations.create, { ...body, exclusive: true, open: false });
    },
    total,
  );
}

function questions(): void {
  const parent = makeDirectory("questions");
  for (let index = 0; index < 1000; index++) createFile(parent, `f${index}`);
  const name = (index: number): string => `f${index % 1000}`;
  measure("lookup", PER_COMMIT, (index) =>
    ask(operations.lookup, { parent, name: bytes(name(index)) }),
  );
  measure("resolve /d/f", PER_COMMIT, (index) => {
    const file = bytes(`/questions/${name(index)}`);
    ask(operations.resolve, { start: ROOT_INODE, path: file, followLast: true });
  });
  measure(
    "readdir, 1,000 names with attributes",
    1,
    () =>
      ask(operations.readdir, {
        directory: parent,
        after: null,
        limit: 1024,
        withAttributes: true,
      }),
    count / 500,
  );
  measure("open and release", PER_COMMIT, (index) => {
    const file = bytes(`/questions/${name(index)}`);
    const { attributes } = ask(operations.open, { start: ROOT_INODE, path: file, limit: 16 });
    ask(operations.release, { inodes: [attributes.inode] });
  });
}

function writes(): void {
  const parent = makeDirectory("writes");
  const inode = createFile(parent, "appended");
  measure("commit of 1 extent, appending", PER_COMMIT, (index) => {
    const body = { inode, ...oneBlock(index), size: null, mtimeNs: null, expectedSize: null };
    change(content.commit, operations.commit, body);
  });
  measure("commit of 1 extent, overwriting", PER_COMMIT, (index) => {
    const body = { inode, ...oneBlock(index), size: null, mtimeNs: null, expectedSize: null };
    change(content.commit, operations.commit, body);
  });
  measure("map of 1 extent", PER_COMMIT, (index) =>
    ask(operations.map, { inode, offset: index * BLOCK_SIZE, length: BLOCK_SIZE, limit: 1 }),
  );
  measure(
    "map of 1,000 extents",
    1,
    () => ask(operations.map, { inode, offset: 0, length: 1000 * BLOCK_SIZE, limit: 1000 }),
    count / 500,
  );
  measure("put of a file of 1 block", PER_COMMIT, (index) => {
    change(content.put, operations.put, {
      parent,
      name: bytes(`p${index}`),
      ...OWNER,
      base: 0,
      ...oneBlock(0),
      size: BLOCK_SIZE,
      exclusive: false,
      keepReplaced: true,
      atimeNs: null,
      mtimeNs: null,
    });
  });
}

function removals(): void {
  const parent = childOf(ROOT_INODE, "writes");
  const target = { newParent: parent, how: "replace" as const };
  measure("rename", PER_COMMIT, (index) => {
    const body = { parent, name: bytes(`p${index}`), newName: bytes(`r${index}`), ...target };
    change(names.rename, operations.rename, body);
  });
  measure("unlink of a file of 1 block", PER_COMMIT, (index) => {
    change(names.unlink, operations.unlink, { parent, name: bytes(`r${index}`) });
  });
  const { inodes, deadBlocks } = primitives["figures.store"]();
  const sizeMiB = (statSync(path).size / 2 ** 20).toFixed(1);
  console.log(`database: ${sizeMiB} MiB with ${inodes} inodes and ${deadBlocks} dead blocks`);
}

function largeCut(): void {
  const inode = createFile(ROOT_INODE, "large");
  for (let index = 0; index < LARGE_FILE_EXTENTS; index += 1000) {
    const parts = Array.from({ length: 1000 }, (_, each) => oneBlock(index + each));
    const body = {
      inode,
      blocks: parts.flatMap((part) => part.blocks),
      extents: parts.flatMap((part) => part.extents),
    };
    store.transaction(() =>
      change(content.commit, operations.commit, {
        ...body,
        size: null,
        mtimeNs: null,
        expectedSize: null,
      }),
    );
  }
  const start = process.cpuUsage();
  store.transaction(() => {
    change(content.commit, operations.commit, {
      inode,
      blocks: [],
      extents: [],
      size: 0,
      mtimeNs: null,
      expectedSize: null,
    });
  });
  const { user, system } = process.cpuUsage(start);
  const tookMs = (user + system) / 1000;
  console.log(
    `cutting off ${LARGE_FILE_EXTENTS} extents in one transaction: ${tookMs.toFixed(0)} ms`,
  );
}

/**
 * Runs `work` `total` times, `perCommit` to a transaction, and prints how many that makes in a second. The log is copied
 * into the database now and then while the clock stands, as the service does it in another thread.
 */
function measure(
  what: string,
  perCommit: number,
  work: (index: number) => unknown,
  total: number = count,
): void {
  let seconds = 0;
  for (let index = 0; index < total;) {
    const start = process.cpuUsage();
    const stretch = Math.min(total, index + PER_CHECKPOINT);
    while (index < stretch) {
      store.begin();
      for (const end = index + perCommit; index < end && index < stretch; index++) {
        store.savepoint(() => work(index));
      }
      store.commit();
    }
    const { user, system } = process.cpuUsage(start);
    seconds += (user + system) / 1e6;
    store.database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  const rate = Math.round(total / seconds)
    .toLocaleString("en")
    .padStart(9);
  const each = ((seconds * 1e6) / total).toFixed(1).padStart(8);
  console.log(
    `${what.padEnd(40)} ${String(perCommit).padStart(4)} per commit ${rate}/s ${each} us`,
  );
}

function context(): OperationContext {
  return {
    session: SESSION,
    nowNs: BigInt(Date.now()) * 1_000_000n,
    settings: {
      cluster: new Uint8Array(16),
      blockSize: BLOCK_SIZE,
      replicas: 3,
      writeQuorum: 2,
      readQuorum: 1,
    },
    ids: {
      nextInode: () => inodeId(nextInode++),
      nextBlocks: (wanted) => {
        const first = nextBlock;
        nextBlock += BigInt(wanted);
        return blockId(first);
      },
    },
  };
}

function ask<Body, Reply>(
  question: (context: OperationContext, body: Body) => Operation<Reply>,
  body: Body,
): Reply {
  return runSync(primitives, question(context(), body));
}

/** Executes a change under the next operation number. */
function change<Request, Reply extends { lsn: Lsn }, Body>(
  definition: RequestDefinition<Request, Reply>,
  work: (context: OperationContext, body: Body) => Operation<Omit<Reply, "lsn">>,
  body: Body,
): Omit<Reply, "lsn"> {
  const head = { operation: ++operation, acknowledged: operation - 1n };
  const now = context();
  return runSync(
    primitives,
    operations.executeOnce(now, head, definition, () => work(now, body)),
  );
}

function makeDirectory(name: string): InodeId {
  const body = { parent: ROOT_INODE, name: bytes(name), ...OWNER };
  return store.transaction(() => change(names.mkdir, operations.mkdir, body)).attributes.inode;
}

function createFile(parent: InodeId, name: string): InodeId {
  const body = { parent, name: bytes(name), ...OWNER, base: 0, exclusive: true, open: false };
  return store.transaction(() => change(names.create, operations.create, body)).attributes.inode;
}

function childOf(parent: InodeId, name: string): InodeId {
  return ask(operations.lookup, { parent, name: bytes(name) }).attributes.inode;
}

/** A whole new block for one block index, out of reservations of 1,024. */
function oneBlock(index: number) {
  const block = reserved.pop() ?? refill();
  const servers = [1, 2, 3].map((each) => serverId(each));
  const group = groupOf(0, index);
  return {
    blocks: [
      { block, length: BLOCK_SIZE, checksum: BigInt(index), group, servers, incarnations: null },
    ],
    extents: [{ offset: index * BLOCK_SIZE, length: BLOCK_SIZE, block, blockOffset: 0 }],
  };
}

function refill(): BlockId {
  const { first } = change(content.reserve, operations.reserve, { count: 1024 });
  reserved = Array.from({ length: 1024 }, (_, each) => blockId(first + BigInt(each))).reverse();
  return reserved.pop() ?? first;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
