// put, get, cat, mv, rm, mkdir, ls on single files, by the rules of cp, on a real cluster.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { startedFrom } from "../support/bundled-project.ts";
import { finish, LocalCluster, until } from "../support/local-cluster.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
  writeFileSync(cluster.path("a.txt"), "a");
  writeFileSync(cluster.path("b.txt"), "b");
  mkdirSync(cluster.path("tree"));
  writeFileSync(cluster.path("tree", "x"), "x");
});
afterAll(() => cluster.stop());

/** Runs a line of bash in which "$0" is the dfs command. */
function shell(line: string) {
  const child = Bun.spawn(["bash", "-c", line, join(startedFrom(), "bin/dfs")], {
    cwd: cluster.root,
    env: { ...process.env, HOME: cluster.root, DFS_DIR: cluster.dir },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  return finish(child);
}

const cat = async (path: string): Promise<string> => (await cluster.ok("cat", path)).text;
const names = async (path: string): Promise<string[]> =>
  (await cluster.ok("ls", path)).text.split("\n").filter((name) => name !== "");

describe("put, as cp", () => {
  test("a new name, an existing file, an existing directory, a trailing slash", async () => {
    await cluster.ok("mkdir", "/put");
    await cluster.ok("put", "a.txt", "/put/new");
    expect(await cat("/put/new")).toBe("a");
    await cluster.ok("put", "b.txt", "/put/new");
    expect(await cat("/put/new")).toBe("b");
    await cluster.ok("put", "a.txt", "/put");
    await cluster.ok("put", "b.txt", "/put/");
    expect(await names("/put")).toEqual(["a.txt", "b.txt", "new"]);
    const slash = await cluster.run(["put", "a.txt", "/put/nothing/"]);
    expect(slash.code).toBe(4);
    expect(slash.stderr).toContain("no such directory");
  });

  test("several sources need a directory", async () => {
    const one = await cluster.run(["put", "a.txt", "b.txt", "/put/new"]);
    expect(one.code).toBe(1);
    expect(one.stderr).toContain("it is not a directory\nname a directory");
    expect(await cat("/put/new")).toBe("b");
  });

  test("a missing local file or remote directory: exit 4, and what to do", async () => {
    expect(await cluster.run(["put", "nothing", "/put"])).toMatchObject({ code: 4 });
    const deep = await cluster.run(["put", "a.txt", "/no/such/place"]);
    expect(deep.code).toBe(4);
    expect(deep.stderr).toContain("dfs mkdir -p /no/such");
  });

  test("a tree: a new name, or into a directory under its own name", async () => {
    await cluster.ok("put", "-r", "tree", "/put/copy");
    expect(await names("/put/copy")).toEqual(["x"]);
    await cluster.ok("put", "-r", "tree/", "/put/copy");
    expect(await names("/put/copy")).toEqual(["tree", "x"]);
    await cluster.ok("put", "-r", "tree", "/put/other/");
    expect(await names("/put/other")).toEqual(["x"]);
    await cluster.ok("put", "-r", "tree/.", "/put/");
    expect(await names("/put")).toContain("x");
    const file = await cluster.run(["put", "-r", "tree", "/put/new"]);
    expect(file.code).toBe(1);
  });

  test("a file that is replaced keeps its mode, unless -p", async () => {
    chmodSync(cluster.path("a.txt"), 0o600);
    await cluster.ok("put", "a.txt", "/put/mode");
    chmodSync(cluster.path("a.txt"), 0o755);
    await cluster.ok("put", "a.txt", "/put/mode");
    const mode = async () => (await cluster.rows<{ mode: string }>("stat", "/put/mode"))[0]?.mode;
    expect(await mode()).toBe("0600");
    await cluster.ok("put", "-p", "a.txt", "/put/mode");
    expect(await mode()).toBe("0755");
  });

  test("a link is followed, here and there, without -r", async () => {
    symlinkSync("a.txt", cluster.path("link"));
    await cluster.ok("put", "link", "/put/followed");
    expect((await cluster.rows<{ type: string }>("stat", "/put/followed"))[0]?.type).toBe("file");
    symlinkSync("behind", cluster.path("remote-link"));
    await cluster.ok("put", "-r", "remote-link", "/put/link");
    await cluster.ok("put", "b.txt", "/put/behind");
    await cluster.ok("put", "a.txt", "/put/link");
    expect(await cat("/put/behind")).toBe("a");
    expect((await cluster.rows<{ type: string }>("stat", "/put/link"))[0]?.type).toBe("symlink");
  });
});

describe("standard input and output", () => {
  test("put - stores a stream of any length", async () => {
    const bytes = Buffer.from(seededRandom(3).bytes(1_000_001));
    const stored = await cluster.run(["put", "-", "/stream"], { stdin: bytes });
    expect(stored).toMatchObject({ code: 0, stderr: "" });
    expect((await cluster.ok("cat", "/stream")).stdout.equals(bytes)).toBe(true);
    const got = await cluster.ok("get", "/stream", "-");
    expect(got.stdout.equals(bytes)).toBe(true);
    expect((await cluster.run(["put", "-", "/empty"])).code).toBe(0);
    expect(await cat("/empty")).toBe("");
  });

  test("put - needs a name", async () => {
    const result = await cluster.run(["put", "-", "/"], { stdin: Buffer.from("x") });
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("give a file name");
  });

  test("a pipe is read to its end", async () => {
    expect(await shell(`"$0" put <(printf piped) /piped`)).toMatchObject({ code: 0, stderr: "" });
    expect(await cat("/piped")).toBe("piped");
  });

  test("a reader that goes away ends the command quietly", async () => {
    const result = await shell(`set -o pipefail; "$0" cat /stream | head -c 10`);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    expect(result.stdout).toHaveLength(10);
  });

  test("cat joins files, and says which one was missing", async () => {
    await cluster.ok("put", "a.txt", "b.txt", "/");
    const result = await cluster.run(["cat", "/a.txt", "/nothing", "/b.txt"]);
    expect(result).toMatchObject({ code: 3, text: "ab" });
    expect(result.stderr).toBe("dfs cat: cannot read /nothing: no such file or directory\n");
    expect(await cluster.run(["cat", "/nothing"])).toMatchObject({ code: 4, text: "" });
    expect(await cluster.run(["cat", "/"])).toMatchObject({ code: 1, text: "" });
  });
});

describe("get, as cp", () => {
  beforeAll(async () => {
    await cluster.ok("mkdir", "/get");
    await cluster.ok("put", "-r", "tree", "a.txt", "b.txt", "/get");
    mkdirSync(cluster.path("into"));
  });

  test("a new name, an existing file, an existing directory", async () => {
    await cluster.ok("get", "/get/a.txt", "got");
    expect(readFileSync(cluster.path("got"), "utf8")).toBe("a");
    chmodSync(cluster.path("got"), 0o640);
    await cluster.ok("get", "/get/b.txt", "got");
    expect(readFileSync(cluster.path("got"), "utf8")).toBe("b");
    expect(lstatSync(cluster.path("got")).mode & 0o777).toBe(0o640);
    await cluster.ok("get", "/get/a.txt", "/get/b.txt", "into");
    expect(readdirSync(cluster.path("into")).sort()).toEqual(["a.txt", "b.txt"]);
  });

  test("missing things: exit 4; a directory without -r: exit 1", async () => {
    expect(await cluster.run(["get", "/nothing", "x"])).toMatchObject({ code: 4 });
    expect(existsSync(cluster.path("x"))).toBe(false);
    const parent = await cluster.run(["get", "/get/a.txt", "no/such/place"]);
    expect(parent.code).toBe(4);
    expect(parent.stderr).toContain("there is no local directory no/such");
    expect(await cluster.run(["get", "/get", "x"])).toMatchObject({ code: 1 });
    expect(await cluster.run(["get", "/get/a.txt", "/get/b.txt", "got"])).toMatchObject({
      code: 1,
    });
    expect(await cluster.run(["get", "/get/a.txt", "nothing/"])).toMatchObject({ code: 4 });
  });

  test("a tree: a new name, into a directory, or its content with /.", async () => {
    await cluster.ok("get", "-r", "/get/tree", "new-tree");
    expect(readdirSync(cluster.path("new-tree"))).toEqual(["x"]);
    await cluster.ok("get", "-r", "/get/tree", "into");
    expect(readdirSync(cluster.path("into", "tree"))).toEqual(["x"]);
    mkdirSync(cluster.path("content"));
    await cluster.ok("get", "-r", "/get/.", "content");
    expect(readdirSync(cluster.path("content")).sort()).toEqual(["a.txt", "b.txt", "tree"]);
    mkdirSync(cluster.path("whole"));
    await cluster.ok("get", "-r", "/", "whole");
    expect(readdirSync(cluster.path("whole"))).toContain("get");
  });

  test("through a local link to a file, and into pipes and devices", async () => {
    symlinkSync("got", cluster.path("local-link"));
    await cluster.ok("get", "/get/a.txt", "local-link");
    expect(readlinkSync(cluster.path("local-link"))).toBe("got");
    expect(readFileSync(cluster.path("got"), "utf8")).toBe("a");
    symlinkSync("nowhere", cluster.path("dangling"));
    expect(await cluster.run(["get", "/get/a.txt", "dangling"])).toMatchObject({ code: 4 });
    await cluster.ok("get", "/get/a.txt", "/dev/null");
    expect(lstatSync("/dev/null").isCharacterDevice()).toBe(true);
    const piped = await shell('"$0" get /get/a.txt /dev/stdout | cat');
    expect(piped).toMatchObject({ code: 0, text: "a" });
  });
});

describe("names", () => {
  test("mv renames, moves into directories, replaces, and with -n does not", async () => {
    await cluster.ok("mkdir", "-p", "/mv/dir");
    await cluster.ok("put", "a.txt", "b.txt", "/mv");
    await cluster.ok("mv", "/mv/a.txt", "/mv/c");
    expect(await names("/mv")).toEqual(["b.txt", "c", "dir"]);
    await cluster.ok("mv", "-n", "/mv/c", "/mv/b.txt");
    expect(await cat("/mv/b.txt")).toBe("b");
    await cluster.ok("mv", "/mv/c", "/mv/b.txt");
    expect(await cat("/mv/b.txt")).toBe("a");
    await cluster.ok("mv", "/mv/b.txt", "/mv/dir");
    expect(await names("/mv/dir")).toEqual(["b.txt"]);
    expect(await cluster.run(["mv", "/mv/nothing", "/mv/x"])).toMatchObject({ code: 4 });
    const slash = await cluster.run(["mv", "/mv/dir/b.txt/", "/mv/x"]);
    expect(slash).toMatchObject({ code: 1 });
    expect(slash.stderr).toContain("not a directory");
    expect(await cluster.run(["mv", "/mv", "/mv/dir/inside"])).toMatchObject({ code: 1 });
    const several = await cluster.run(["mv", "/mv/dir", "/mv/nothing", "/"]);
    expect(several.code).toBe(3);
    expect(await cat("/dir/b.txt")).toBe("a");
  });

  test("mkdir makes modes and parents; rm wants -r, and refuses the root", async () => {
    await cluster.ok("mkdir", "-p", "-m", "2750", "/rm/a/b");
    expect((await cluster.rows<{ mode: string }>("stat", "/rm/a/b"))[0]?.mode).toBe("2750");
    await cluster.ok("mkdir", "-p", "/rm/a/b");
    expect(await cluster.run(["mkdir", "/rm/a/b"])).toMatchObject({ code: 1 });
    expect(await cluster.run(["mkdir", "/no/such"])).toMatchObject({ code: 4 });
    const file = await cluster.run(["rm", "/rm"]);
    expect(file.code).toBe(1);
    expect(file.stderr).toContain("-r removes it");
    for (const root of ["/", "//", "/.", "/rm/..", "/rm/../."]) {
      const refused = await cluster.run(["rm", "-rf", root]);
      expect(refused.code, root).toBe(1);
    }
    expect(await cluster.run(["rm", "-r", "/rm/."])).toMatchObject({ code: 1 });
    expect(await cluster.run(["rm", "/rm/nothing"])).toMatchObject({ code: 4 });
    await cluster.ok("rm", "-f", "/rm/nothing");
    await cluster.ok("rm", "-f");
    await cluster.ok("rm", "-r", "/rm");
    expect(await names("/")).not.toContain("rm");
  });

  test("rm removes a link and not what it leads to", async () => {
    await cluster.ok("mkdir", "/kept");
    await cluster.ok("put", "a.txt", "/kept");
    symlinkSync("/kept", cluster.path("to-kept"));
    await cluster.ok("put", "-r", "to-kept", "/to-kept");
    expect(await cluster.run(["rm", "-r", "/to-kept/"])).toMatchObject({ code: 1 });
    await cluster.ok("rm", "-r", "/to-kept");
    expect(await names("/kept")).toEqual(["a.txt"]);
  });

  test("ls lists files, directories, links and itself with -d", async () => {
    await cluster.ok("mkdir", "-p", "/ls/sub");
    await cluster.ok("put", "a.txt", "/ls");
    symlinkSync("sub", cluster.path("to-sub"));
    await cluster.ok("put", "-r", "to-sub", "/ls/link");
    expect((await cluster.ok("ls", "/ls")).text).toBe("a.txt\nlink\nsub\n");
    expect((await cluster.ok("ls", "-d", "/ls")).text).toBe("/ls\n");
    expect((await cluster.ok("ls", "/ls/a.txt")).text).toBe("/ls/a.txt\n");
    expect((await cluster.ok("ls", "-R", "/ls")).text).toBe("/ls:\na.txt\nlink\nsub\n\n/ls/sub:\n");
    expect((await cluster.ok("ls", "/ls/link")).text).toBe("");
    expect((await cluster.ok("ls", "-l", "/ls/link")).text).toMatch(/^l.* \/ls\/link -> sub\n$/);
    expect((await cluster.ok("ls", "ls/a.txt", "ls/sub")).text).toBe("ls/a.txt\n\n/ls/sub:\n");
    const some = await cluster.run(["ls", "/nothing", "/ls/a.txt"]);
    expect(some).toMatchObject({ code: 3, text: "/ls/a.txt\n" });
    const [row] = await cluster.rows<Record<string, unknown>>("ls", "/ls/a.txt");
    expect(Object.keys(row ?? {})).toEqual([
      "path",
      "name",
      "type",
      "mode",
      "nlink",
      "uid",
      "gid",
      "size",
      "allocated",
      "rdev",
      "inode",
      "atime",
      "mtime",
      "ctime",
      "atimeNs",
      "mtimeNs",
      "ctimeNs",
      "version",
      "base",
    ]);
    expect(row).toMatchObject({ type: "file", size: 1, inode: expect.any(String) });
  });
});

test("names that are no text can be typed, here and there", async () => {
  const result = await shell(
    `printf odd > $'odd\\xff\\n' && "$0" put $'odd\\xff\\n' / && "$0" get $'/odd\\xff\\n' $'back\\xfe' && ` +
      `cat $'back\\xfe' && "$0" ls -d $'/odd\\xff\\n' && "$0" mv $'/odd\\xff\\n' $'/\\x80' && ` +
      `"$0" stat --json $'/\\x80' && "$0" rm $'/\\x80' -- $'/\\x81'`,
  );
  expect(result.stderr).toBe("dfs rm: cannot remove '/\\x81': no such file or directory\n");
  expect(result.code).toBe(3);
  const [content, row] = result.text.split("\n");
  expect(content).toBe("odd/odd\\xff\\n");
  expect(JSON.parse(row ?? "")).toMatchObject({ path: "/\ufffd", pathBase64: "L4A=" });
});

// The file that standard output had been redirected to was replaced: what was written to it afterwards was lost.
test("get to /dev/stdout or another open file writes into it, where it stands", async () => {
  const result = await shell(
    `printf content | "$0" put - /into && exec 3> three > one && echo before && "$0" get /into /dev/stdout && echo && ` +
      `"$0" get /into /dev/fd/3 && echo -n after && "$0" get /into /dev/stdout >> two && cat one three two >&2`,
  );
  expect(result.stderr).toBe("before\ncontent\naftercontentcontent");
  expect(result.code).toBe(0);
});

test("a file that is written to while it is stored: a warning, and put -r stores it again", async () => {
  mkdirSync(cluster.path("changing"));
  const path = cluster.path("changing/file");
  const [before, after] = [6, 7].map((seed) => seededRandom(seed).bytes(3_000_000));
  writeFileSync(path, before!);
  // Servers that stand still keep the file open for as long as it takes to change it.
  const servers = cluster.describe().servers.map(({ pid }) => pid);
  for (const pid of servers) process.kill(pid, "SIGSTOP");
  const child = cluster.spawn(["put", "-r", "changing", "/changing"]);
  const finished = finish(child);
  try {
    await until(() => hasOpenIn(child.pid, cluster.path("changing")), "the put to have begun");
    writeFileSync(path, after!);
  } finally {
    for (const pid of servers) process.kill(pid, "SIGCONT");
  }
  const { code, stderr } = await finished;
  expect(code).toBe(0);
  expect(stderr).toContain("changing/file changed while it was stored");
  const again = await cluster.ok("put", "-r", "changing/.", "/changing");
  expect(again.stderr).not.toContain("changed");
  expect((await cluster.ok("cat", "/changing/file")).stdout.equals(readFileSync(path))).toBe(true);
});

describe("interrupted", () => {
  test("a put by Ctrl-C: exit 130, the old file is whole", async () => {
    await cluster.ok("put", "a.txt", "/whole");
    const child = cluster.spawn(["put", "/dev/zero", "/whole"]);
    const finished = finish(child);
    await until(
      async () => (await cluster.rows<{ sessions: number }>("status"))[0]?.sessions === 2,
      "the put to have begun",
    );
    child.kill("SIGINT");
    const result = await finished;
    expect(result.code).toBe(130);
    expect(result.stderr).toContain("interrupted");
    expect(await cat("/whole")).toBe("a");
  });

  test("a get by Ctrl-C: exit 130, no half file and no temporary one", async () => {
    writeFileSync(cluster.path("big"), seededRandom(5).bytes(60_000_000));
    await cluster.ok("put", "big", "/big");
    mkdirSync(cluster.path("half"));
    const child = cluster.spawn(["get", "/big", "half/big"]);
    const finished = finish(child);
    await until(() => hasOpenIn(child.pid, cluster.path("half")), "the get to have begun");
    child.kill("SIGINT");
    const result = await finished;
    expect(result.code).toBe(130);
    expect(readdirSync(cluster.path("half"))).toEqual([]);
  });
});

/** True when a process has a file in `dir` open, with a name or without. */
function hasOpenIn(pid: number, dir: string): boolean {
  return readdirSync(`/proc/${pid}/fd`).some((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${dir}/`);
    } catch {
      return false; // closed meanwhile
    }
  });
}
