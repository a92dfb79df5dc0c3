// The kernel's table of mounts, and the note of which process serves what.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDfsError } from "../../src/base/errors.ts";
import {
  mountAt,
  mountPointPath,
  mountTable,
  parseMountTable,
} from "../../src/tools/mounting/mount-table.ts";
import {
  claimMountPoint,
  forgetMountPoint,
  mountDirectory,
  mountRecord,
  knownMounts,
  servingProcess,
} from "../../src/tools/mounting/registry.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("mount-table");
afterAll(() => folder.remove());

const TABLE = String.raw`22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=continue
31 22 0:28 / /mnt/with\040blank\134and\011tab rw,nosuid,nodev - fuse.dfs 127.0.0.1:7000 rw,user_id=1000,group_id=1000
32 22 0:29 / /mnt/twice rw - tmpfs none rw
33 32 0:30 / /mnt/twice rw master:2 propagate_from:1 - fuse.dfs dfs#h:1 rw,user_id=0,group_id=0,allow_other

`;

describe("the table of mounts", () => {
  test("has mount points, types, sources and users, with blanks in names", () => {
    expect(parseMountTable(TABLE)).toEqual([
      { mountPoint: "/", type: "ext4", source: "/dev/root", uid: undefined },
      {
        mountPoint: "/mnt/with blank\\and\ttab",
        type: "fuse.dfs",
        source: "127.0.0.1:7000",
        uid: 1000,
      },
      { mountPoint: "/mnt/twice", type: "tmpfs", source: "none", uid: undefined },
      { mountPoint: "/mnt/twice", type: "fuse.dfs", source: "dfs#h:1", uid: 0 },
    ]);
  });

  test("of mounts on top of each other the last one is seen", () => {
    const table = parseMountTable(TABLE);
    expect(mountAt("/mnt/twice", table)?.type).toBe("fuse.dfs");
    expect(mountAt("/mnt", table)).toBeUndefined();
  });

  test("of this machine has the root directory", () => {
    expect(mountAt("/", mountTable())?.mountPoint).toBe("/");
  });

  test("a mount point is found through symbolic links, slashes and dots", () => {
    const inside = join(folder.path, "real", "inside");
    mkdirSync(inside, { recursive: true });
    symlinkSync("real", join(folder.path, "link"));
    symlinkSync("link/inside", join(folder.path, "direct"));
    for (const way of ["real/inside", "link/inside/", "./link/../real/inside/.", "direct"]) {
      expect(mountPointPath(`${folder.path}/${way}`)).toBe(inside);
    }
    expect(mountPointPath(join(folder.path, "missing"))).toBe(join(folder.path, "missing"));
    expect(mountPointPath("/proc/")).toBe("/proc");
  });
});

describe("who serves a mount", () => {
  const uid = process.getuid?.() ?? 0;

  test("is noted while it is served, and by one process only", () => {
    const record = { mountPoint: join(folder.path, "m"), meta: "127.0.0.1:1", dir: "/some/dir" };
    const { mountPoint } = record;
    expect(servingProcess(uid, mountPoint)).toBeUndefined();
    const claim = claimMountPoint(record);
    expect(servingProcess(uid, mountPoint)).toBe(process.pid);
    expect(mountRecord(uid, mountPoint)).toEqual(record);
    expect(knownMounts(uid)).toContainEqual(record);
    expect(() => claimMountPoint(record)).toThrow(`process ${process.pid} serves it already`);
    claim.release();
    expect(servingProcess(uid, mountPoint)).toBeUndefined();
    expect(knownMounts(uid)).not.toContainEqual(record);
    expect(existsSync(mountDirectory(uid, mountPoint))).toBe(false);
  });

  test("is nobody when its process was killed, and the next one takes over", async () => {
    const mountPoint = join(folder.path, "killed");
    const script = `
      const { claimMountPoint } = await import(${JSON.stringify(join(import.meta.dir, "../../src/tools/mounting/registry.ts"))});
      claimMountPoint({ mountPoint: process.argv[1], meta: "127.0.0.1:1" });
      console.log("claimed");
      setInterval(() => {}, 1000);
    `;
    const child = Bun.spawn([process.execPath, "-e", script, mountPoint], { stdout: "pipe" });
    const reader = child.stdout.getReader();
    await reader.read();
    expect(servingProcess(uid, mountPoint)).toBe(child.pid);
    child.kill("SIGKILL");
    await child.exited;
    reader.releaseLock();
    expect(servingProcess(uid, mountPoint)).toBeUndefined();
    const claim = claimMountPoint({ mountPoint, meta: "127.0.0.1:2" });
    expect(mountRecord(uid, mountPoint)?.meta).toBe("127.0.0.1:2");
    forgetMountPoint(uid, mountPoint); // has no effect on one that is served
    expect(servingProcess(uid, mountPoint)).toBe(process.pid);
    claim.release();
  });

  test("is forgotten with a mount whose process was killed", () => {
    const mountPoint = join(folder.path, "forgotten");
    const dir = mountDirectory(uid, mountPoint);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "mount.json"), JSON.stringify({ mountPoint, meta: "127.0.0.1:1" }));
    expect(knownMounts(uid).map((each) => each.mountPoint)).toContain(mountPoint);
    forgetMountPoint(uid, mountPoint);
    expect(existsSync(dir)).toBe(false);
    forgetMountPoint(uid, mountPoint);
  });

  test("two mount points do not get in each other's way", () => {
    const claims = ["one", "two"].map((name) =>
      claimMountPoint({ mountPoint: join(folder.path, name), meta: "127.0.0.1:1" }),
    );
    try {
      expect(() => claimMountPoint({ mountPoint: join(folder.path, "one"), meta: "h:1" })).toThrow(
        "serves it already",
      );
    } catch (error) {
      expect(isDfsError(error, "locked")).toBe(true);
    } finally {
      for (const claim of claims) claim.release();
    }
  });
});
