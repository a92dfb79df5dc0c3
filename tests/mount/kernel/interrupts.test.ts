// Signals for a process that waits for the mount. A mount that answers every signal with EINTR breaks programs that have
// timers (git shows its progress by one) or are made of Go; one that answers none cannot be left by Ctrl-C while its cluster
// is away.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { endIsPending, hasToEnd } from "../../../src/mount/kernel/system/signals.ts";
import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";

describe("a process that has got a signal", () => {
  const USR1 = 1n << 9n;
  const INT = 1n << 1n;
  const CHLD = 1n << 16n;
  const status = (masks: Readonly<Record<string, bigint>>): string =>
    [
      "Name:\tx",
      ...Object.entries(masks).map(
        ([name, mask]) => `${name}:\t${mask.toString(16).padStart(16, "0")}`,
      ),
    ].join("\n");

  test("has to end by Ctrl-C, handled or not", () => {
    expect(endIsPending(status({ ShdPnd: INT }))).toBe(true);
    expect(endIsPending(status({ SigPnd: INT, SigCgt: INT }))).toBe(true);
  });

  test("need not end by a signal that it handles, blocks or ignores", () => {
    expect(endIsPending(status({ ShdPnd: USR1 }))).toBe(true);
    for (const field of ["SigCgt", "SigBlk", "SigIgn"]) {
      expect(endIsPending(status({ ShdPnd: USR1, [field]: USR1 }))).toBe(false);
    }
    expect(endIsPending(status({ ShdPnd: INT, SigIgn: INT }))).toBe(false);
    expect(endIsPending(status({ ShdPnd: CHLD }))).toBe(false);
    expect(endIsPending(status({}))).toBe(false);
  });

  test("that is gone has ended; this one need not", () => {
    expect(hasToEnd(process.pid)).toBe(false);
    expect(hasToEnd(2 ** 30)).toBe(true);
  });
});

// The kernel waits in two ways. Of fsync it tells the driver that a signal has come; reads with O_DIRECT it cuts into
// background requests, and waits for them without a way out, even for a process that was killed.
describe.skipIf(!fuseIsThere()).each(["fsync", "read", "fallocate", "lseek", "copy"] as const)(
  "a process that waits for %s",
  (call) => {
    let mount: MemoryMount;
    beforeEach(async () => {
      mount = await MemoryMount.start();
      for (const name of ["file", "other"]) writeFileSync(mount.at(name), "content");
      await mount.tell({ do: "hold" });
    });
    afterEach(async () => {
      await mount[Symbol.asyncDispose]();
    });
    const held = async (count: number): Promise<void> => {
      while ((await mount.state()).held !== count) await Bun.sleep(5);
    };
    const waitingProcess = (file: string) => {
      const script = join(import.meta.dir, "../support/waiter.ts");
      const command = [process.execPath, script, mount.at(file), call];
      return Bun.spawn(command, { stdout: "pipe" });
    };
    const waiter = async () => {
      const child = waitingProcess("file");
      await held(1);
      return child;
    };

    test("is not disturbed by a signal that it handles", async () => {
      const child = await waiter();
      child.kill("SIGUSR1");
      // Whatever comes of it has come when the next process waits as well.
      const next = waitingProcess("other");
      await held(2);
      await mount.tell({ do: "letGo" });
      expect(await new Response(child.stdout).text()).toBe("done\n");
      expect([await child.exited, await next.exited]).toEqual([0, 0]);
    });

    test("ends by Ctrl-C, also after another signal", async () => {
      const child = await waiter();
      child.kill("SIGUSR1");
      child.kill("SIGINT");
      await child.exited;
      expect(child.signalCode).toBe("SIGINT");
      await held(0);
    });

    test("ends by SIGKILL", async () => {
      const child = await waiter();
      child.kill("SIGKILL");
      await child.exited;
      await held(0);
    });
  },
);
