// Commands that change files path by path: touch, truncate, chmod, chown, ln. What the system's own programs make of the same arguments on a local
// directory is what they are measured by.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../support/local-cluster.ts";
import { dfsIn, Mirror, rowsIn } from "./support/mirror.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
});
afterAll(() => cluster.stop());

interface Row {
  readonly path: string;
  readonly type: string;
  readonly mode: string;
  readonly size: number;
  readonly inode: string;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly atimeNs: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

const run = (...words: string[]) => dfsIn(cluster, ...words);

const statOf = async (path: string): Promise<Row> => {
  const [row] = await rowsIn<Row>(cluster, "stat", path);
  if (row === undefined) throw new Error(`stat printed nothing for ${path}`);
  return row;
};

const isRoot = process.geteuid?.() === 0;
if (!isRoot) console.warn("skipped: comparing with chown(1) (needs root, who alone may use it)");

const LONG_NAME = "n".repeat(256);

describe("touch", () => {
  test("does what touch(1) does", async () => {
    const mirror = new Mirror(cluster, "touch");
    await mirror.run("mkdir", "-p", "touch/directory");
    await mirror.run("touch", "-d", "2020-02-02 02:02:02.020202020", "touch/a", "touch/directory");
    await mirror.run("touch", "-a", "-d", "@1.5", "touch/a");
    await mirror.run("touch", "-m", "-d", "2001-01-01T00:00Z", "touch/directory", "touch/b");
    await mirror.run("touch", "-c", "touch/none", "touch/none/none");
    await mirror.run("touch", "-am", "-r", "touch/a", "touch/c");
    await mirror.run("touch", "-m", "-r", "touch/a", "touch/b");
    await mirror.run("touch", "-a", "-d", "@7", "touch/b");
    await mirror.run("touch", "-d", "@-1", "touch");
    await mirror.expectSame("mode", "owner", "size", "times", "nlink");
    await mirror.run("touch", "touch/a/", "touch/none/x", "touch/d");
    await mirror.expectSame("mode", "owner", "size", "nlink");
  });

  test("takes the service's time, for both, and shows it with --json", async () => {
    const [made] = await rowsIn<Row>(cluster, "touch", "/now");
    expect(made).toMatchObject({ path: "/now", type: "file", size: 0 });
    const [row] = await rowsIn<Row>(cluster, "touch", "now");
    expect(row?.mtimeNs).toBe(row!.ctimeNs);
    expect(row?.atimeNs).toBe(row!.ctimeNs);
    expect(BigInt(row!.ctimeNs)).toBeGreaterThan(BigInt(made!.ctimeNs));
    expect((await run("touch", "/", "/now")).text).toBe("");
  });

  test("follows symbolic links, also to what is yet to be made, and does not go in circles", async () => {
    await run("mkdir", "/links");
    await run("ln", "-s", "missing", "/links/dangling");
    await run("ln", "-s", "circle", "/links/circle");
    await run("touch", "-d", "@5", "/links/dangling");
    expect(await statOf("/links/missing")).toMatchObject({ mtimeNs: "5000000000", size: 0 });
    const failed = await run("touch", "/links/circle");
    expect(failed).toMatchObject({
      code: 1,
      stderr: "dfs touch: cannot touch /links/circle: too many symbolic links\n",
    });
  });

  test("tells what fails and goes on", async () => {
    const result = await run("touch", `/${LONG_NAME}`, "/no/file", "/now/x", "/fine");
    expect(result.code).toBe(3);
    expect(result.stderr).toContain("it has 256 bytes\na name has at most 255\n");
    expect(result.stderr).toContain("cannot touch /no/file: no such file or directory\n");
    expect(result.stderr).toContain("cannot touch /now/x: not a directory\n");
    expect((await statOf("/fine")).size).toBe(0);
    expect((await run("touch", "/no/file")).code).toBe(4);
  });

  test.each([
    [["-d", "soon", "/x"], 2, "-d soon: expected a date"],
    [["-d", "@1", "-r", "/now", "/x"], 2, "give one of them"],
    [["-r", "/nothing", "/x"], 4, "cannot take the times of /nothing: no such file or directory"],
    [[""], 2, "a path is empty"],
  ])("%j is refused", async (args, code, message) => {
    const result = await run("touch", ...args);
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr).toContain(message);
    expect((await run("stat", "/x")).code).toBe(4);
  });
});

