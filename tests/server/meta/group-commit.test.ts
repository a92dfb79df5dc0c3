import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DfsError } from "../../../src/base/errors.ts";
import { IdRanges } from "../../../src/server/meta/id-ranges.ts";
import { diskSync, WalSync } from "../../../src/server/meta/wal-sync.ts";
import {
  failureOf,
  HeldSync,
  makeRig,
  temporaryDirectory,
  turns,
  watch,
} from "./support/durable.ts";

describe("GroupCommit", () => {
  test("answers a change only after the sync that covers it", async () => {
    using dir = temporaryDirectory();
    const held = new HeldSync();
    using rig = makeRig(dir.path, held.sync);
    const { group, store } = rig;
    const change = watch(group.change(() => store.primitives["meta.put"]("k", "1")));
    await turns();
    expect(change.state).toBe("pending");
    expect(store.primitives["meta.get"]("k")).toBe("1");
    await held.release();
    await turns();
    expect(change.state).toBe("done");
    expect(group.durable).toBe(1n as typeof group.durable);
  });

  test("a sync that began before a commit does not cover it", async () => {
    using dir = temporaryDirectory();
    const held = new HeldSync();
    using rig = makeRig(dir.path, held.sync);
    const { group, store } = rig;
    const early = watch(group.change(() => store.primitives["meta.put"]("early", "1")));
    await turns();
    const late = watch(group.change(() => store.primitives["meta.put"]("late", "1")));
    await turns();
    expect(held.begun).toBe(1);
    await held.release();
    await turns();
    expect([early.state, late.state]).toEqual(["done", "pending"]);
    await held.release();
    await turns();
    expect(late.state).toBe("done");
  });

  test("a question that sees something not yet durable waits, others do not", async () => {
    using dir = temporaryDirectory();
    const held = new HeldSync();
    using rig = makeRig(dir.path, held.sync);
    const { group, store } = rig;
    expect(await group.question(() => store.primitives["meta.get"]("k"))).toBeUndefined();
    const change = watch(group.change(() => store.primitives["meta.put"]("k", "1")));
    await turns();
    const question = watch(group.question(() => store.primitives["meta.get"]("k")));
    const refusal = watch(
      group.change(() => {
        throw new DfsError("exists", "taken");
      }),
    );
    await turns();
    expect([change.state, question.state, refusal.state]).toEqual([
      "pending",
      "pending",
      "pending",
    ]);
    await held.release();
    await turns();
    expect([change.state, question, refusal.state]).toEqual([
      "done",
      { state: "done", value: "1" },
      "failed",
    ]);
  });

  test("a lazy change is committed, raises no LSN and waits for no sync", async () => {
    using dir = temporaryDirectory();
    const held = new HeldSync();
    using rig = makeRig(dir.path, held.sync);
    await rig.group.lazy(() => rig.store.primitives["meta.put"]("lazy", "1"));
    expect(rig.store.primitives["meta.get"]("lazy")).toBe("1");
    expect(held.begun).toBe(0);
    expect(rig.store.primitives["counter.get"]("lsn")).toBe(0n);
  });

  test("executes what came in one turn in one transaction, and stores its LSN", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store } = rig;
    const seen = await Promise.all([1, 2, 3].map(() => group.change((lsn) => lsn)));
    expect(seen).toEqual([1n, 1n, 1n] as typeof seen);
    expect(await group.change((lsn) => lsn)).toBe(2n as (typeof seen)[0]);
    expect(store.primitives["counter.get"]("lsn")).toBe(2n);
  });

  test("undoes just the operation that throws", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store } = rig;
    const results = await Promise.allSettled([
      group.change(() => store.primitives["meta.put"]("a", "1")),
      group.change(() => {
        store.primitives["meta.put"]("b", "1");
        throw new DfsError("exists", "taken");
      }),
      group.change(() => store.primitives["meta.put"]("c", "1")),
    ]);
    expect(results.map((each) => each.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    const found = ["a", "b", "c"].map((key) => store.primitives["meta.get"](key));
    expect(found).toEqual(["1", undefined, "1"]);
    expect(rig.undone()).toBe(1);
  });

  test.each(["change", "lazy"] as const)(
    "a %s that throws leaves nothing behind when it is alone in its transaction",
    async (kind) => {
      using dir = temporaryDirectory();
      using rig = makeRig(dir.path);
      const { group, store } = rig;
      const refused = group[kind](() => {
        store.primitives["meta.put"]("a", "1");
        throw new DfsError("exists", "taken");
      });
      expect(await failureOf(refused)).toMatchObject({ kind: "exists" });
      expect(store.primitives["meta.get"]("a")).toBeUndefined();
      expect(store.primitives["counter.get"]("lsn")).toBe(0n);
      expect(rig.undone()).toBeGreaterThan(0);
      await group[kind](() => store.primitives["meta.put"]("b", "1"));
      expect(store.primitives["meta.get"]("b")).toBe("1");
    },
  );

  test("an operation with a mistake in it fails alone, as internal", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store } = rig;
    const results = await Promise.allSettled([
      group.change(() => store.primitives["meta.put"]("a", "1")),
      group.change(() => {
        store.primitives["meta.put"]("b", "1");
        throw new TypeError("undefined is not a function");
      }),
    ]);
    expect(results[0].status).toBe("fulfilled");
    expect(results[1]).toMatchObject({ status: "rejected", reason: { kind: "internal" } });
    expect(store.primitives["meta.get"]("a")).toBe("1");
    expect(store.primitives["meta.get"]("b")).toBeUndefined();
  });

  test("after a failed sync nobody is told success, nothing is executed, and nothing is synced again", async () => {
    using dir = temporaryDirectory();
    const held = new HeldSync();
    using rig = makeRig(dir.path, held.sync);
    const { group, store, fatal } = rig;
    const first = group.change(() => store.primitives["meta.put"]("k", "1"));
    const question = turns(5).then(() => group.question(() => store.primitives["meta.get"]("k")));
    const results = Promise.allSettled([first, question]);
    await turns();
    await held.fail("EIO: i/o error, fdatasync");
    expect((await results).map((each) => each.status === "rejected" && each.reason)).toMatchObject([
      { kind: "outcomeUnknown" },
      { kind: "outcomeUnknown" },
    ]);
    expect(fatal).toHaveLength(1);
    expect(fatal[0]!.message).toContain("EIO");
    expect(
      await failureOf(group.change(() => store.primitives["meta.put"]("k", "2"))),
    ).toMatchObject({
      kind: "io",
    });
    await turns();
    expect(store.primitives["meta.get"]("k")).toBe("1");
    expect(held.begun).toBe(1);
  });

  test("questions go on while changes are paused", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store } = rig;
    group.pause();
    const change = watch(group.change(() => store.primitives["meta.put"]("k", "1")));
    expect(await group.question(() => store.primitives["meta.get"]("k"))).toBeUndefined();
    await turns();
    expect(change.state).toBe("pending");
    group.resume();
    expect(await group.question(() => store.primitives["meta.get"]("k"))).toBe("1");
  });

  test("close finishes what it has and refuses what comes later", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store } = rig;
    const change = watch(group.change(() => store.primitives["meta.put"]("k", "1")));
    const closing = group.close();
    expect(await failureOf(group.change(() => 1))).toMatchObject({ kind: "unreachable" });
    await closing;
    await turns(1);
    expect(change.state).toBe("done");
  });

  test("a full disk refuses changes with noSpace, and questions go on", async () => {
    using dir = temporaryDirectory();
    const small = join(dir.path, "small");
    mkdirSync(small);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", small]);
    if (mounted.status !== 0) {
      console.log("skipped: mounting a small file system needs root");
      return;
    }
    try {
      using rig = makeRig(small);
      const { group, store } = rig;
      await group.change(() => store.primitives["meta.put"]("k", "1"));
      const filler = join(small, "filler");
      expect(() => writeFileSync(filler, new Uint8Array(4 * 1024 * 1024))).toThrow("ENOSPC");
      const big = "x".repeat(64 * 1024);
      const results = await Promise.allSettled(
        ["a", "b"].map((key) => group.change(() => store.primitives["meta.put"](key, big))),
      );
      expect(results).toMatchObject(
        results.map(() => ({ status: "rejected", reason: { kind: "noSpace" } })),
      );
      expect(await group.question(() => store.primitives["meta.get"]("k"))).toBe("1");
      expect(rig.fatal).toEqual([]);
      unlinkSync(filler);
      await group.change(() => store.primitives["meta.put"]("a", big));
      expect(store.primitives["meta.get"]("a")).toBe(big);
    } finally {
      spawnSync("umount", ["-l", small]);
    }
  });
});

