// dfs xattr against a real cluster.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { LocalCluster, type CommandResult } from "../support/local-cluster.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3");
  await cluster.ok("mkdir", "/one", "/two", "/bare");
});
afterAll(() => cluster.stop());

const xattr = (...args: string[]): Promise<CommandResult> => cluster.run(["xattr", ...args]);

describe("xattr", () => {
  test("sets, lists, gets and removes, with one path and with several", async () => {
    await cluster.ok("xattr", "set", "user.color", "bl\u00fce sky", "/one", "/two");
    await cluster.ok("xattr", "set", "user.empty", "", "/one");
    expect((await xattr("list", "/one")).text).toBe("user.color\nuser.empty\n");
    expect((await xattr("list", "/one", "/two", "/bare")).text).toBe(
      "/one: user.color\n/one: user.empty\n/two: user.color\n",
    );
    expect((await xattr("get", "user.color", "/one")).text).toBe("bl\u00fce sky\n");
    expect((await xattr("get", "user.empty", "/one")).text).toBe("\n");
    expect((await xattr("get", "-x", "user.color", "/one", "/two")).text).toBe(
      "/one: 626cc3bc6520736b79\n/two: 626cc3bc6520736b79\n",
    );
    await cluster.ok("xattr", "rm", "user.color", "/one");
    expect((await xattr("list", "/one")).text).toBe("user.empty\n");
    const rows = await cluster.rows("xattr", "list", "/one", "/two");
    expect(rows).toEqual([
      { path: "/one", name: "user.empty" },
      { path: "/two", name: "user.color" },
    ]);
  }, 120_000); // ten commands

  test("takes values as hexadecimal digits and from standard input, to the byte", async () => {
    await cluster.ok("xattr", "set", "-x", "user.bytes", "0x001bff0a", "/one");
    expect((await xattr("get", "user.bytes", "/one")).text).toBe("\\x00\\x1b\\xff\\n\n");
    const raw = await xattr("get", "--raw", "user.bytes", "/one");
    expect(raw.stdout.toString("hex")).toBe("001bff0a");
    expect(await cluster.rows("xattr", "get", "user.bytes", "/one")).toEqual([
      expect.objectContaining({ name: "user.bytes", valueBase64: "ABv/Cg==" }),
    ]);
    const longest = Buffer.alloc(65_536, "long\n");
    const stored = { stdin: longest };
    const set = ["xattr", "set", "user.long", "-", "/one", "/two"];
    expect(await cluster.run(set, stored)).toMatchObject({ code: 0, stderr: "" });
    expect((await xattr("get", "--raw", "user.long", "/two")).stdout.equals(longest)).toBe(true);
    const over = await cluster.run(set, { stdin: Buffer.alloc(65_537) });
    expect(over).toMatchObject({ code: 2 });
    expect(over.stderr).toContain("the value is too long: at most 65536 bytes");
    const digits = { stdin: Buffer.from("CAFE\n") };
    await cluster.run(["xattr", "set", "-x", "user.digits", "-", "/one"], digits);
    expect((await xattr("get", "-x", "user.digits", "/one")).text).toBe("cafe\n");
    await cluster.ok("xattr", "set", "--", "user.dash", "-x", "/one");
    expect((await xattr("get", "user.dash", "/one")).text).toBe("-x\n");
  }, 120_000); // a dozen commands

  test("tells what could not be done with which path, and goes on", async () => {
    await cluster.ok("xattr", "set", "user.here", "yes", "/one");
    const some = await xattr("get", "user.here", "/no", "/bare", "/one");
    expect(some).toMatchObject({ code: 3, text: "/one: yes\n" });
    expect(some.stderr).toBe(
      "dfs xattr get: cannot get user.here of /no: no such file or directory\n" +
        'dfs xattr get: cannot get user.here of /bare: there is no attribute "user.here"\n',
    );
    expect(await xattr("rm", "user.here", "/bare")).toMatchObject({ code: 1, text: "" });
    expect(await xattr("list", "/no")).toMatchObject({ code: 4, text: "" });
    expect(await xattr("set", "--create", "user.here", "no", "/one")).toMatchObject({ code: 1 });
    expect(await xattr("set", "--replace", "user.new", "no", "/one")).toMatchObject({ code: 1 });
    expect((await xattr("get", "user.here", "/one")).text).toBe("yes\n");
  }, 120_000); // seven commands

  test.each([
    [["set", "color", "red", "/one"], "did you mean user.color?"],
    [["set", "trusted.color", "red", "/one"], "cannot use the name trusted.color"],
    [["rm", "user.", "/one"], "cannot use the name user."],
    [["get", "color", "/one"], "did you mean user.color?"],
    [["set", "-x", "user.color", "xyz", "/one"], "not in hexadecimal"],
    [["set", "--create", "--replace", "user.color", "red", "/one"], "exclude each other"],
    [["get", "--raw", "user.color", "/one", "/two"], "--raw is for one path"],
    [["set", "user.color", "red"], "something is missing"],
    [[], "there is: dfs xattr list, dfs xattr get, dfs xattr set, dfs xattr rm"],
  ])("%j is a usage error", async (args, reason) => {
    const result = await xattr(...args);
    expect(result).toMatchObject({ code: 2, text: "" });
    expect(result.stderr).toContain(reason);
    expect(result.stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(3);
  });
});