describe("truncate", () => {
  test("does what truncate(1) does", async () => {
    const mirror = new Mirror(cluster, "truncate");
    await mirror.run("mkdir", "truncate", "truncate/directory");
    for (const size of ["0", "10", "+7", "-3", "-100", "1K", "+1KB", "-1k", "2MiB", "1G"]) {
      await mirror.run("truncate", "-s", size, "truncate/a", `truncate/${size.replace("+", "p")}`);
    }
    await mirror.run("truncate", "-s", "1001", "truncate/b", "truncate/c", "truncate/d");
    for (const size of ["<1001", ">1000", "/1000", ">1500", "%1024", "<2000", "/3000", "%10"]) {
      await mirror.run("truncate", "--size", size, "truncate/b");
    }
    await mirror.run("truncate", "-c", "-s", "5", "truncate/none");
    await mirror.run("truncate", "-r", "truncate/b", "truncate/c");
    await mirror.run("truncate", "-r", "truncate/c", "-s", "+5", "truncate/d", "truncate/e");
    await mirror.run("truncate", "-s", "8", "truncate/directory", "truncate/a/", "truncate/none/x");
    await mirror.run("truncate", "-s", "9223372036854775807", "truncate/a");
    await mirror.run("truncate", "-s", "+9223372036854775807", "truncate/a");
    await mirror.expectSame("mode", "owner", "size", "nlink");
  });

  test("cuts content off for good, and what is new reads as zeros", async () => {
    writeFileSync(cluster.path("content"), Buffer.alloc(100_000, "x"));
    await cluster.ok("put", "content", "/content");
    const [cut] = await rowsIn<Row>(cluster, "truncate", "-s", "70000", "/content");
    expect(cut).toMatchObject({ path: "/content", size: 70_000, allocated: 70_000 });
    const [grown] = await rowsIn<Row>(cluster, "truncate", "-s", "+30000", "/content");
    expect(grown).toMatchObject({ size: 100_000, allocated: 70_000, inode: cut!.inode });
    const { stdout } = await cluster.ok("cat", "/content");
    expect(
      stdout.equals(Buffer.concat([Buffer.alloc(70_000, "x"), Buffer.alloc(30_000)])),
    ).toBeTrue();
  });

  test("takes any length up to the largest, and says what that is", async () => {
    const most = Number.MAX_SAFE_INTEGER;
    expect((await rowsIn<Row>(cluster, "truncate", "-s", `${most}`, "/most"))[0]?.size).toBe(most);
    const result = await run("truncate", "-s", "+1", "/most", "/one");
    expect(result).toMatchObject({
      code: 3,
      stderr:
        "dfs truncate: cannot truncate /most: it would have 9007199254740992 bytes\n" +
        "a file has at most 9,007,199,254,740,991\n",
    });
    expect((await statOf("/most")).size).toBe(most);
    expect((await statOf("/one")).size).toBe(1);
    expect((await run("truncate", "-s", "8E", "/one")).code).toBe(2);
    expect((await run("truncate", "-s", "7E", "/one")).code).toBe(1);
    expect((await statOf("/one")).size).toBe(1);
  });

  test.each([
    [["/x"], 2, "no length is given"],
    [["-s", "", "/x"], 2, "expected a size"],
    [["-s", "10X", "/x"], 2, "expected a size"],
    [["-s", "1.5K", "/x"], 2, "expected a size"],
    [["-s", "--5", "/x"], 2, "expected a size"],
    [["-s", "%0", "/x"], 2, "no multiples of 0"],
    [["-s", "5", "-r", "/content", "/x"], 2, "-r and -s both name a length"],
    [["-r", "/nothing", "/x"], 4, "cannot take the length of /nothing"],
    [["-s", "1", "/"], 1, "cannot truncate /: is a directory"],
    [["-s", "1", "/no/x"], 4, "cannot truncate /no/x: no such file or directory"],
  ])("%j is refused", async (args, code, message) => {
    const result = await run("truncate", ...args);
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr).toContain(message);
    expect((await run("stat", "/x")).code).toBe(4);
  });
});

