// Ctrl-C in the middle of the work of each command that may take long: by real signals to real processes, of which a proxy
// before the metadata server holds a request back, so that all are in the middle of it, on any machine. Each has to end with the
// exit status of the signal, say what was done and how to go on, and begin nothing any more.
//
// What was found: rm -r, chmod -R, chown -R and find -delete went on for a second after Ctrl-C and then said "interrupted" and no
// more; chown told of files that were not there; get -r of empty files went on as well, and left its bar on the terminal.

import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { clusterBackup } from "../../src/protocol/messages/backup.ts";
import { holdings } from "../../src/protocol/messages/cluster.ts";
import { clone, commit, put } from "../../src/protocol/messages/content.ts";
import { fsckPoll } from "../../src/protocol/messages/fsck.ts";
import {
  mkdir,
  open,
  readdir,
  rename,
  setattr,
  unlink,
  xattrSet,
} from "../../src/protocol/messages/namespace.ts";
import { startedFrom } from "../support/bundled-project.ts";
import { HoldingProxy } from "../support/holding-proxy.ts";
import { finish, LocalCluster, until, type CommandResult } from "../support/local-cluster.ts";
import { withDfs } from "./support/client.ts";

setDefaultTimeout(120_000);

/** Files in each tree: more than are worked on at a time. */
const FILES = 300;
const DONE =
  "[\\d,]+ files?(?: and directories)?(?:, [\\d.]+ [KMG]?i?B)? in [\\d.]+ m?s \\([^)]*\\)";

let cluster: LocalCluster;
let proxy: HoldingProxy;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3");
  proxy = await HoldingProxy.to(cluster.describe().meta);
  mkdirSync(cluster.path("tree/below"), { recursive: true });
  for (let file = 0; file < FILES; file++) {
    writeFileSync(cluster.path("tree", `${file % 2 === 0 ? "below/" : ""}f-${file}`), `${file}`);
  }
  writeFileSync(cluster.path("big"), Buffer.alloc(9 * 1024 * 1024, 7));
  await cluster.ok("put", "-r", "tree", "/tree");
  await cluster.ok("put", "big", "/big");
});
afterAll(async () => {
  proxy.close();
  await cluster.stop();
});
afterEach(() => {
  proxy.cut(); // what was held back never arrives
  proxy.hold();
});

interface Held {
  /** So many requests of these kinds pass before one is held back. */
  readonly after: number;
  readonly kinds: readonly { readonly code: number }[];
}

/** Starts a command, and sends the signal while one of its requests is held back. */
async function interrupted(
  args: readonly string[],
  { after, kinds }: Held,
  signal: "SIGINT" | "SIGTERM" | "SIGHUP" = "SIGINT",
): Promise<CommandResult> {
  proxy.holdAfter(after, ...kinds);
  const child = cluster.spawn([...args, "--meta", proxy.address]);
  const finished = finish(child);
  await Promise.race([proxy.untilHeld(1), finished]);
  child.kill(signal);
  return finished;
}

const names = async (path: string): Promise<number> =>
  withDfs(cluster, async (client) => {
    let found = 0;
    for await (const _entry of client.readdir(Buffer.from(path))) found++;
    return found;
  });

const NOTHING_LEFT_OUT = /^(?!.*(this is a mistake|at .*\.ts:|no such file))/s;

