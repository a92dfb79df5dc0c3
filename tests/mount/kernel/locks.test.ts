// The driver `kernel`: locks go to the file system, as they are shared by all mounts; who waits for one can be interrupted.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";
import * as posix from "../support/system-calls.ts";

type Holder = Bun.Subprocess<"pipe", "pipe", "inherit">;

/** A process of its own, as a process has no conflicts with its own fcntl locks. */
class LockHolder {
  readonly process: Holder;
  private readonly chunks: AsyncIterator<Uint8Array>;
  private said = "";

  constructor(path: string, kind: "fcntl" | "flock", type: posix.LockType) {
    const script = join(import.meta.dir, "../support/lock-holder.ts");
    this.process = Bun.spawn([process.execPath, script, path, kind, type], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.chunks = this.process.stdout[Symbol.asyncIterator]();
  }

  /** Waits until it has said this word. */
  async says(word: string): Promise<void> {
    while (!this.said.includes(word)) {
      const { value, done } = await this.chunks.next();
      if (done) throw new Error(`the lock holder has ended before it said ${word}`);
      this.said += new TextDecoder().decode(value);
    }
  }

  async letGo(): Promise<void> {
    await this.process.stdin.end();
    await this.process.exited;
  }
}

describe.skipIf(!fuseIsThere())("locks on a mount", () => {
  let mount: MemoryMount;
  let fd: number;
  const path = (): string => mount.at("locked");
  const holders: LockHolder[] = [];
  const hold = (kind: "fcntl" | "flock", type: posix.LockType): LockHolder => {
    const holder = new LockHolder(path(), kind, type);
    holders.push(holder);
    return holder;
  };
  /** Waits until as many locks are waited for. */
  const waiting = async (count: number): Promise<void> => {
    while ((await mount.state()).waitingLocks !== count) await Bun.sleep(5);
  };
  beforeAll(async () => {
    mount = await MemoryMount.start();
    writeFileSync(path(), "content");
  });
  beforeEach(() => {
    fd = openSync(path(), "r+");
  });
  afterEach(async () => {
    closeSync(fd);
    for (const holder of holders.splice(0)) {
      holder.process.kill("SIGKILL");
      await holder.process.exited;
    }
  });
  afterAll(async () => {
    await mount[Symbol.asyncDispose]();
  });

  test("of fcntl exclude by range, tell who holds them, and end with their process", async () => {
    const holder = hold("fcntl", "exclusive");
    await holder.says("locked");
    const range = { type: "shared", start: 3, length: 2 } as const;
    expect(() => posix.setLock(fd, range)).toThrow("EAGAIN");
    expect(posix.getLock(fd, range)).toEqual({
      type: "exclusive",
      start: 0,
      length: 0,
      pid: holder.process.pid,
    });
    await holder.letGo();
    expect(posix.getLock(fd, range).type).toBe("none");
    posix.setLock(fd, range);
    posix.setLock(fd, { type: "none", start: 0, length: 0 });
  });

  test("of fcntl end when any descriptor of their process is closed", async () => {
    posix.setLock(fd, { type: "exclusive", start: 0, length: 0 });
    const holder = hold("fcntl", "shared");
    await holder.says("asking");
    await waiting(1);
    closeSync(openSync(path(), "r"));
    await holder.says("locked");
  });

  test("of flock exclude by open file, and can be shared", () => {
    const other = openSync(path(), "r");
    try {
      posix.flock(fd, "shared", true);
      posix.flock(other, "shared");
      expect(() => posix.flock(other, "exclusive")).toThrow("EAGAIN");
      posix.flock(fd, "none");
      posix.flock(other, "exclusive");
      expect(() => posix.flock(fd, "shared")).toThrow("EAGAIN");
    } finally {
      closeSync(other);
    }
    posix.flock(fd, "exclusive", true);
  });

  test.each(["fcntl", "flock"] as const)("of %s are waited for", async (kind) => {
    const first = hold(kind, "exclusive");
    await first.says("locked");
    const second = hold(kind, "exclusive");
    await second.says("asking");
    await waiting(1);
    await first.letGo();
    await second.says("locked");
  });

  test.each(["fcntl", "flock"] as const)(
    "of %s are not waited for any longer after Ctrl-C",
    async (kind) => {
      const first = hold(kind, "exclusive");
      await first.says("locked");
      const second = hold(kind, "exclusive");
      await second.says("asking");
      await waiting(1);
      second.process.kill("SIGINT");
      await second.process.exited;
      expect(second.process.signalCode).toBe("SIGINT");
      await waiting(0);
      await first.letGo();
      const third = hold(kind, "exclusive");
      await third.says("locked");
    },
  );
});