describe("chmod", () => {
  test("does what chmod(1) does, with -R and through symbolic links", async () => {
    const mirror = new Mirror(cluster, "chmod");
    await mirror.run("mkdir", "-p", "chmod/tree/sub/deep");
    await mirror.run("touch", "chmod/a", "chmod/b", "chmod/tree/x", "chmod/tree/sub/y");
    await mirror.run("ln", "-s", "tree", "chmod/to-tree");
    await mirror.run("ln", "-s", "../a", "chmod/tree/to-a");
    await mirror.run("ln", "-s", "nowhere", "chmod/tree/dangling");
    await mirror.run("chmod", "751", "chmod/a", "chmod/tree/x", "chmod/b");
    await mirror.run("chmod", "-x", "chmod/b", "chmod/a");
    await mirror.run("chmod", "u+x,g=u", "chmod/tree/x");
    await mirror.run("chmod", "2775", "chmod/tree", "chmod/tree/sub");
    await mirror.run("chmod", "-R", "go-w,u=rwX", "chmod/tree");
    await mirror.expectSame("mode");
    await mirror.run("chmod", "-R", "o+t,o-r", "chmod/to-tree", "chmod/a");
    await mirror.run("chmod", "700", "chmod/tree/to-a", "chmod/tree/dangling", "chmod/none");
    await mirror.run("chmod", "0", "chmod/a");
    await mirror.run("chmod", "500", "chmod"); // whoever is not the superuser has to look at it still
    await mirror.expectSame("mode", "owner", "nlink");
  });

  test("tells what it did, with -v and with --json", async () => {
    await run("touch", "/told");
    await run("chmod", "600", "/told");
    expect((await run("chmod", "-v", "g+rs", "/told", "told")).text).toBe(
      "/told: mode was 0600 (rw-------), is 2640 (rw-r-S---)\n" +
        "/told: mode stays 2640 (rw-r-S---)\n",
    );
    const [row] = await rowsIn(cluster, "chmod", "--", "-s", "/told");
    expect(row).toMatchObject({ path: "/told", before: "2640", mode: "0640", type: "file" });
  });

  test("goes through a tree of many files, and tells what fails while the rest goes on", async () => {
    const local = cluster.path("many");
    mkdirSync(join(local, "sub"), { recursive: true });
    for (let index = 0; index < 300; index++) writeFileSync(join(local, `sub/f${index}`), "");
    await cluster.ok("put", "-r", local, "/many");
    const rows = await rowsIn<Row>(cluster, "chmod", "-R", "4711", "/many");
    expect(rows.map(({ mode }) => mode)).toEqual(Array.from({ length: 302 }, () => "4711"));
    const failed = await run("chmod", "-R", "-v", "700", "/none", "/many/sub/f7/", "/many/sub/f8");
    expect(failed).toEqual({
      code: 3,
      text: "/many/sub/f8: mode was 4711 (rws--x--x), is 0700 (rwx------)\n",
      stderr:
        "dfs chmod: cannot change the mode of /none: no such file or directory\n" +
        "dfs chmod: cannot change the mode of /many/sub/f7/: not a directory\n",
    });
  });

  test.each([
    [["-x"], 2, "something is missing"], // a mode, and no path
    [["888", "/told"], 2, "mode 888: expected a mode"],
    [["u+q", "/told"], 2, "mode u+q: expected a mode"],
    [["10000", "/told"], 2, "mode 10000: expected a mode of at most 7777"],
    [["", "/told"], 2, "expected a mode"],
    [["u+x,", "/told"], 2, "expected a mode"],
    [["-R", "755", ""], 2, "a path is empty"],
    [["755", "/none"], 4, "cannot change the mode of /none: no such file or directory"],
  ])("%j is refused", async (args, code, message) => {
    const result = await cluster.run(["chmod", ...args]);
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr).toContain(message);
    expect((await statOf("/told")).mode).toBe("0640");
  });
});

