/**
 * What do repairs cost the metadata service for each small block? Its transactions alone: a store in memory, no network, no
 * waiting for the disk.
 *
 *     bin/dfs-bun bench/repairs.ts                  40,000 blocks of which a server has lost its copies
 *     bin/dfs-bun bench/repairs.ts --count 10000    fewer
 *     bin/dfs-bun bench/repairs.ts --batch 1        each block alone, as large ones are copied
 *     bin/dfs-bun bench/repairs.ts --dir D          the database in a file there, as a service has it
 *
 * The blocks are of all placement groups, with three copies on four servers. Each line is one step of a repair, for all
 * blocks, in as many transactions as the service makes; us of processor for each block, the least of five rounds: what others do on the
 * machine can only add to it.
 *
 *     survey          a server went out: every block with a copy there is judged, and on record for repair
 *     found lacking   a server was compared with the record and lacks its copies: they are bad, and on record for repair
 *     queue           blocks are read from the queue, with their copies, and judged
 *     begin           copies are on record as being made
 *     finish          they are on record as present, and their blocks off the queue
 *
 * And the same of a server that has lost its disk, of which all copies are dealt with together:
 *
 *     given up        they are bad, and on record for repair
 *     read            blocks are read, with what is needed to order them
 *     made            they are on record as present, and their blocks off the queue
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  blockId,
  incarnationId,
  inodeId,
  instanceId,
  serverId,
  type BlockId,
} from "../src/base/ids.ts";
import { MAX_BATCHED_BYTES, PLACEMENT_GROUPS } from "../src/base/limits.ts";
import { BATCH_BLOCKS } from "../src/server/meta/repair/batches.ts";
import { encodeRows } from "../src/base/placement.ts";
import { markRotten } from "../src/server/meta/replica-operations.ts";
import { clusterView, type ClusterView } from "../src/server/meta/repair/need.ts";
import {
  finishRefills,
  loseStretch,
  nextStretch,
  readRefills,
  type RefillPage,
} from "../src/server/meta/repair/refill-steps.ts";
import {
  beginCopies,
  finishCopies,
  readQueue,
  surveyStep,
} from "../src/server/meta/repair/steps.ts";
import type { ServerState } from "../src/protocol/messages/cluster.ts";
import { createSqliteStore } from "../src/server/meta/store/sqlite/store.ts";
import { runSync, type Operation } from "../src/server/meta/store/store.ts";

const SERVERS = [1, 2, 3, 4].map((id) => serverId(id));
const LOST = SERVERS[1]!;
const NEW = SERVERS[3]!;
const REPLICAS = 3;
const ROUNDS = 5;

/** As in reconcile.ts, surveys.ts and planner.ts. */
const COMPARED = 2048;
const SURVEYED = 256;
const QUEUED = 512;
const ORDERED = 512;

const count = Number(option("--count") ?? 40_000);
const batch = Number(option("--batch") ?? BATCH_BLOCKS);
const folder = option("--dir");
const dir = folder === undefined ? undefined : mkdtempSync(join(folder, "dfs-bench-repairs-"));
const store = createSqliteStore(dir === undefined ? ":memory:" : join(dir, "meta.db"));
const { primitives } = store;
const blocks = Array.from({ length: count }, (_, index) => blockId(BigInt(index + 1)));

try {
  store.transaction(prepare);
  const rounds = Array.from({ length: ROUNDS }, round);
  console.log(
    `${count} blocks, ${batch} at a time, Bun ${Bun.version}: us of processor for each block`,
  );
  for (const name of Object.keys(rounds[0]!) as (keyof Round)[]) {
    const us = Math.min(...rounds.map((each) => each[name]));
    console.log(`${name.padEnd(15)}${us.toFixed(2).padStart(8)}`);
  }
} finally {
  store.close();
  if (dir !== undefined) rmSync(dir, { recursive: true });
}

type Round = Record<
  "found lacking" | "survey" | "queue" | "begin" | "finish" | "given up" | "read" | "made",
  number
>;

/** Loses and mends all copies of a server. */
function round(): Round {
  const survey = measured(() => surveyAs("out"));
  surveyAs("up");
  const lacking = measured(() =>
    inParts(blocks, COMPARED, (part) => markRotten(part, LOST, REPLICAS, 1n)),
  );
  const queue = measured(readAll);
  const begin = measured(() => inParts(blocks, batch, begun));
  const finish = measured(() => inParts(blocks, batch, finished));
  if (primitives["repair.total"]() !== 0) throw new Error("not all blocks were mended");
  return { survey, "found lacking": lacking, queue, begin, finish, ...refilled() };
}

