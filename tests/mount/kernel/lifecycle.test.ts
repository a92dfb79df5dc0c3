// The driver `kernel`: how a mount begins and ends. Servers are killed here, mount points are left behind and found again.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { mountAt } from "../../../src/base/mounts/table.ts";
import { unmountPath } from "../../../src/mount/kernel/system/unmount.ts";
import { messageOfFailure } from "../../support/failure.ts";
import { fuseIsThere, MemoryMount } from "../support/memory-mount.ts";

const NOBODY = 65_534;

/** What a user without privileges needs for a mount; an explanation when something is missing. */
function whyNoUserMount(): string | undefined {
  if (process.getuid?.() !== 0) return undefined;
  if (Bun.which("fusermount3") === null) return "fusermount3 is missing (package fuse3)";
  if (Bun.which("setpriv") === null) return "setpriv is missing (package util-linux)";
  if ((statSync("/dev/fuse").mode & 0o006) !== 0o006) return "/dev/fuse is closed to other users";
  const command = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
  const probe = Bun.spawnSync([...command, process.execPath, "--version"]);
  return probe.success ? undefined : "other users may not run this Bun";
}

describe.skipIf(!fuseIsThere())("the end of a mount", () => {
  test("comes with unmount: the file system is stopped, the directory is what it was", async () => {
    await using mount = await MemoryMount.start();
    writeFileSync(mount.at("file"), "x");
    await mount.tell({ do: "unmount" });
    expect(await mount.ended()).toEqual({ ended: "unmounted", stopped: true });
    expect(await mount.process.exited).toBe(0);
    expect(mountAt(mount.path)).toBeUndefined();
    expect(existsSync(mount.at("file"))).toBe(false);
  });

  test("comes with umount by anybody else", async () => {
    await using mount = await MemoryMount.start();
    await unmountPath(mount.path);
    expect(await mount.ended()).toEqual({ ended: "unmounted", stopped: true });
    expect(await messageOfFailure(unmountPath(mount.path))).toContain("nothing is mounted there");
  });

  test("is refused while a file is open, comes later with lazy, at once with force", async () => {
    await using mount = await MemoryMount.start();
    writeFileSync(mount.at("file"), "open");
    const fd = openSync(mount.at("file"), "r");
    expect(await messageOfFailure(mount.tell({ do: "unmount" }))).toContain("it is in use");
    await mount.tell({ do: "unmount", lazy: true });
    expect(mountAt(mount.path)).toBeUndefined();
    expect(readFileSync(`/proc/self/fd/${fd}`, "utf8")).toBe("open");
    closeSync(fd);
    expect(await mount.ended()).toEqual({ ended: "unmounted", stopped: true });

    await using other = await MemoryMount.start();
    const held = openSync(other.at("file"), "w+");
    await unmountPath(other.path, { force: true });
    expect(await other.ended()).toEqual({ ended: "unmounted", stopped: true });
    expect(() => writeSync(held, "x")).toThrow("ENOTCONN");
    closeSync(held);
  });

  test("by SIGKILL leaves ENOTCONN behind, which the next start clears away", async () => {
    await using first = await MemoryMount.start();
    const fd = openSync(first.at("file"), "w+");
    await first.kill();
    expect(() => statSync(first.path)).toThrow("ENOTCONN");
    expect(() => writeSync(fd, "x")).toThrow("ENOTCONN");
    closeSync(fd);
    await using second = await MemoryMount.start({ mountPoint: first.path });
    expect(statSync(second.path).isDirectory()).toBe(true);
    writeFileSync(second.at("file"), "alive");
    expect(readFileSync(second.at("file"), "utf8")).toBe("alive");
    await second.tell({ do: "unmount" });
    expect(await second.ended()).toMatchObject({ ended: "unmounted" });
    // The dead one below is gone as well.
    expect(mountAt(first.path)).toBeUndefined();
  });
});

describe.skipIf(!fuseIsThere())("the beginning of a mount", () => {
  const start = (mountPoint: string): Promise<MemoryMount> => MemoryMount.start({ mountPoint });

  test("is refused where one is already, where nothing is, and on a file", async () => {
    await using mount = await MemoryMount.start();
    expect(await messageOfFailure(start(mount.path))).toContain(
      "dfs#127.0.0.1:4000 is mounted there already",
    );
    expect(await messageOfFailure(start(join(tmpdir(), "no-such-directory")))).toContain("ENOENT");
    const file = join(tmpdir(), "mount-point-file");
    writeFileSync(file, "");
    expect(await messageOfFailure(start(file))).toContain("it is not a directory");
    rmSync(file);
  });

  test("may have blanks and backslashes in its path", async () => {
    const path = mkdtempSync(join(tmpdir(), "mount \\ point\t"));
    await using mount = await start(path);
    writeFileSync(mount.at("file"), "x");
    expect(mountAt(path)?.type).toBe("fuse.dfs");
    await mount.tell({ do: "unmount" });
    expect(await mount.ended()).toMatchObject({ ended: "unmounted" });
  });

  test("may be read-only", async () => {
    await using mount = await MemoryMount.start({ readOnly: true });
    expect(() => writeFileSync(mount.at("file"), "x")).toThrow("EROFS");
  });

  const missing = whyNoUserMount();
  if (missing !== undefined) console.warn(`skipped: a mount by an ordinary user: ${missing}`);
  test.skipIf(missing !== undefined)(
    "needs no privileges, through fusermount3, and is its user's alone",
    async () => {
      const path = mkdtempSync("/tmp/dfs-user-mount-");
      const isRoot = process.getuid?.() === 0;
      if (isRoot) chownSync(path, NOBODY, NOBODY);
      chmodSync(path, 0o755);
      const user = `--reuid=${NOBODY} --regid=${NOBODY} --clear-groups`.split(" ");
      const become = isRoot ? ["setpriv", ...user] : [];
      await using mount = await MemoryMount.start({ mountPoint: path }, become);
      const found = mountAt(path);
      expect(found).toMatchObject({ type: "fuse.dfs", source: "dfs#127.0.0.1:4000" });
      expect(found?.options).toEqual(expect.arrayContaining(["nosuid", "nodev"]));
      const as = (...command: string[]) => Bun.spawnSync([...become, ...command]);
      expect(as("sh", "-c", `echo mine > ${path}/file && cat ${path}/file`).stdout.toString()).toBe(
        "mine\n",
      );
      if (isRoot) expect(() => readFileSync(mount.at("file"))).toThrow("EACCES");
      await mount.tell({ do: "unmount" });
      expect(await mount.ended()).toEqual({ ended: "unmounted", stopped: true });
    },
  );
});
