import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { DfsError } from "../../../src/base/errors.ts";
import { ROOT_INODE } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { seededRandom, systemRandom } from "../../../src/base/random.ts";
import { getattr, lookup } from "../../../src/protocol/messages/namespace.ts";
import { Checkpointer, CheckpointThread } from "../../../src/server/meta/checkpoint.ts";
import { openDatabase } from "../../../src/server/meta/database.ts";
import { FiguresThread } from "../../../src/server/meta/figures.ts";
import { markForRebuild, rebuildIfNeeded } from "../../../src/server/meta/rebuild.ts";
import { newSettings, type SettingsWish } from "../../../src/server/meta/settings.ts";
import { createSqliteStore } from "../../../src/server/meta/store/sqlite/store.ts";
import { failureOf, makeRig, temporaryDirectory, until } from "./support/durable.ts";
import { startMeta, TestClient, text } from "./support/service.ts";

const open = (dir: string, wish: SettingsWish = {}) =>
  openDatabase({
    dir,
    wish,
    owner: { mode: 0o750, uid: 7, gid: 8 },
    nowNs: 5n,
    random: systemRandom,
    logger: silentLogger,
  });

/** What `work` throws. */
function thrownBy(work: () => unknown): DfsError {
  try {
    work();
  } catch (error) {
    if (error instanceof DfsError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("newSettings", () => {
  const random = seededRandom(1);

  test("has defaults, and a random cluster id of 16 bytes", () => {
    const settings = newSettings({}, random);
    expect(settings).toMatchObject({ replicas: 3, writeQuorum: 2, readQuorum: 1 });
    expect(settings.cluster).toHaveLength(16);
    expect(newSettings({}, random).cluster).not.toEqual(settings.cluster);
    expect(newSettings({ replicas: 1 }, random).writeQuorum).toBe(1);
  });

  const impossible: [string, SettingsWish][] = [
    ["--block-size 7", { blockSize: 7 }],
    ["--block-size 16777217", { blockSize: 16 * 1024 * 1024 + 1 }],
    ["--block-size 8.5", { blockSize: 8.5 }],
    ["--replicas 0", { replicas: 0 }],
    ["--replicas 9", { replicas: 9 }],
    ["--write-quorum 3", { replicas: 2, writeQuorum: 3 }],
    ["--read-quorum 4", { readQuorum: 4 }],
  ];
  test.each(impossible)("refuses %s, naming it", (named, wish) => {
    const error = thrownBy(() => newSettings(wish, random));
    expect(error.kind).toBe("usage");
    expect(error.message).toContain(named);
  });
});

describe("openDatabase", () => {
  test("formats a new directory, and finds the same cluster again", () => {
    using dir = temporaryDirectory();
    const first = open(dir.path, { blockSize: 8, replicas: 2 });
    const root = first.store.primitives["inode.get"](ROOT_INODE);
    expect(root).toMatchObject({ type: "directory", mode: 0o750, uid: 7, gid: 8, nlink: 2 });
    first.store.close();
    const second = open(dir.path);
    expect(second.settings).toEqual(first.settings);
    second.store.close();
    expect(readdirSync(dir.path)).toEqual(["meta.db"]);
  });

  test("refuses other settings than those formatted, naming both", () => {
    using dir = temporaryDirectory();
    open(dir.path, { blockSize: 4096, replicas: 3 }).store.close();
    open(dir.path, { blockSize: 4096 }).store.close();
    const error = thrownBy(() => open(dir.path, { blockSize: 8192 }));
    expect(error.kind).toBe("usage");
    expect(error.message).toContain("8192");
    expect(error.message).toContain("4096");
    expect(thrownBy(() => open(dir.path, { replicas: 2 })).message).toContain("--replicas 2");
  });

  test("what a crashed format left behind is worthless and does no harm", () => {
    using dir = temporaryDirectory();
    const draft = createSqliteStore(join(dir.path, "formatting.db"));
    draft.primitives["meta.put"]("half", "done");
    spawnSync("cp", [`${draft.path}-wal`, join(dir.path, "kept")]);
    draft.close();
    renameSync(join(dir.path, "kept"), join(dir.path, "formatting.db-wal"));
    const { store } = open(dir.path);
    expect(store.primitives["meta.get"]("half")).toBeUndefined();
    store.close();
    expect(readdirSync(dir.path)).toEqual(["meta.db"]);
  });

  test("refuses a damaged file, a foreign one, and one of a newer version", () => {
    using damaged = temporaryDirectory();
    const { store } = open(damaged.path);
    for (let index = 0; index < 500; index++)
      store.primitives["meta.put"](`key-${index}`, "x".repeat(200));
    store.close();
    truncateSync(join(damaged.path, "meta.db"), 64 * 1024);
    expect(thrownBy(() => open(damaged.path)).kind).toBe("invalid");

    using foreign = temporaryDirectory();
    const other = new Database(join(foreign.path, "meta.db"));
    other.run("CREATE TABLE t (a)");
    other.close();
    expect(thrownBy(() => open(foreign.path)).message).toContain("not a metadata database of dfs");

    using newer = temporaryDirectory();
    const { store: old } = open(newer.path);
    old.database.run("PRAGMA user_version = 99");
    old.close();
    expect(thrownBy(() => open(newer.path)).kind).toBe("unsupported");
  });

  test("never formats a directory that has served before and lost its database", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    await meta.stop();
    renameSync(join(dir.path, "meta.db"), join(dir.path, "elsewhere"));
    expect(await failureOf(startMeta(dir.path))).toMatchObject({ kind: "notFound" });
    expect(existsSync(join(dir.path, "meta.db"))).toBe(false);
  });
});

describe("a metadata server", () => {
  test("listens where it listened before, unless told otherwise", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path);
    await first.stop();
    const second = await startMeta(dir.path);
    expect(second.address).toBe(first.address);
    await second.stop();
    const third = await startMeta(dir.path, { listen: "127.0.0.1:0" });
    await third.stop();
    const fourth = await startMeta(dir.path);
    expect(fourth.address).toBe(third.address);
    await fourth.stop();
  });

  test("gives the directory back when it cannot start", async () => {
    using dir = temporaryDirectory();
    const failure = await failureOf(startMeta(dir.path, { listen: "0.0.0.0:0" }));
    expect(failure).toMatchObject({ kind: "invalid" });
    const meta = await startMeta(dir.path);
    await meta.stop();
  });

  test("refuses strangers without the cluster's key", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { key: systemRandom.bytes(32) });
    expect(await failureOf(TestClient.open(meta.address))).toMatchObject({ kind: "unauthorized" });
    await meta.stop();
  });
});