describe("Ctrl-C in the middle of", () => {
  test.each<[string, string[], Held, RegExp]>([
    [
      "chmod -R",
      ["chmod", "-R", "600", "/tree"],
      { after: 20, kinds: [setattr] },
      new RegExp(
        `^dfs chmod: interrupted: changed ${DONE}\nthe rest is as it was; the same command begins from the start\n$`,
      ),
    ],
    [
      "chown -R",
      ["chown", "-R", "1:1", "/tree"],
      { after: 20, kinds: [setattr] },
      new RegExp(`^dfs chown: interrupted: changed ${DONE}\nthe rest is as it was; `),
    ],
    [
      "du",
      ["du", "-s", "/tree"],
      { after: 1, kinds: [readdir] },
      new RegExp(`^dfs du: interrupted: counted ${DONE}; there is more\nthe same command begins`),
    ],
    [
      "find",
      ["find", "/tree", "-name", "none"],
      { after: 1, kinds: [readdir] },
      new RegExp(
        `^dfs find: interrupted: looked at ${DONE}; there is more\nthe same command begins`,
      ),
    ],
    [
      "ls -R",
      ["ls", "-R", "/tree"],
      { after: 1, kinds: [readdir] },
      /^dfs ls: interrupted: not all was listed\nthe same command begins from the start\n$/,
    ],
    [
      "tree",
      ["tree", "/tree"],
      { after: 1, kinds: [readdir] },
      /^dfs tree: interrupted: not all was shown\nthe same command begins from the start\n$/,
    ],
    [
      "cat",
      ["cat", "/tree/f-1", "/tree/f-3", "/tree/f-5"],
      { after: 1, kinds: [open] },
      /^dfs cat: interrupted: the output ends in \/tree\/f-1, at offset 1\nthe rest of this file is written by: dfs cat --offset 1 \/tree\/f-1\n$/,
    ],
    [
      "mkdir of many",
      ["mkdir", "/m-1", "/m-2", "/m-3"],
      { after: 1, kinds: [mkdir] },
      /^dfs mkdir: interrupted: the first of those named is done\nto go on, give the command again with the others\n$/,
    ],
    [
      "mv of many",
      ["mv", "/tree/f-7", "/tree/f-9", "/tree/f-11", "/tree/below"],
      { after: 2, kinds: [rename] },
      /^dfs mv: interrupted: the first 2 of those named are done\nto go on/,
    ],
    [
      "xattr set of many",
      ["xattr", "set", "user.x", "1", "/tree/f-13", "/tree/f-15"],
      { after: 1, kinds: [xattrSet] },
      /^dfs xattr set: interrupted: the first of those named is done\nto go on/,
    ],
    [
      "touch of many",
      ["touch", "/tree/f-13", "/tree/f-15", "/tree/f-17"],
      { after: 2, kinds: [setattr] },
      /^dfs touch: interrupted: the first 2 of those named are done\nto go on/,
    ],
    [
      "fsck",
      ["fsck"],
      { after: 0, kinds: [fsckPoll] },
      /^dfs fsck: interrupted: checked .*\ndfs fsck begins from the start; dfs fsck PATH checks a part\n$/,
    ],
    [
      "meta backup",
      ["meta", "backup"],
      { after: 0, kinds: [clusterBackup] },
      /^dfs meta backup: interrupted: .*\n.*dfs status tells when the last one was made\n$/,
    ],
  ])("%s", async (_title, args, held, words) => {
    const { code, stderr } = await interrupted(args, held);
    expect(stderr).toMatch(words);
    expect(stderr).toMatch(NOTHING_LEFT_OUT);
    expect(code).toBe(130);
  });

  test("rm -r: it says how much is gone, and that much is", async () => {
    await cluster.ok("cp", "-r", "/tree", "/for-rm");
    const before = (await names("/for-rm")) + (await names("/for-rm/below"));
    const result = await interrupted(["rm", "-r", "/for-rm"], { after: 20, kinds: [unlink] });
    expect(result).toMatchObject({ code: 130 });
    const told =
      /^dfs rm: interrupted: removed (\d+) files and directories in .*\nwhat is left is whole; the same command removes it\n$/;
    expect(result.stderr).toMatch(told);
    const left = (await names("/for-rm")) + (await names("/for-rm/below"));
    expect(before - left).toBe(Number(told.exec(result.stderr)?.[1]));
    expect(before - left).toBe(20);
    await cluster.ok("rm", "-r", "/for-rm");
  });

  test("find -delete: it says how much is gone, and that much is", async () => {
    await cluster.ok("cp", "-r", "/tree", "/for-find");
    const args = ["find", "/for-find/below", "-type", "f", "-delete"];
    const before = await names("/for-find/below");
    const result = await interrupted(args, { after: 5, kinds: [unlink] });
    expect(result).toMatchObject({ code: 130 });
    expect(result.stderr).toMatch(
      /^dfs find: interrupted: .*, removed 5; there is more\nthe same command goes on\n$/,
    );
    expect(before - (await names("/for-find/below"))).toBe(5);
  });

  test("cp -r: what is there is whole, and the advice leads to the whole tree in the same place", async () => {
    const { code, stderr } = await interrupted(["cp", "-r", "/tree", "/copied"], {
      after: 200,
      kinds: [clone],
    });
    expect(stderr).toMatch(
      new RegExp(
        `^dfs cp: interrupted: copied ${DONE}, each whole\n` +
          "give the same command again, with /tree/. in place of /tree, to do it from the beginning\n$",
      ),
    );
    expect(code).toBe(130);
    await cluster.ok("cp", "-r", "/tree/.", "/copied");
    expect(await names("/copied")).toBe(await names("/tree"));
  });

  test("put -r: what is there is whole, and the advice leads to the whole tree in the same place", async () => {
    const { code, stderr } = await interrupted(["put", "-r", "-j", "4", "tree", "/stored"], {
      after: 9,
      kinds: [put],
    });
    expect(stderr).toMatch(
      new RegExp(
        `^dfs put: interrupted: stored ${DONE}, each whole\n` +
          "to go on, give the same command again, with tree/. in place of tree: what is there already is skipped\n$",
      ),
    );
    expect(code).toBe(130);
    await cluster.ok("put", "-r", "tree/.", "/stored");
    expect(await names("/stored")).toBe(readdirSync(cluster.path("tree")).length);
  });

  test("get -r: what is there is whole, no temporary file, and the advice leads to the whole tree", async () => {
    await cluster.ok("chmod", "-R", "u=rwX,go=rX", "/tree");
    const { code, stderr } = await interrupted(["get", "-r", "-j", "4", "/tree", "fetched"], {
      after: 9,
      kinds: [open],
    });
    expect(stderr).toMatch(
      new RegExp(
        `^dfs get: interrupted: fetched ${DONE}, each whole\n` +
          "to go on, give the same command again, with /tree/. in place of /tree: what is there already is skipped\n$",
      ),
    );
    expect(code).toBe(130);
    const there = readdirSync(cluster.path("fetched"), { recursive: true, encoding: "utf8" });
    expect(there.filter((name) => name.includes(".dfs-get."))).toEqual([]);
    await cluster.ok("get", "-r", "/tree/.", "fetched");
    await cluster.ok("get", "-r", "/tree", "at-once");
    const modeOf = (path: string): number => statSync(cluster.path(path, "below")).mode;
    expect(modeOf("fetched")).toBe(modeOf("at-once"));
    expect(readdirSync(cluster.path("fetched")).length).toBe(await names("/tree"));
  });

  test("put of one file: nothing is stored, and nothing is left behind", async () => {
    const { code, stderr } = await interrupted(["put", "big", "/one"], {
      after: 0,
      kinds: [put, commit],
    });
    expect(stderr).toBe(
      "dfs put: interrupted: nothing was stored\ngive the same command again to do it from the beginning\n",
    );
    expect(code).toBe(130);
    expect((await cluster.run(["stat", "/one"])).code).toBe(4);
  });

  test("meta backup shows bytes of bytes, and after Ctrl-C the service goes on with it", async () => {
    const { pid } = cluster.server(3);
    process.kill(pid, "SIGSTOP"); // the backup cannot end before this server has taken it
    try {
      const child = cluster.spawn(["meta", "backup", "--progress", "bar"]);
      let seen = "";
      const reading = (async () => {
        for await (const piece of child.stderr) seen += Buffer.from(piece).toString("utf8");
      })();
      const SHOWN = / ([\d.]+) ([KM])iB of ([\d.]+) ([KM])iB, .*\/s, .*backing the metadata up/;
      await until(() => SHOWN.test(seen), "the progress");
      const [, done, doneUnit, total, totalUnit] = SHOWN.exec(seen) ?? [];
      const kibibytes = (count = "", unit = ""): number =>
        Number(count) * (unit === "M" ? 1024 : 1);
      expect(kibibytes(done, doneUnit)).toBeGreaterThan(0);
      expect(kibibytes(done, doneUnit)).toBeLessThan(kibibytes(total, totalUnit));
      child.kill("SIGINT");
      await reading;
      expect(await child.exited).toBe(130);
      expect(seen.split("\u001b[K").at(-1)).toMatch(
        /^dfs meta backup: interrupted: written [\d.]+ [KM]iB in .*; the metadata service goes on with the backup by itself\n/,
      );
    } finally {
      process.kill(pid, "SIGCONT");
    }
    const { text, stderr } = await cluster.ok("meta", "backup");
    expect(text).toContain("is on data servers 1, 2, 3");
    expect(stderr).toBe("");
  });

  test("watching a drain: the work goes on by itself", async () => {
    await cluster.ok("up", "--detach", "--data-servers", "4");
    const { code, stderr } = await interrupted(["server", "drain", "4"], {
      after: 0,
      kinds: [holdings],
    });
    expect(stderr).toMatch(
      /^dfs server drain: interrupted: .*the work goes on by itself\nto see it again: dfs server drain 4\n$/,
    );
    expect(code).toBe(130);
    await cluster.ok("server", "undrain", "4");
  });
});

