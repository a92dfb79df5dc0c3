// What the kernel's table of mounts says, and how it writes it.

import { describe, expect, test } from "bun:test";

import { parseMountLine, unescapeMountField } from "../../../src/mount/kernel/system/mountinfo.ts";

describe("a line of /proc/self/mountinfo", () => {
  test("is read with optional fields and without", () => {
    const mount = {
      device: "0:52",
      mountPoint: "/mnt/dfs",
      options: ["rw", "nosuid"],
      type: "fuse.dfs",
      source: "dfs#127.0.0.1:4000",
    };
    const rest = "- fuse.dfs dfs#127.0.0.1:4000 rw,user_id=0";
    const start = "36 35 0:52 / /mnt/dfs rw,nosuid";
    expect(parseMountLine(`${start} ${rest}`)).toEqual(mount);
    expect(parseMountLine(`${start} shared:1 master:2 ${rest}`)).toEqual(mount);
  });

  test("has blanks, tabs, newlines and backslashes as octal numbers", () => {
    expect(unescapeMountField("/a\\040b\\011c\\012d\\134e\\134040")).toBe("/a b\tc\nd\\e\\040");
    expect(parseMountLine("1 2 0:1 / /my\\040dir rw - tmpfs my\\040source rw")).toMatchObject({
      mountPoint: "/my dir",
      source: "my source",
    });
  });

  test("that is none is passed over", () => {
    expect(parseMountLine("")).toBeUndefined();
    expect(parseMountLine("1 2 0:1 / /mnt rw")).toBeUndefined();
    expect(parseMountLine("1 2 0:1 - tmpfs x rw")).toBeUndefined();
  });
});
