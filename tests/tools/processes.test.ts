// Who runs in a server's directory, and how it is stopped: real processes, real locks.

import { afterAll, afterEach, describe, expect, spyOn, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serverIn, stopServer } from "../../src/tools/cluster/processes.ts";
import { canRun, whyNotAsRoot } from "../support/conditions.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("processes");
afterAll(() => folder.remove());

const MODULE = join(import.meta.dir, "../../src/base/directory-lock.ts");
const started: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of started.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
});

function freshDirectory(name: string): string {
  const dir = join(folder.path, name);
  mkdirSync(dir);
  return dir;
}

/** A process that owns `dir`, and does `onTerm` when it is asked to end. */
async function owner(dir: string, onTerm: string): Promise<Bun.Subprocess> {
  const script = `
    const { lockDirectory } = await import(${JSON.stringify(MODULE)});
    lockDirectory(process.argv[1]);
    process.on("SIGTERM", () => { ${onTerm} });
    console.log("held");
    setInterval(() => {}, 1000);
  `;
  const child = Bun.spawn([process.execPath, "-e", script, dir], { stdout: "pipe" });
  started.push(child);
  const reader = child.stdout.getReader();
  await reader.read();
  reader.releaseLock();
  return child;
}

describe("serverIn", () => {
  test("is the process that holds the lock, and nobody when it is gone", async () => {
    const dir = freshDirectory("held");
    expect(serverIn(dir)).toBeUndefined();
    expect(serverIn(join(dir, "missing"))).toBeUndefined();
    const child = await owner(dir, "process.exit(0)");
    expect(serverIn(dir)).toBe(child.pid);
    child.kill("SIGKILL");
    await child.exited;
    expect(serverIn(dir)).toBeUndefined();
  });

  test("is nobody when another process's pid stands in a lock file that nobody holds", () => {
    const dir = freshDirectory("stale");
    writeFileSync(join(dir, "lock"), `${process.pid}\n`);
    expect(serverIn(dir)).toBeUndefined();
  });

  test("is nobody when the lock is held, but the pid in the file is not its holder's", async () => {
    const dir = freshDirectory("foreign");
    await owner(dir, "process.exit(0)");
    const innocent = Bun.spawn(["sleep", "600"]);
    started.push(innocent);
    writeFileSync(join(dir, "lock"), `${innocent.pid}\n`);
    expect(serverIn(dir)).toBeUndefined();
    expect(await stopServer(dir, 100)).toEqual({ how: "was not running", pid: undefined });
    expect(innocent.exitCode).toBeNull();
  });
});

// Only the superuser may look into a process that is just ending. For everybody else dfs drill failed in every other fault, and
// left a stack trace and its scratch cluster behind; dfs down could do the same.
describe.if(canRun("what another user sees of a server", whyNotAsRoot()))("another user", () => {
  const OTHER = 65534;

  /** Where others may look, unlike in the temporary folder of the suite. */
  function openDirectory(): string {
    const dir = mkdtempSync("/tmp/dfs-processes-");
    chmodSync(dir, 0o755);
    return dir;
  }

  test("takes the lock's word for a process that cannot be looked into", async () => {
    const dir = openDirectory();
    try {
      const child = await owner(dir, "process.exit(0)");
      chmodSync(join(dir, "lock"), 0o644);
      process.seteuid!(OTHER);
      let pid: number | undefined;
      try {
        pid = serverIn(dir);
      } finally {
        process.seteuid!(0);
      }
      expect(pid).toBe(child.pid);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe("stopServer", () => {
  test("says whose the process is that it may not end", async () => {
    const dir = freshDirectory("others");
    const { pid } = await owner(dir, "process.exit(0)");
    const refused = Object.assign(new Error("kill() failed: EPERM"), { code: "EPERM" });
    const kill = spyOn(process, "kill").mockImplementation(() => {
      throw refused;
    });
    try {
      const told = `cannot end process ${pid}: it belongs to another user`;
      await stopServer(dir, 100).then(
        () => expect.unreachable(),
        (error: unknown) => expect(String(error)).toContain(told),
      );
    } finally {
      kill.mockRestore();
    }
  });

  test("asks, and waits until the process has ended", async () => {
    const dir = freshDirectory("asks");
    const child = await owner(dir, "setTimeout(() => process.exit(7), 50)");
    expect(await stopServer(dir)).toEqual({ how: "stopped", pid: child.pid });
    expect(await child.exited).toBe(7);
  });

  test("kills what does not end when asked", async () => {
    const dir = freshDirectory("kills");
    const child = await owner(dir, "");
    expect(await stopServer(dir, 50)).toEqual({ how: "killed", pid: child.pid });
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
  });
});
