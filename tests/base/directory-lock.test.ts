import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockDirectory, lockOwner } from "../../src/base/directory-lock.ts";

const root = mkdtempSync(join(tmpdir(), "dfs-lock-"));
afterAll(() => rmSync(root, { recursive: true }));

const module = join(import.meta.dir, "../../src/base/directory-lock.ts");
const holdForever = `
  const { lockDirectory } = await import(${JSON.stringify(module)});
  lockDirectory(process.argv[1]);
  console.log("held");
  setInterval(() => {}, 1000);
`;

async function spawnOwner(dir: string) {
  const child = Bun.spawn([process.execPath, "-e", holdForever, dir], { stdout: "pipe" });
  const reader = child.stdout.getReader();
  await reader.read();
  reader.releaseLock();
  return child;
}

describe("lockDirectory", () => {
  test("a directory that a live process owns is refused, naming its pid", async () => {
    const dir = mkdtempSync(join(root, "live-"));
    const owner = await spawnOwner(dir);
    try {
      expect(lockOwner(dir)).toBe(owner.pid);
      expect(() => lockDirectory(dir)).toThrow(`in use by process ${owner.pid}`);
    } finally {
      owner.kill("SIGKILL");
      await owner.exited;
    }
  });

  test("the lock of a killed process is free at once", async () => {
    const dir = mkdtempSync(join(root, "killed-"));
    const owner = await spawnOwner(dir);
    owner.kill("SIGKILL");
    await owner.exited;
    const lock = lockDirectory(dir);
    expect(lockOwner(dir)).toBe(process.pid);
    lock.release();
    expect(lockOwner(dir)).toBeUndefined();
  });

  test("a released directory can be taken again", () => {
    const dir = mkdtempSync(join(root, "again-"));
    lockDirectory(dir).release();
    lockDirectory(dir).release();
    expect(lockOwner(join(dir, "nowhere"))).toBeUndefined();
  });
});