describe("WalSync", () => {
  test("goes over to the new file when SQLite has begun another log", async () => {
    using dir = temporaryDirectory();
    const synced: bigint[] = [];
    using rig = makeRig(dir.path, (descriptor, done) => {
      synced.push(
        BigInt(readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8").match(/ino:\s*(\d+)/)![1]!),
      );
      diskSync(descriptor, done);
    });
    const { group, store } = rig;
    const wal = `${store.path}-wal`;
    await group.change(() => store.primitives["meta.put"]("k", "1"));
    const before = statSync(wal, { bigint: true }).ino;
    store.database.run("PRAGMA journal_mode = DELETE");
    writeFileSync(join(dir.path, "takes the old inode"), "");
    store.database.run("PRAGMA journal_mode = WAL");
    await group.change(() => store.primitives["meta.put"]("k", "2"));
    const after = statSync(wal, { bigint: true }).ino;
    expect(after).not.toBe(before);
    expect(synced).toEqual([before, before, after]);
  });

  test("fails, naming the file, when the log is gone", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { group, store, fatal } = rig;
    unlinkSync(`${store.path}-wal`);
    expect(
      await failureOf(group.change(() => store.primitives["meta.put"]("k", "1"))),
    ).toMatchObject({
      kind: "outcomeUnknown",
    });
    expect(fatal[0]!.message).toContain("meta.db-wal");
  });

  test("is never run again after it failed", () => {
    using dir = temporaryDirectory();
    const path = join(dir.path, "log");
    writeFileSync(path, "");
    const mark = new WalSync(path, (_descriptor, done) => done(new Error("EIO")));
    const errors: unknown[] = [];
    mark.run((error) => errors.push(error));
    expect(errors).toHaveLength(1);
    expect(() => mark.run(() => undefined)).toThrow("after one had failed");
    mark.close();
  });
});