describe("rebuilding", () => {
  /** A database in `dir` whose newest row is in the log only, as after a failed sync. */
  function unsettled(dir: string): void {
    const { store } = open(dir);
    store.primitives["meta.put"]("newest", "row");
    const files = ["meta.db", "meta.db-wal"].map((name) => join(dir, name));
    spawnSync("mkdir", [join(dir, "as-crashed")]);
    spawnSync("cp", [...files, join(dir, "as-crashed")]);
    store.close();
    for (const name of ["meta.db", "meta.db-wal"]) {
      renameSync(join(dir, "as-crashed", name), join(dir, name));
    }
    spawnSync("rmdir", [join(dir, "as-crashed")]);
  }

  const newest = (dir: string): string | undefined => {
    const { store } = open(dir);
    const value = store.primitives["meta.get"]("newest");
    store.close();
    return value;
  };

  test("copies the database as it can be read into a new file, and the marker goes", () => {
    using dir = temporaryDirectory();
    unsettled(dir.path);
    expect(rebuildIfNeeded(dir.path, silentLogger)).toBe(false);
    markForRebuild(dir.path, "EIO");
    expect(rebuildIfNeeded(dir.path, silentLogger)).toBe(true);
    expect(readdirSync(dir.path)).toEqual(["meta.db"]);
    expect(newest(dir.path)).toBe("row");
    expect(rebuildIfNeeded(dir.path, silentLogger)).toBe(false);
  });

  test("begins anew after a crash while the copy was being made", () => {
    using dir = temporaryDirectory();
    unsettled(dir.path);
    markForRebuild(dir.path, "EIO");
    writeFileSync(join(dir.path, "rebuilding.db"), "half a copy");
    expect(rebuildIfNeeded(dir.path, silentLogger)).toBe(true);
    expect(newest(dir.path)).toBe("row");
  });

  test("puts a complete copy in place after a crash before that, and never applies the old log to it", () => {
    using dir = temporaryDirectory();
    unsettled(dir.path);
    const wal = join(dir.path, "meta.db-wal");
    spawnSync("cp", [wal, `${wal}.kept`]);
    const copy = new Database(join(dir.path, "meta.db"));
    copy.query("VACUUM INTO ?").run(join(dir.path, "rebuilt.db"));
    copy.close();
    const rebuilt = new Database(join(dir.path, "rebuilt.db"));
    rebuilt.run("UPDATE meta SET value = 'from the copy' WHERE key = 'newest'");
    rebuilt.close();
    renameSync(`${wal}.kept`, wal); // as the crash left it
    markForRebuild(dir.path, "EIO");
    expect(rebuildIfNeeded(dir.path, silentLogger)).toBe(true);
    expect(newest(dir.path)).toBe("from the copy");
    expect(readdirSync(dir.path)).toEqual(["meta.db"]);
  });

  test("a database that cannot be copied stops the start and keeps the marker", () => {
    using dir = temporaryDirectory();
    writeFileSync(join(dir.path, "meta.db"), "this is not a database at all, and long enough");
    markForRebuild(dir.path, "EIO");
    const error = thrownBy(() => rebuildIfNeeded(dir.path, silentLogger));
    expect(error.kind).toBe("io");
    expect(existsSync(join(dir.path, "rebuild-needed"))).toBe(true);
  });
});