describe("chown", () => {
  test.if(isRoot)("does what chown(1) does, to set-id bits and symbolic links too", async () => {
    const mirror = new Mirror(cluster, "chown");
    await mirror.run("mkdir", "-p", "chown/tree/sub", "chown/other");
    await mirror.run("touch", "chown/a", "chown/b", "chown/c", "chown/tree/x", "chown/other/y");
    await mirror.run("ln", "-s", "a", "chown/to-a");
    await mirror.run("ln", "-s", "b", "chown/to-b");
    await mirror.run("ln", "-s", "../other", "chown/tree/to-other");
    await mirror.run("ln", "-s", "tree", "chown/to-tree");
    await mirror.run("chmod", "6755", "chown/a", "chown/tree", "chown/tree/x");
    await mirror.run("chmod", "6745", "chown/b");
    await mirror.run("chown", "1234:2345", "chown/to-a", "chown/b", "chown/other");
    await mirror.run("chown", "-h", "+77", "chown/to-b");
    await mirror.run("chown", ":daemon", "chown/c");
    await mirror.run("chown", "-R", "bin:", "chown/tree", "chown/none");
    await mirror.expectSame("mode", "owner");
    await mirror.run("chown", "-R", "bin:", "chown/to-tree");
    await mirror.run("chown", "daemon", "chown/to-tree", "chown/c", "chown");
    await mirror.expectSame("mode", "owner", "nlink");
  });

  test("tells what it did, with -v and with --json", async () => {
    await run("touch", "/owned");
    await run("chown", "0:0", "/owned");
    expect((await run("chown", "-v", "4000000000:99999", "/owned", "owned")).text).toBe(
      "/owned: owner was root:root, is 4000000000:99999\n" +
        "/owned: owner stays 4000000000:99999\n",
    );
    const [row] = await rowsIn(cluster, "chown", "root", "/owned");
    const before = { uidBefore: 4_000_000_000, gidBefore: 99_999 };
    expect(row).toMatchObject({ path: "/owned", uid: 0, gid: 99_999, ...before });
    const failed = await run("chown", "7", "/none", "/owned/", "/owned", "/");
    expect(failed).toEqual({
      code: 3,
      text: "",
      stderr:
        "dfs chown: cannot change the owner of /none: no such file or directory\n" +
        "dfs chown: cannot change the owner of /owned/: not a directory\n",
    });
    expect(await statOf("/")).toMatchObject({ uid: 7 });
    await run("chown", "root", "/", "/owned");
  });

  test.each([
    [["root"], 2, "something is missing"],
    [["nobody-has-this-name", "/owned"], 2, "knows no user nobody-has-this-name"],
    [["root:nobody-has-this", "/owned"], 2, "knows no group nobody-has-this"],
    [["4294967295", "/owned"], 2, "a number up to 4294967294"],
    [["-1", "/owned"], 2, "unknown option -1"],
    [["55555:", "/owned"], 2, "does not know the group of user 55555"],
    [[":", "/owned"], 2, "an owner is needed"],
    [["+root", "/owned"], 2, "knows no user +root"],
    [["root", "/none"], 4, "cannot change the owner of /none: no such file or directory"],
  ])("%j is refused", async (args, code, message) => {
    const result = await cluster.run(["chown", ...args]);
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr).toContain(message);
    expect(await statOf("/owned")).toMatchObject({ uid: 0, gid: 99_999 });
  });
});

