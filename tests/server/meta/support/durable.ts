/** What tests of the service's durability share: a store in a folder of its own, and a sync that tests can hold. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DfsError } from "../../../../src/base/errors.ts";
import { GroupCommit } from "../../../../src/server/meta/group-commit.ts";
import { createSqliteStore } from "../../../../src/server/meta/store/sqlite/store.ts";
import type { SqliteStore } from "../../../../src/server/meta/store/sqlite/store.ts";
import {
  diskSync,
  WalSync,
  type SyncDone,
  type SyncFile,
} from "../../../../src/server/meta/wal-sync.ts";

/** A folder that is removed by `using`. */
export function temporaryDirectory(): { readonly path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "dfs-meta-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Syncs that wait until the test lets them go. */
export class HeldSync {
  private readonly waiting: { readonly descriptor: number; readonly done: SyncDone }[] = [];
  /** Syncs begun so far. */
  begun = 0;

  readonly sync: SyncFile = (descriptor, done) => {
    this.begun++;
    this.waiting.push({ descriptor, done });
  };

  /** Lets the oldest sync happen, on the disk. */
  async release(): Promise<void> {
    const { descriptor, done } = await this.next();
    const { promise, resolve } = Promise.withResolvers<void>();
    diskSync(descriptor, (error) => {
      done(error);
      resolve();
    });
    await promise;
  }

  /** Makes the oldest sync fail. */
  async fail(message: string): Promise<void> {
    (await this.next()).done(new Error(message));
  }

  private async next(): Promise<{ readonly descriptor: number; readonly done: SyncDone }> {
    await until(() => this.waiting.length > 0);
    return this.waiting.shift()!;
  }
}

/** A group commit over a real SQLite store. */
export interface Rig extends Disposable {
  readonly store: SqliteStore;
  readonly group: GroupCommit;
  readonly fatal: DfsError[];
  /** Times that something was undone. */
  readonly undone: () => number;
}

export function makeRig(dir: string, sync: SyncFile = diskSync): Rig {
  const store = createSqliteStore(join(dir, "meta.db"));
  store.primitives["counter.put"]("lsn", 0n);
  const mark = new WalSync(`${store.path}-wal`, sync);
  const fatal: DfsError[] = [];
  let undone = 0;
  const group = new GroupCommit({
    store,
    mark,
    defer: setImmediate,
    nowMs: () => performance.now(),
    onUndone: () => undone++,
    onFatal: (error) => fatal.push(error),
  });
  return {
    store,
    group,
    fatal,
    undone: () => undone,
    [Symbol.dispose]: () => {
      mark.close();
      store.close();
    },
  };
}

/** Waits until `condition` holds; fails after a generous deadline. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  deadlineMs = 20_000,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error("the condition did not come true in time");
    await Bun.sleep(2);
  }
}

/** Lets the event loop turn a few times, so that whatever could happen without a sync has happened. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    await new Promise<void>((resolve) => setImmediate(() => resolve()));
  }
}

/** Whether a promise has been settled, and how. */
export function watch<T>(promise: Promise<T>): { state: "pending" | "done" | "failed"; value?: T } {
  const seen: { state: "pending" | "done" | "failed"; value?: T } = { state: "pending" };
  promise.then(
    (value) => Object.assign(seen, { state: "done", value }),
    () => Object.assign(seen, { state: "failed" }),
  );
  return seen;
}

/** What a promise is rejected with; fails when it is not. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("the promise was expected to fail, but did not");
}
