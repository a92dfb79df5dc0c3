// Several files that are cut, grow, are written, copied into one another and removed by two sessions, in any order and with the steps
// of cutting and reclaiming in between, against arrays of cells; and the tables, and what fsck says of them, after each change.
// SEED repeats a run, TURNS makes it longer.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { ROOT_INODE, type BlockId, type InodeId } from "../../../../src/base/ids.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { cutStep, reopen } from "../../../../src/server/meta/namespace/operations.ts";
import { checkRecord } from "../../../../src/server/meta/store/sqlite/checks.ts";
import { leftovers } from "../../../../src/server/meta/store/sqlite/names.ts";
import { ask } from "../../../../src/server/meta/store/store.ts";
import { Harness, type TestSession } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import {
  blockAt,
  bytes,
  commit,
  createFile,
  failsWith,
  NO_CHANGE,
  reserve,
  unlink,
} from "./support.ts";

const BLOCK_SIZE = 4096;
const PIECE = 8;

/** Extents of one filling. */
const MANY = 2000;

const FILES = 3;
const LONGEST = 100_000;

type Cells = (string | undefined)[];

interface TestFile {
  name: string | undefined;
  readonly inode: InodeId;
  cells: Cells;
  /** Whether the first session has it open. */
  open: boolean;
}

let harness: Harness;
let sessions: TestSession[];

beforeEach(async () => {
  harness = new Harness({ blockSize: BLOCK_SIZE });
  harness.store.database.run("CREATE INDEX extents_by_block ON extents (block)");
  sessions = [await harness.openSession(), await harness.openSession()];
});

afterEach(() => harness.close());

const holes = (length: number): Cells => Array.from({ length }, () => undefined);

async function shown(session: TestSession, inode: InodeId): Promise<Cells> {
  const { size } = (await session.ask(operations.getattr, { inode })).attributes;
  const cells = holes(size);
  for (let offset = 0; ;) {
    const body = { inode, offset, length: Number.MAX_SAFE_INTEGER - offset, limit: 2000 };
    const { extents, more } = await session.ask(operations.map, body);
    for (const each of extents) {
      for (let at = 0; at < each.length; at++) {
        cells[each.offset + at] = `${each.block}:${each.blockOffset + at}`;
      }
      offset = each.offset + each.length;
    }
    if (!more) return cells;
  }
}