describe("ln", () => {
  test("does what ln(1) does", async () => {
    const mirror = new Mirror(cluster, "ln");
    await mirror.run("mkdir", "-p", "ln/directory", "ln/other");
    await mirror.run("touch", "ln/a", "ln/b", "ln/other/a");
    await mirror.run("ln", "ln/a", "ln/a2");
    await mirror.run("ln", "ln/a", "ln/b", "ln/none", "ln/directory");
    await mirror.run("ln", "-s", "directory", "ln/to-directory");
    await mirror.run("ln", "-s", "no where/at all", "ln/dangling");
    await mirror.run("ln", "-s", "self", "ln/self");
    await mirror.run("ln", "-s", "/absolute", "../up", "ln/to-directory/");
    await mirror.run("ln", "ln/dangling", "ln/dangling2"); // of the link itself
    await mirror.expectSame("nlink", "owner");
    await mirror.run("ln", "ln/a", "ln/b");
    await mirror.run("ln", "-f", "ln/a", "ln/b");
    await mirror.run("ln", "-f", "ln/a", "ln/a2"); // names of one file already
    await mirror.run("ln", "-f", "ln/a", "ln/a");
    await mirror.run("ln", "-f", "ln/a", "ln/directory/../a");
    await mirror.run("ln", "-s", "x", "ln/dangling");
    await mirror.run("ln", "-sf", "x", "ln/dangling");
    await mirror.run("ln", "-sf", "other", "ln/to-directory"); // in it
    await mirror.run("ln", "-sfn", "other", "ln/to-directory"); // in its place
    await mirror.run("ln", "-f", "ln/a", "ln/other/a", "ln/directory"); // two of one name
    await mirror.run("ln", "ln/directory", "ln/hard");
    await mirror.run("ln", "ln/a", "ln/none/x");
    await mirror.run("ln", "ln/a", "ln/new/");
    await mirror.run("ln", "ln/a/", "ln/new");
    await mirror.run("ln", "-sf", "x", "ln/directory/../other");
    await mirror.expectSame("nlink", "owner");
  });

  test("tells what it did, with -v and with --json", async () => {
    await run("touch", "/one");
    const made = await run("ln", "-v", "/one", "/two");
    expect(made).toEqual({ code: 0, stderr: "", text: "/two => /one\n" });
    expect((await run("ln", "-sv", "one two", "/three")).text).toBe("/three -> one two\n");
    const [row] = await rowsIn(cluster, "ln", "-sf", "nowhere", "/three");
    expect(row).toMatchObject({ path: "/three", type: "symlink", target: "nowhere", nlink: 1 });
    expect((await statOf("/one")).nlink).toBe(2);
    const left = await rowsIn<Row>(cluster, "ls", "/");
    expect(left.filter(({ path }) => path.startsWith("/.dfs"))).toEqual([]);
  });

  test.each([
    [["", "/x"], 2, "a target is empty"],
    [["/one", "/one", "/x"], 4, "cannot make 2 links as /x: there is no such directory"],
    [["/none", "/x"], 4, "cannot make the link /x to /none: no such file or directory"],
    [["/one", "/none/x"], 4, "no such file or directory"],
    [["/", "/x"], 1, "a directory has one name only"],
    [["/one", "/two"], 1, "cannot make the link /two to /one: exists already"],
    [["-s", "t".repeat(4096), "/x"], 1, "the target has 4096 bytes"],
    [["-s", "t", `/${LONG_NAME}`], 1, "it has 256 bytes"],
    [["-s", "/", "/"], 1, "cannot make the link / to /"],
  ])("%j is refused", async (args, code, message) => {
    const result = await run("ln", ...args);
    expect(result).toMatchObject({ code, text: "" });
    expect(result.stderr).toContain(message);
    expect((await run("stat", "/x")).code).toBe(4);
  });
});