describe("Checkpointer", () => {
  test("keeps the log short under steady load, and loses nothing", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store } = rig;
    const limit = 512 * 1024;
    const checkpointer = new Checkpointer({
      runner: new CheckpointThread(store.path),
      pause: () => group.pause(),
      resume: () => group.resume(),
      clock: systemClock,
      logger: silentLogger,
      onFatal: (error) => rig.fatal.push(error),
      passiveBytes: limit / 4,
      truncateBytes: limit,
    });
    const wal = Bun.file(`${store.path}-wal`);
    let longest = 0;
    const write = async (worker: number): Promise<void> => {
      for (let index = 0; index < 250; index++) {
        const key = `${worker}-${index}`;
        await group.change(() => store.primitives["meta.put"](key, "x".repeat(2_000)));
        longest = Math.max(longest, wal.size);
        checkpointer.logChanged(wal.size);
      }
    };
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(write));
    await checkpointer.close();
    expect(rig.fatal).toEqual([]);
    // 2,000 rows of 2 KB are over 4 MB of log, unless it is cut on the way.
    expect(longest).toBeLessThan(3 * 1024 * 1024);
    const count = store.database.query<{ n: bigint }, []>("SELECT count(*) AS n FROM meta").get();
    expect(count?.n).toBe(2_000n);
  });

  test("a failed checkpoint of a broken disk is fatal, another failure is not", async () => {
    const failures: string[] = [];
    const warnings: string[] = [];
    const run = async (code: string): Promise<void> => {
      const checkpointer = new Checkpointer({
        runner: {
          run: () => Promise.reject(Object.assign(new Error(code), { code })),
          close: () => Promise.resolve(),
        },
        pause: () => undefined,
        resume: () => undefined,
        clock: systemClock,
        logger: { ...silentLogger, warn: (message) => warnings.push(message) },
        onFatal: (error) => failures.push(error.message),
        passiveBytes: 1,
      });
      checkpointer.logChanged(100);
      await checkpointer.close();
    };
    await run("SQLITE_IOERR_FSYNC");
    expect(failures).toHaveLength(1);
    await run("SQLITE_FULL");
    expect(failures).toHaveLength(1);
    expect(warnings[0]).toContain("full");
  });
});

describe("FiguresThread", () => {
  test("counts while the service goes on, and answers a crowd with one count", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const client = await TestClient.open(meta.address);
    await client.create("a");
    const figures = new FiguresThread(join(dir.path, "meta.db"));
    const counts = await Promise.all([
      figures.inodes(),
      figures.inodes(),
      figures.blocks([], 3),
      figures.replicas(),
    ]);
    expect(counts[0]).toBe(2);
    expect(counts[1]).toBe(2);
    expect(counts[2]).toMatchObject({ files: 1, directories: 1, blocksByCopies: [0, 0, 0, 0] });
    expect(counts[3]).toEqual([]);
    await figures.close();
    await meta.stop();
    expect(await failureOf(figures.inodes())).toMatchObject({ kind: "internal" });
  });
});

describe("a disk that is full", () => {
  test("refuses changes with noSpace, answers questions, and goes on when there is room", async () => {
    using dir = temporaryDirectory();
    const small = join(dir.path, "small");
    spawnSync("mkdir", [small]);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", small]).status !== 0) {
      console.log("skipped: mounting a small file system needs root");
      return;
    }
    try {
      const meta = await startMeta(small);
      const client = await TestClient.open(meta.address);
      await client.create("before");
      expect(() => writeFileSync(join(small, "filler"), new Uint8Array(4e6))).toThrow("ENOSPC");
      let refused: unknown;
      await until(async () => {
        refused = await client.create(`f-${client.operation}`).then(
          () => undefined,
          (error: unknown) => error,
        );
        return refused !== undefined;
      });
      expect(refused).toMatchObject({ kind: "noSpace" });
      const found = { parent: ROOT_INODE, name: text("before") };
      const { attributes } = await client.ask(lookup, found);
      await client.ask(getattr, { inode: attributes.inode });
      await meta.stop();
      const full = await failureOf(startMeta(join(small, "other")));
      expect(full).toMatchObject({ kind: "noSpace" });
      expect(String(full)).toContain(join(small, "other"));
      spawnSync("rm", [join(small, "filler")]);
      const again = await startMeta(small);
      await (await client.resume(again.address)).create("after");
      await again.stop();
    } finally {
      spawnSync("umount", ["-l", small]);
    }
  });
});