describe("IdRanges", () => {
  test("puts the mark ahead in the transaction that needs it, and begins above it after a restart", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { store, group } = rig;
    const ids = new IdRanges(store.primitives);
    const first = await group.change(() => ids.take("block", 10));
    expect(first).toBe(1n);
    const mark = store.primitives["counter.get"]("block");
    expect(mark).toBeGreaterThanOrEqual(11n);
    const afterRestart = new IdRanges(store.primitives);
    expect(await group.change(() => afterRestart.take("block"))).toBe(mark);
  });

  test("an id taken in a transaction that was undone is skipped, and its mark put again", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const { store } = rig;
    const ids = new IdRanges(store.primitives);
    store.begin();
    expect(ids.take("inode")).toBe(2n);
    store.rollback();
    ids.undone();
    expect(store.primitives["counter.get"]("inode")).toBe(0n);
    store.transaction(() => expect(ids.take("inode")).toBe(3n));
    expect(store.primitives["counter.get"]("inode")).toBeGreaterThan(3n);
  });

  test("skips everything up to an id that somebody else knows of", () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const ids = new IdRanges(rig.store.primitives);
    rig.store.transaction(() => ids.skipTo("block", 1_000_000n));
    rig.store.transaction(() => ids.skipTo("block", 17n));
    expect(rig.store.transaction(() => ids.take("block"))).toBe(1_000_001n);
    expect(rig.store.primitives["counter.get"]("block")).toBeGreaterThan(1_000_001n);
  });

  test("refuses rather than going beyond the largest id", () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path);
    const ids = new IdRanges(rig.store.primitives);
    rig.store.transaction(() => ids.skipTo("inode", (1n << 63n) - 3n));
    expect(rig.store.transaction(() => ids.take("inode"))).toBe((1n << 63n) - 2n);
    expect(() => rig.store.transaction(() => ids.take("inode"))).toThrow("given out");
  });
});
