// What the loss of each server would cost, compared with a count by hand over random records.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { blockId, inodeId, ROOT_INODE, serverId, type ServerId } from "../../../../src/base/ids.ts";
import { seededRandom } from "../../../../src/base/random.ts";
import { copyFigures } from "../../../../src/server/meta/store/sqlite/risks.ts";
import {
  createSqliteStore,
  type SqliteStore,
} from "../../../../src/server/meta/store/sqlite/store.ts";

let store: SqliteStore;

beforeEach(() => {
  store = createSqliteStore(":memory:");
});

afterEach(() => store.close());

type State = "present" | "adding" | "bad" | "removing";

/** A file in the root directory. */
function file(id: number, name: string): void {
  store.primitives["inode.insert"]({
    id: inodeId(BigInt(id)),
    type: "file",
    mode: 0o644,
    uid: 0,
    gid: 0,
    nlink: 1,
    size: 1_000_000,
    allocated: 0,
    rdev: 0,
    atimeNs: 0n,
    mtimeNs: 0n,
    ctimeNs: 0n,
    version: 1n,
    base: 0,
    parent: inodeId(0n),
  });
  store.primitives["dentry.put"](ROOT_INODE, Buffer.from(name), {
    inode: inodeId(BigInt(id)),
    type: "file",
  });
}

/** A block of the file `inode`, and its copies by server. */
function block(id: number, inode: number, copies: Readonly<Record<number, State>>): void {
  const key = blockId(BigInt(id));
  store.primitives["block.insert"]({
    id: key,
    state: "live",
    length: 10,
    checksum: 1n,
    group: 0,
    refs: 1,
    inode: inodeId(BigInt(inode)),
    fileOffset: id * 10,
    diedNs: undefined,
  });
  store.primitives["extent.insert"](inodeId(BigInt(inode)), {
    offset: id * 10,
    length: 10,
    block: key,
    blockOffset: 0,
  });
  for (const [server, state] of Object.entries(copies)) {
    store.primitives["replica.put"]({ block: key, server: serverId(Number(server)), state });
  }
}

const of = (...ids: number[]): ServerId[] => ids.map((id) => serverId(id));
const names = (paths: readonly Uint8Array[]): string[] => paths.map((path) => path.toString());

describe("copyFigures", () => {
  test("an empty store risks nothing", () => {
    expect(copyFigures(store.database, of(1, 2), 3)).toEqual({
      blocksByCopies: [0, 0, 0, 0],
      risk: {
        lostBlocks: 0,
        unreadable: { files: 0, more: false, paths: [] },
        servers: [],
        worst: null,
      },
    });
  });

  test("tells only copies within reach from only copies anywhere, and names their files", () => {
    file(2, "safe");
    file(3, "single");
    file(4, "waiting");
    file(5, "gone");
    block(1, 2, { 1: "present", 2: "present", 3: "present" });
    block(2, 3, { 1: "present", 2: "bad", 3: "adding" }); // no other good copy
    block(3, 4, { 1: "present", 4: "present" }); // another one, on a server that is away
    block(4, 5, { 1: "bad", 2: "removing" }); // none
    block(5, 5, { 4: "present" }); // out of reach
    block(6, 2, { 2: "present", 3: "present" });
    const { blocksByCopies, risk } = copyFigures(store.database, of(1, 2, 3), 3);
    expect(blocksByCopies).toEqual([2, 2, 1, 1]);
    expect(risk.lostBlocks).toBe(1);
    expect(risk.servers).toEqual([
      { server: serverId(1), alone: 2, last: 1, pairs: 0 },
      { server: serverId(2), alone: 0, last: 0, pairs: 1 },
      { server: serverId(3), alone: 0, last: 0, pairs: 1 },
    ]);
    expect(risk.unreadable).toMatchObject({ files: 1, more: false });
    expect(names(risk.unreadable.paths)).toEqual(["/gone"]);
    expect(risk.worst?.server).toBe(serverId(1));
    expect(risk.worst?.files).toMatchObject({ files: 2, more: false });
    expect(names(risk.worst!.files.paths)).toEqual(["/single", "/waiting"]);
  });

  test("the worst server is the one with the most only copies anywhere", () => {
    file(2, "a");
    for (let id = 1; id <= 5; id++) block(id, 2, { 1: "present", 9: "present" });
    block(6, 2, { 2: "present" });
    expect(copyFigures(store.database, of(1, 2), 3).risk.worst?.server).toBe(serverId(2));
  });

  test("of very many blocks not all files are looked for, and that is said", () => {
    for (let inode = 2; inode < 12; inode++) file(inode, `file-${inode}`);
    store.transaction(() => {
      for (let id = 0; id < 2500; id++) block(id + 1, 2 + (id % 10), { 3: "present" });
    });
    const { servers, worst } = copyFigures(store.database, of(3), 3).risk;
    expect(servers).toEqual([{ server: serverId(3), alone: 2500, last: 2500, pairs: 0 }]);
    expect(worst?.files).toMatchObject({ files: 10, more: true });
    expect(worst?.files.paths).toHaveLength(5);
  });

  test("random records: as a count by hand", () => {
    const seed = Number(process.env["DFS_TEST_SEED"] ?? Date.now() % 1_000_000);
    console.log(`seed ${seed} (DFS_TEST_SEED)`);
    const random = seededRandom(seed);
    const states: State[] = ["present", "present", "present", "adding", "bad", "removing"];
    file(2, "a");
    const copies: Record<number, State>[] = [];
    store.transaction(() => {
      for (let id = 1; id <= 400; id++) {
        const each: Record<number, State> = {};
        for (let server = 1; server <= 5; server++) {
          if (random.below(2) === 0) each[server] = states[random.below(states.length)]!;
        }
        copies.push(each);
        block(id, 2, each);
      }
    });
    const reachable = [1, 2, 3, 4, 5].filter(() => random.below(3) > 0);
    const { blocksByCopies, risk } = copyFigures(store.database, of(...reachable), 3);
    const good = copies.map((each) =>
      Object.entries(each).flatMap(([server, state]) => (state === "present" ? [+server] : [])),
    );
    const near = good.map((servers) => servers.filter((each) => reachable.includes(each)));
    const count = (wanted: number): number =>
      near.filter(({ length }) => Math.min(3, length) === wanted).length;
    expect(blocksByCopies).toEqual([0, 1, 2, 3].map(count));
    expect(risk.lostBlocks).toBe(good.filter(({ length }) => length === 0).length);
    const expected = reachable
      .map((server) => {
        const held = near.map((servers, at) => ({ servers, everywhere: good[at]!.length }));
        const mine = held.filter(({ servers }) => servers.includes(server));
        const alone = mine.filter(({ servers }) => servers.length === 1);
        return {
          server: serverId(server),
          alone: alone.length,
          last: alone.filter(({ everywhere }) => everywhere === 1).length,
          pairs: mine.filter(({ servers }) => servers.length === 2).length,
        };
      })
      .filter(({ alone, pairs }) => alone + pairs > 0);
    expect(risk.servers).toEqual(expected);
  });
});