test.each([
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)("%s does the same, with exit status %d", async (signal, status) => {
  const held = { after: 20, kinds: [setattr] };
  const { code, stderr } = await interrupted(["chmod", "-R", "600", "/tree"], held, signal);
  expect(stderr).toMatch(new RegExp(`^dfs chmod: interrupted: changed ${DONE}\n`));
  expect(code).toBe(status);
});

test("a second signal ends it at once: it does not wait for what it has begun, and says nothing", async () => {
  proxy.holdAfter(20, unlink);
  const child = cluster.spawn(["rm", "-r", "/tree/below", "--meta", proxy.address]);
  const finished = finish(child);
  await proxy.untilHeld(1);
  process.kill(child.pid, "SIGSTOP"); // both are there before it can look at the first
  child.kill("SIGINT");
  child.kill("SIGTERM");
  process.kill(child.pid, "SIGCONT");
  expect((await finished).stderr).not.toContain("mistake");
  expect([130, 143]).toContain(child.exitCode ?? -1);
});

test("on a terminal, by the key itself: the bar is taken away, and the words stand in a line of their own", async () => {
  proxy.holdAfter(20, setattr);
  const dfs = join(startedFrom(), "bin/dfs");
  const line = `stty cols 40; exec ${dfs} chmod -R 640 /tree --meta ${proxy.address}`;
  const child = Bun.spawn(["script", "-qec", line, "/dev/null"], {
    env: { ...process.env, HOME: cluster.root, DFS_DIR: cluster.dir, TERM: "xterm", NO_COLOR: "1" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  let seen = "";
  const reading = (async () => {
    for await (const piece of child.stdout) seen += Buffer.from(piece).toString("utf8");
  })();
  await until(() => seen.includes("files and dir"), "the bar");
  await child.stdin.write("\u0003");
  await child.stdin.flush();
  await reading;
  await child.stdin.end();
  expect(await child.exited).toBe(130);
  const CLEAR = "\r\u001b[K";
  const end = seen.slice(seen.lastIndexOf(CLEAR) + CLEAR.length);
  expect(end).toMatch(/^dfs chmod: interrupted: changed [\d,]+ files and directories in /);
  const bars = seen.split(CLEAR).slice(1, -1);
  for (const bar of bars) expect(bar.replace("^C", "").length).toBeLessThan(40);
});

describe("Ctrl-C while the metadata server does not answer at all", () => {
  test.each([
    "ls /",
    "stat /x",
    "put big /x",
    "get /x y",
    "rm /x",
    "df",
    "status",
    "server list",
    "server drain 1",
    "server remove 1",
    "rebuild 1",
    "scrub status",
    "explain /x",
    "corrupt /x",
    "fsck",
    "meta backup",
    "meta quarantine",
  ])("dfs %s", async (line) => {
    const accepted = Promise.withResolvers<void>();
    const server = createServer(() => accepted.resolve());
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    const { port } = server.address() as AddressInfo;
    try {
      const child = cluster.spawn([...line.split(" "), "--meta", `127.0.0.1:${port}`]);
      const finished = finish(child);
      await accepted.promise;
      child.kill("SIGINT");
      const { code, stderr, text } = await finished;
      expect({ code, text }).toEqual({ code: 130, text: "" });
      expect(stderr).toMatch(/^dfs [a-z ]+: interrupted\n$/);
    } finally {
      server.close();
    }
  });
});