/** Loses and mends all copies of a server whose disk is lost. */
function refilled(): Pick<Round, "given up" | "read" | "made"> {
  putServer(LOST, "up", true);
  const givenUp = measured(() => {
    for (let after = blockId(0n); ;) {
      const stretch = change(nextStretch(LOST, after, COMPARED));
      if (stretch === undefined) return;
      change(inView((view) => loseStretch(view, LOST, stretch)));
      after = stretch.last;
    }
  });
  const pages: RefillPage[] = [];
  const target = { server: LOST, sources: new Set(SERVERS), which: "rest" } as const;
  const read = measured(() => {
    for (let after: BlockId | undefined = blockId(0n); after !== undefined;) {
      const stretch = { after, last: blocks.at(-1)! };
      const most = { rows: ORDERED, bytes: MAX_BATCHED_BYTES };
      const page: RefillPage = change(
        inView((view) => readRefills(view, target, stretch, most, pages.at(-1))),
      );
      pages.push(page);
      after = page.last;
    }
  });
  const made = measured(() => {
    for (const { wanted, mark } of pages.filter((page) => page.wanted.length > 0)) {
      const ids = wanted.map(({ id }) => id);
      const instance = instanceId(BigInt(LOST));
      change(inView((view) => finishRefills(view, { server: LOST, instance, blocks: ids, mark })));
    }
  });
  if (primitives["repair.total"]() !== 0) throw new Error("not all blocks were refilled");
  putServer(LOST, "up");
  return { "given up": givenUp, read, made };
}

function* inView<T>(step: (view: ClusterView) => Operation<T>): Operation<T> {
  return yield* step(yield* clusterView(REPLICAS, 1n));
}

function surveyAs(state: ServerState): void {
  putServer(LOST, state);
  primitives["survey.put"]({ server: LOST, after: blockId(0n) });
  for (let more = true; more;) more = change(surveyNext()) !== undefined;
}

function* surveyNext() {
  return yield* surveyStep(yield* clusterView(REPLICAS, 1n), LOST, SURVEYED);
}

function* begun(part: readonly BlockId[]): Operation<void> {
  const wanted = part.map((block) => ({ block, move: false }));
  yield* beginCopies(yield* clusterView(REPLICAS, 1n), LOST, wanted);
}

function* finished(part: readonly BlockId[]): Operation<void> {
  yield* finishCopies(yield* clusterView(REPLICAS, 1n), LOST, part);
}

function readAll(): void {
  let from = { urgency: -1, block: blockId(0n) };
  let seen = 0;
  for (let more = true; more;) {
    const { candidates, last } = change(queueNext(from));
    seen += candidates.length;
    more = last !== undefined;
    from = last ?? from;
  }
  if (seen !== count) throw new Error(`${seen} of ${count} blocks were on record for repair`);
}

function* queueNext({ urgency, block }: { urgency: number; block: BlockId }) {
  return yield* readQueue(yield* clusterView(REPLICAS, 1n), urgency, block, QUEUED);
}

function inParts(
  all: readonly BlockId[],
  size: number,
  operation: (part: readonly BlockId[]) => Operation<unknown>,
): void {
  for (let at = 0; at < all.length; at += size) change(operation(all.slice(at, at + size)));
}

/** As the service does it: a transaction with a savepoint in it. */
function change<T>(operation: Operation<T>): T {
  return store.transaction(() => store.savepoint(() => runSync(primitives, operation)));
}

function measured(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

function prepare(): void {
  for (const server of SERVERS) putServer(server, "up");
  const rows = Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
    SERVERS.map((_server, at) => SERVERS[(group + at) % SERVERS.length]!).filter(
      (id) => id !== NEW,
    ),
  );
  primitives["placement.put"]({
    version: 1n,
    width: 3,
    rows: encodeRows({ version: 1n, width: 3, rows }),
  });
  for (const [index, id] of blocks.entries()) {
    primitives["block.insert"]({
      id,
      state: "live",
      length: 4096,
      checksum: (BigInt(index) * 0x9e3779b97f4a7c15n) & 0xffff_ffff_ffff_ffffn,
      group: index % PLACEMENT_GROUPS,
      refs: 1,
      inode: inodeId(2n),
      fileOffset: index * 4096,
      diedNs: undefined,
    });
    for (const server of SERVERS) {
      if (server !== NEW) primitives["replica.put"]({ block: id, server, state: "present" });
    }
  }
}

function putServer(id: (typeof SERVERS)[number], state: ServerState, filling = false): void {
  primitives["server.put"]({
    id,
    incarnation: incarnationId(BigInt(id)),
    instance: instanceId(BigInt(id)),
    address: `127.0.0.1:${id}`,
    zone: "",
    tags: [],
    state,
    filling,
    registeredNs: 1n,
  });
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