test("random changes of several files show what arrays would, and no block stays or goes that should not", async () => {
  const seed = Number(process.env["SEED"] ?? systemRandom.below(1_000_000));
  const turns = Number(process.env["TURNS"] ?? 60);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const some = <T>(all: readonly T[]): T => all[random.below(all.length)]!;
  const files: TestFile[] = [];
  let made = 0;

  const create = async (): Promise<void> => {
    const name = `f${made++}`;
    const { inode } = await createFile(sessions[0]!, name, { open: true });
    const file: TestFile = { name, inode, cells: [], open: true };
    files.push(file);
    await fill(file);
  };
  /** Writes many short extents one behind the other, from anywhere in the file. */
  const fill = async (file: TestFile): Promise<void> => {
    const session = some(sessions);
    const from = PIECE * random.below(Math.floor(Math.min(file.cells.length, 60_000) / PIECE) + 1);
    const ids = await reserve(session, MANY);
    const offsetOf = (position: number): number => from + position * PIECE;
    const truncates = random.below(4) === 0;
    const end = offsetOf(MANY);
    await commit(session, {
      inode: file.inode,
      blocks: ids.map((id, position) => blockAt(id, Math.floor(offsetOf(position) / BLOCK_SIZE))),
      extents: ids.map((block, position) => ({
        offset: offsetOf(position),
        length: PIECE,
        block,
        blockOffset: 0,
      })),
      size: truncates ? end : null,
      mtimeNs: null,
      expectedSize: random.below(3) === 0 ? file.cells.length : null,
    });
    grown(file, end);
    for (const [position, id] of ids.entries()) {
      for (let at = 0; at < PIECE; at++) file.cells[offsetOf(position) + at] = `${id}:${at}`;
    }
    if (truncates) file.cells.length = end;
  };
  const grown = (file: TestFile, size: number): void => {
    if (size > file.cells.length) file.cells = [...file.cells, ...holes(size - file.cells.length)];
  };
  const resize = async (file: TestFile, size: number): Promise<void> => {
    const body = { ...NO_CHANGE, inode: file.inode, size };
    await some(sessions).change(names.setattr, operations.setattr, body);
    grown(file, size);
    file.cells.length = size;
  };
  const cut = (file: TestFile): Promise<void> => {
    const most = some([0, 20, 5000, file.cells.length]);
    return resize(file, random.below(Math.min(most, file.cells.length) + 1));
  };
  const grow = (file: TestFile): Promise<void> =>
    resize(file, Math.min(LONGEST, file.cells.length + random.below(40_000)));
  /** One extent, at the end or anywhere; the commit may cut the file behind it. */
  const write = async (file: TestFile): Promise<void> => {
    const session = some(sessions);
    const [block] = (await reserve(session, 1)) as [BlockId];
    const appends = random.below(2) === 0;
    const offset = appends ? file.cells.length : random.below(file.cells.length + 20_000);
    const length = 1 + random.below(Math.min(300, BLOCK_SIZE - (offset % BLOCK_SIZE)));
    const end = offset + length;
    const size = random.below(3) === 0 ? end + random.below(3000) : null;
    await commit(session, {
      inode: file.inode,
      blocks: [{ ...blockAt(block, Math.floor(offset / BLOCK_SIZE)), length }],
      extents: [{ block, offset, length, blockOffset: 0 }],
      size,
      mtimeNs: null,
      expectedSize: appends ? file.cells.length : null,
    });
    grown(file, Math.max(end, size ?? 0));
    for (let at = 0; at < length; at++) file.cells[offset + at] = `${block}:${at}`;
    if (size !== null) file.cells.length = size;
  };
  const punch = async (file: TestFile): Promise<void> => {
    const offset = random.below(file.cells.length + 20_000);
    const minSize = random.below(3) === 0 ? offset : 0;
    const body = { inode: file.inode, offset, length: random.below(20_000), minSize };
    const { done } = await some(sessions).change(content.punch, operations.punch, body);
    grown(file, minSize);
    for (let at = offset; at < Math.min(offset + done, file.cells.length); at++) {
      file.cells[at] = undefined;
    }
  };
  const copy = async (file: TestFile): Promise<void> => {
    const source = some(files);
    if (source.cells.length < 2) return;
    const sourceOffset = random.below(source.cells.length);
    const offset = random.below(Math.min(LONGEST, file.cells.length + 20_000));
    const most = source === file ? Math.abs(offset - sourceOffset) : 4000;
    if (most === 0) return;
    const length = 1 + random.below(Math.min(most, 4000));
    const body = { source: source.inode, sourceOffset, inode: file.inode, offset, length };
    const { done } = await some(sessions).change(content.clone, operations.clone, body);
    const copied = source.cells.slice(sourceOffset, sourceOffset + done);
    if (done > 0) grown(file, offset + done);
    for (const [at, cell] of copied.entries()) file.cells[offset + at] = cell;
  };
  const gone = async (file: TestFile): Promise<void> => {
    files.splice(files.indexOf(file), 1);
    await failsWith(sessions[1]!.ask(operations.getattr, { inode: file.inode }), "stale");
  };
  const remove = async (file: TestFile): Promise<void> => {
    if (file.name === undefined) return;
    await unlink(some(sessions), file.name);
    file.name = undefined;
    if (!file.open) await gone(file);
  };
  /** Another file takes its name. */
  const replace = async (file: TestFile): Promise<void> => {
    const other = some(files);
    if (other === file || file.name === undefined || other.name === undefined) return;
    await some(sessions).change(names.rename, operations.rename, {
      parent: ROOT_INODE,
      name: bytes(other.name),
      newParent: ROOT_INODE,
      newName: bytes(file.name),
      how: "replace",
    });
    other.name = file.name;
    file.name = undefined;
    if (!file.open) await gone(file);
  };
  const release = async (file: TestFile): Promise<void> => {
    if (!file.open) return;
    await sessions[0]!.ask(operations.release, { inodes: [file.inode] });
    file.open = false;
    if (file.name === undefined) await gone(file);
  };
  /** The service has started anew: the open was lost, the file was removed, and then the session says that it has it open. */
  const takeBack = async (file: TestFile): Promise<void> => {
    if (!file.open || file.name === undefined) return;
    await sessions[0]!.ask(operations.release, { inodes: [file.inode] });
    const context = { ...harness.context(sessions[1]!.id), holdRemovals: true };
    await harness.run(operations.unlink(context, { parent: ROOT_INODE, name: bytes(file.name) }));
    file.name = undefined;
    for (let left = random.below(3); left > 0; left--) await work();
    await harness.run(reopen(sessions[0]!.id, [file.inode], context.nowNs));
  };
  const work = async (): Promise<void> => {
    for (let left = random.below(3); left > 0; left--) {
      const pending = await harness.run(ask("cut.list", 9));
      if (pending.length === 0) return;
      await harness.run(cutStep(harness.context(sessions[0]!.id), some(pending)));
    }
  };
  const reclaim = async (): Promise<void> => {
    await harness.run(operations.reclaimStep({ nowNs: harness.nowNs }, random.below(3000)));
  };
  const endSession = async (): Promise<void> => {
    await sessions[0]!.end();
    sessions[0] = await harness.openSession();
    for (const file of files.filter(({ open }) => open)) {
      file.open = false;
      if (file.name === undefined) await gone(file);
    }
  };
  const check = (): void => {
    const { database } = harness.store;
    expect(brokenInvariants(database, harness.settings)).toEqual([]);
    expect(checkRecord(database)).toEqual([]);
    expect(leftovers(database)).toEqual([]);
  };

  const often = [cut, cut, cut, grow, fill, fill, write, write, punch, copy, copy];
  const seldom = [remove, replace, release, takeBack];
  for (let turn = 0; turn < turns; turn++) {
    while (files.length < FILES) await create();
    const choice = random.below(20);
    if (choice === 0) await endSession();
    else if (choice < 4) await work();
    else if (choice < 6) await reclaim();
    else await some(choice < 8 ? seldom : often)(some(files));
    check();
    for (const { inode, cells } of files) {
      expect(Bun.deepEquals(await shown(sessions[1]!, inode), cells)).toBe(true);
    }
  }
  for (let [inode] = await harness.run(ask("cut.list", 1)); inode !== undefined;) {
    await harness.run(cutStep(harness.context(sessions[0]!.id), inode));
    [inode] = await harness.run(ask("cut.list", 1));
  }
  await harness.reclaimAll(3000);
  check();
  const named = new Set<string>();
  for (const { inode, cells } of files) {
    const here = cells.filter((cell) => cell !== undefined);
    expect(harness.primitives["inode.get"](inode)?.allocated).toBe(here.length);
    for (const cell of here) named.add(cell.slice(0, cell.indexOf(":")));
  }
  const live = harness.store.database
    .query<{ id: bigint }, []>("SELECT id FROM blocks WHERE state = 0")
    .all();
  expect(new Set(live.map(({ id }) => String(id)))).toEqual(named);
  const inodes = files.length + 1;
  expect(harness.primitives["figures.inodes"]()).toBe(inodes);
}, 120_000);
