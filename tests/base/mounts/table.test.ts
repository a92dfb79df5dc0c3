// What the kernel's table of mounts says, and how it writes it.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import {
  mountAt,
  mountPointPath,
  mountTable,
  parseMountTable,
} from "../../../src/base/mounts/table.ts";
import { temporaryFolder } from "../../tools/support/files.ts";

const folder = temporaryFolder("mount-table");
afterAll(() => folder.remove());

const TABLE = String.raw`22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/root rw,errors=continue
31 22 0:28 / /mnt/with\040blank\134and\011tab rw,nosuid,nodev - fuse.dfs 127.0.0.1:7000 rw,user_id=1000,group_id=1000
32 22 0:29 / /mnt/twice rw - tmpfs my\040source rw
33 32 0:30 / /mnt/twice rw master:2 propagate_from:1 - fuse.dfs dfs#h:1 rw,user_id=0,group_id=0,allow_other

`;

describe("the table of mounts", () => {
  test("has mount points, options, types, sources and users, with blanks in names", () => {
    expect(parseMountTable(TABLE)).toEqual([
      {
        device: "0:21",
        mountPoint: "/",
        options: ["rw", "relatime"],
        type: "ext4",
        source: "/dev/root",
        uid: undefined,
      },
      {
        device: "0:28",
        mountPoint: "/mnt/with blank\\and\ttab",
        options: ["rw", "nosuid", "nodev"],
        type: "fuse.dfs",
        source: "127.0.0.1:7000",
        uid: 1000,
      },
      {
        device: "0:29",
        mountPoint: "/mnt/twice",
        options: ["rw"],
        type: "tmpfs",
        source: "my source",
        uid: undefined,
      },
      {
        device: "0:30",
        mountPoint: "/mnt/twice",
        options: ["rw"],
        type: "fuse.dfs",
        source: "dfs#h:1",
        uid: 0,
      },
    ]);
  });

  test("has newlines and backslashes as octal numbers, each read once", () => {
    const [entry] = parseMountTable(String.raw`1 2 0:1 / /a\012b\134040 rw - tmpfs x rw`);
    expect(entry?.mountPoint).toBe("/a\nb\\040");
  });

  test.each(["", "1 2 0:1 / /mnt rw", "1 2 0:1 - tmpfs x rw", "1 2 0:1 / /mnt rw - tmpfs"])(
    "%p is none of its lines and is passed over",
    (line) => {
      expect(parseMountTable(line)).toEqual([]);
    },
  );

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
