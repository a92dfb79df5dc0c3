// put and get of trees a second time: what is there is skipped, what was interrupted goes on, --checksum, --exclude, --dry-run.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { get } from "../../src/tools/get.ts";
import { put } from "../../src/tools/put.ts";
import { listAttributes, removeAttribute, setAttribute } from "../../src/tools/transfer/native.ts";
import { startedFrom } from "../support/bundled-project.ts";
import { finish, LocalCluster, until } from "../support/local-cluster.ts";
import { snapshot } from "./support/files.ts";
import { runInProcess } from "./support/in-process.ts";

const BLOCK = 64 * 1024;

/** For hundreds of files there and back, by several processes. */
const PATIENCE_MS = 120_000;

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
});
afterAll(() => cluster.stop());

interface End {
  readonly files: number;
  readonly directories: number;
  readonly symlinks: number;
  readonly skipped: number;
  readonly bytes: number;
  readonly failed: number;
}

async function transfer(command: "put" | "get", ...args: string[]): Promise<End> {
  const definition = command === "put" ? put : get;
  const result = await runInProcess(cluster, command, definition, ["--json", ...args]);
  expect(result).toMatchObject({
    code: 0,
    stderr: expect.not.stringContaining("cannot") as string,
  });
  return JSON.parse(result.text.trimEnd().split("\n").at(-1) ?? "") as End;
}

async function told(command: "put" | "get", ...args: string[]): Promise<string> {
  const result = await runInProcess(cluster, command, command === "put" ? put : get, args);
  expect(result.code).toBe(0);
  return result.text + result.stderr;
}

/** A tree of its own, `NAME`: 3 files in 2 directories and a link. */
function tree(name: string): string {
  const root = cluster.path(name);
  mkdirSync(join(root, "sub"), { recursive: true });
  writeFileSync(join(root, "one"), "1");
  writeFileSync(join(root, "sub/two"), seededRandom(2).bytes(3 * BLOCK + 5));
  writeFileSync(join(root, "sub/three.o"), "333");
  symlinkSync("one", join(root, "link"));
  utimesSync(join(root, "one"), 1e9, 1e9);
  return root;
}

describe("the same command again", () => {
  test("put skips what is there, and sends what changed in length or time", async () => {
    const root = tree("again");
    const first = await transfer("put", "-r", root, "/again");
    expect(first).toMatchObject({ files: 3, symlinks: 1, skipped: 0 });
    const again = await transfer("put", "-r", root, "/again/");
    expect(again).toMatchObject({ files: 3, skipped: 0 }); // into it: /again/again
    const same = await transfer("put", "-r", `${root}/.`, "/again");
    expect(same).toMatchObject({ files: 0, symlinks: 0, skipped: 4, bytes: 0 });
    writeFileSync(join(root, "one"), "2"); // as long as before
    expect(await transfer("put", "-r", `${root}/.`, "/again")).toMatchObject({
      files: 1,
      skipped: 3,
    });
    expect((await cluster.ok("cat", "/again/one")).text).toBe("2");
    truncateSync(join(root, "sub/two"), BLOCK);
    utimesSync(join(root, "sub/two"), 1e9, 1e9);
    expect(await transfer("put", "-r", `${root}/.`, "/again")).toMatchObject({ files: 1 });
  });

  test("get does the same, and gives files their time without -p", async () => {
    tree("source");
    await transfer("put", "-r", cluster.path("source"), "/source");
    const target = cluster.path("fetched");
    expect(await transfer("get", "-r", "/source", target)).toMatchObject({ files: 3, skipped: 0 });
    expect(statSync(join(target, "one")).mtimeMs).toBe(1e12);
    expect(await transfer("get", "-r", "/source/.", target)).toMatchObject({
      files: 0,
      skipped: 4,
    });
    const two = join(target, "sub/two");
    truncateSync(two, 100); // what a program that was killed might have left
    expect(await transfer("get", "-r", "/source/.", target)).toMatchObject({
      files: 1,
      skipped: 3,
    });
    expect(snapshot(target)).toEqual(snapshot(cluster.path("source")));
  });

  test("without -r a file is always stored", async () => {
    writeFileSync(cluster.path("single"), "x");
    expect(await transfer("put", "-p", cluster.path("single"), "/single")).toMatchObject({
      files: 1,
    });
    expect(await transfer("put", "-p", cluster.path("single"), "/single")).toMatchObject({
      files: 1,
    });
    expect(await transfer("get", "-p", "/single", cluster.path("single"))).toMatchObject({
      files: 1,
    });
  });

  test("with -p modes and attributes of what is skipped are brought up to date, hard links stay", async () => {
    const root = tree("kept");
    linkSync(join(root, "one"), join(root, "other"));
    await transfer("put", "-r", "-p", root, "/kept");
    chmodSync(join(root, "sub/two"), 0o4750);
    expect(await transfer("put", "-r", "-p", `${root}/.`, "/kept")).toMatchObject({
      files: 0,
      skipped: 4,
    });
    const mode = async (): Promise<string | undefined> =>
      (await cluster.rows<{ mode: string }>("stat", "/kept/sub/two"))[0]?.mode;
    expect(await mode()).toBe("4750");
    const target = cluster.path("kept-back");
    await transfer("get", "-r", "-p", "/kept", target);
    await cluster.ok("chmod", "600", "/kept/sub/two");
    expect(await transfer("get", "-r", "-p", "/kept/.", target)).toMatchObject({ files: 0 });
    expect(statSync(join(target, "sub/two")).mode & 0o7777).toBe(0o600);
    expect(lstatSync(join(target, "one")).ino).toBe(lstatSync(join(target, "other")).ino);
  });
});

describe("--checksum", () => {
  test("content decides: nothing is sent that is equal, whatever the times", async () => {
    const root = tree("sum");
    await transfer("put", "-r", root, "/sum");
    utimesSync(join(root, "sub/two"), 1.5e9, 1.5e9);
    expect(await transfer("put", "-r", "-c", `${root}/.`, "/sum")).toMatchObject({
      files: 0,
      bytes: 0,
    });
    // The time was taken over, so that a run without --checksum sees it as equal too.
    expect(await transfer("put", "-r", `${root}/.`, "/sum")).toMatchObject({
      files: 0,
      skipped: 4,
    });
    const bytes = readFileSync(join(root, "sub/two"));
    bytes[2 * BLOCK + 7]! ^= 1;
    writeFileSync(join(root, "sub/two"), bytes);
    utimesSync(join(root, "sub/two"), 1.5e9, 1.5e9);
    expect(await transfer("put", "-r", `${root}/.`, "/sum")).toMatchObject({ files: 0 });
    expect(await transfer("put", "-r", "-c", `${root}/.`, "/sum")).toMatchObject({ files: 1 });
    expect((await cluster.ok("cat", "/sum/sub/two")).stdout.equals(bytes)).toBe(true);
  });

  test("holes and parts of blocks are compared too, in both directions", async () => {
    const sparse = cluster.path("sparse");
    writeFileSync(sparse, "begin");
    truncateSync(sparse, 4 * BLOCK);
    writeFileSync(cluster.path("dense"), readFileSync(sparse));
    await transfer("put", sparse, "/sparse");
    await cluster.ok("truncate", "-s", "3", "/sparse");
    await cluster.ok("truncate", "-s", String(4 * BLOCK), "/sparse"); // shows a part of its block
    expect(await transfer("put", "-c", cluster.path("dense"), "/sparse")).toMatchObject({
      files: 1,
    });
    await cluster.ok("cp", "/sparse", "/copy");
    await cluster.ok("truncate", "-s", "5", "/copy");
    await cluster.ok("truncate", "-s", String(4 * BLOCK), "/copy");
    expect(await transfer("put", "-c", sparse, "/copy")).toMatchObject({ skipped: 1 });
    expect(await transfer("get", "-c", "/copy", sparse)).toMatchObject({ skipped: 1 });
    writeFileSync(sparse, "bogus", { flag: "r+" });
    expect(await transfer("get", "-c", "/copy", sparse)).toMatchObject({ files: 1 });
    expect(readFileSync(sparse).equals(readFileSync(cluster.path("dense")))).toBe(true);
  });
});

describe("--exclude and --dry-run", () => {
  test("leave out what matches, in both directions", async () => {
    const root = tree("left");
    expect(await transfer("put", "-r", "--exclude", "*.o", root, "/left")).toMatchObject({
      files: 2,
    });
    const some = await transfer("get", "-r", "--exclude=/sub/", "/left", cluster.path("some"));
    expect(some).toMatchObject({ files: 1, directories: 1, symlinks: 1 });
    const both = ["--exclude", "*", "--exclude", "!one"];
    expect(await transfer("put", "-r", ...both, root, "/both")).toMatchObject({
      files: 1,
      symlinks: 0,
    });
  });

  test("tell what would be done, and do nothing", async () => {
    const root = tree("dry");
    const plan = await told("put", "-r", "-n", root, "/dry");
    expect(plan).toContain(`${root}/ -> /dry/\n`);
    expect(plan).toContain(`${root}/sub/two -> /dry/sub/two\n`);
    expect(plan).toEndWith(
      "dry run: would store 3 files (192 KiB), 2 directories, 1 link or special file\n",
    );
    expect((await cluster.run(["stat", "/dry"])).code).toBe(4);
    await transfer("put", "-r", root, "/dry");
    writeFileSync(join(root, "new"), "");
    const rest = await told("put", "-r", "-n", `${root}/.`, "/dry");
    expect(rest).toBe(
      `${root}/./new -> /dry/new\n` +
        "dry run: would store 1 file (0 B), 2 directories; 4 files are there already\n",
    );
    const back = await told("get", "-r", "-n", "/dry", cluster.path("dry-back"));
    expect(back).toContain(`/dry/sub/two -> ${cluster.path("dry-back")}/sub/two\n`);
    expect(existsSync(cluster.path("dry-back"))).toBe(false);
    const stream = await cluster.run(["put", "-n", "-", "/dry/stream"], {
      stdin: Buffer.from("x"),
    });
    expect(stream).toMatchObject({
      code: 0,
      text: "- -> /dry/stream\ndry run: would store 1 file (0 B)\n",
    });
    expect((await cluster.run(["stat", "/dry/stream"])).code).toBe(4);
    expect((await cluster.run(["get", "-n", "/dry/one", "-"])).code).toBe(2);
    const row = await transfer("put", "-r", "-n", root, "/dry-row");
    expect(row).toMatchObject({ files: 4, bytes: 3 * BLOCK + 9 });
    const nowhere = await runInProcess(cluster, "put", put, [
      "-n",
      root + "/one",
      "/no/such/place",
    ]);
    expect(nowhere).toMatchObject({ code: 4 });
  });

  test("tell what could not be done for a directory in the way, as the transfer itself does", async () => {
    const files = cluster.path("way/files");
    const directories = cluster.path("way/directories");
    mkdirSync(join(directories, "thing"), { recursive: true });
    mkdirSync(files);
    writeFileSync(join(files, "thing"), "");
    await transfer("put", "-r", directories, "/way-directories");
    await transfer("put", "-r", files, "/way-files");
    for (const args of [
      ["put", "-r", "-n", `${files}/.`, "/way-directories"],
      ["get", "-r", "-n", "/way-files/.", directories],
    ] as const) {
      const [name, ...rest] = args;
      const planned = await runInProcess(cluster, name, name === "put" ? put : get, rest);
      expect(planned).toMatchObject({ code: 3 }); // it would store or fetch the file, it said
      expect(planned.stderr).toContain("thing: a directory is there");
      const done = rest.filter((word) => word !== "-n");
      const real = await runInProcess(cluster, name, name === "put" ? put : get, done);
      expect(real).toMatchObject({ code: 3 });
    }
  });
});

describe("a transfer that is interrupted", () => {
  const COUNT = 600;

  function many(name: string): string {
    const root = cluster.path(name);
    mkdirSync(root);
    const random = seededRandom(6);
    for (let file = 0; file < COUNT; file++) {
      writeFileSync(join(root, `file-${file}`), random.bytes(1 + random.below(3 * BLOCK)));
    }
    return root;
  }

  test.each(["SIGINT", "SIGKILL"] as const)(
    "by %s: it goes on, both ways, from what is there",
    async (signal) => {
      const root = many(`many-${signal}`);
      const remote = `/many-${signal}`;
      const countThere = async (): Promise<number> => {
        const listed = await cluster.run(["ls", remote]);
        return listed.text.split("\n").length - 1;
      };
      const first = cluster.spawn(["put", "-r", "-j", "4", root, remote]);
      await until(async () => (await countThere()) > 20, "some files to be stored");
      first.kill(signal);
      const [code, stderr] = await Promise.all([first.exited, first.stderr.text()]);
      if (signal === "SIGINT") {
        expect(code).toBe(130);
        expect(stderr).toMatch(
          /^dfs put: interrupted: stored [\d,]+ files, .* in .*, each whole\n/m,
        );
        expect(stderr).toContain(
          `to go on, give the same command again, with ${root}/. in place of ${root}: what`,
        );
      }
      const there = await countThere();
      expect(there).toBeLessThan(COUNT);
      const rest = await transfer("put", "-r", `${root}/.`, remote);
      expect(rest.files + rest.skipped).toBe(COUNT);
      expect(rest.skipped).toBeGreaterThan(20);

      const target = cluster.path(`back-${signal}`);
      const names = (): string[] => (existsSync(target) ? readdirSync(target) : []);
      const fetching = cluster.spawn(["get", "-r", "-j", "2", remote, target]);
      await until(() => Promise.resolve(names().length > 20), "some files to be fetched");
      fetching.kill(signal);
      expect(await fetching.exited).toBe(signal === "SIGINT" ? 130 : 137);
      // Of a process that was killed, too: hundreds of these lay about for good, and put -r stored them.
      expect(names().filter((name) => name.startsWith(".dfs-get."))).toEqual([]);
      const fetched = await transfer("get", "-r", `${remote}/.`, target);
      expect(fetched.files + fetched.skipped).toBe(COUNT);
      expect(fetched.skipped).toBeGreaterThan(0);
      expect(snapshot(target)).toEqual(snapshot(root));
    },
    PATIENCE_MS,
  );
});

// A file that was sent got the attributes of its source alone; one that was skipped kept those that the source had lost.
test("what is skipped with -p has the attributes of its source, no more and no fewer", async () => {
  const root = tree("attributes");
  const one = Buffer.from(join(root, "one"));
  setAttribute(one, Buffer.from("user.gone"), Buffer.from("1"));
  await transfer("put", "-r", "-p", root, "/attributes");
  const back = cluster.path("attributes-back");
  await transfer("get", "-r", "-p", "/attributes", back);
  removeAttribute(one, Buffer.from("user.gone"));
  setAttribute(one, Buffer.from("user.new"), Buffer.from("2"));
  expect((await transfer("put", "-r", "-p", `${root}/.`, "/attributes")).skipped).toBe(3);
  expect((await cluster.ok("xattr", "list", "/attributes/one")).text).toBe("user.new\n");
  expect((await transfer("get", "-r", "-p", "/attributes/.", back)).skipped).toBe(3);
  expect(listAttributes(Buffer.from(join(back, "one"))).map(String)).toEqual(["user.new"]);
});

test("Ctrl-C ends cp -r: what was copied stays, and it says how much", async () => {
  const root = cluster.path("for-cp");
  mkdirSync(root);
  for (let file = 0; file < 2000; file++) writeFileSync(join(root, `file-${file}`), "x");
  await transfer("put", "-r", root, "/for-cp");
  const copying = cluster.spawn(["cp", "-r", "-v", "/for-cp", "/cp"]);
  await until(async () => (await cluster.run(["ls", "/cp"])).text.split("\n").length > 3, "copies");
  copying.kill("SIGINT");
  const [code, stderr] = await Promise.all([copying.exited, copying.stderr.text()]);
  if (code === 0) return; // it was done before the signal came
  expect(code).toBe(130);
  expect(stderr).toMatch(
    /^dfs cp: interrupted: copied [\d,]+ files, .*, each whole\ngive the same /,
  );
});

describe("progress, as it is seen", () => {
  const slowly = (flags: string): string =>
    `(cat one; sleep 1.5; cat one) | dfs put ${flags} - /slow; echo "[$?]"`;

  beforeAll(() => void tree("slow"));

  function onTerminal(line: string) {
    const child = Bun.spawn(["script", "-qec", `stty cols 60; cd slow; ${line}`, "/dev/null"], {
      cwd: cluster.root,
      env: {
        ...process.env,
        PATH: `${join(startedFrom(), "bin")}:${process.env["PATH"] ?? ""}`,
        HOME: cluster.root,
        DFS_DIR: cluster.dir,
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    return finish(child);
  }

  test("a bar on a terminal, taken away at the end, and what was done", async () => {
    const { text } = await onTerminal(slowly(""));
    expect(text).toContain("\r\u001b[K\u2591");
    const last = text.slice(text.lastIndexOf("\u001b[K") + 3);
    expect(last).toMatch(/^dfs put: stored 1 file, 2 B in \d.* \(\d+ B\/s\)\r\n\[0\]\r\n$/);
  });

  test("nothing with --quiet or --progress none, no bar with --progress plain", async () => {
    for (const flags of ["-q", "--progress none", "--progress plain"]) {
      expect((await onTerminal(slowly(flags))).text).toBe("[0]\r\n");
    }
  });
});

test("--jobs: one at a time gives the same as many; what is no number is refused", async () => {
  const root = tree("jobs");
  cpSync(root, join(cluster.path("jobs-more")), { recursive: true });
  expect(await transfer("put", "-r", "-j1", root, "/jobs")).toMatchObject({ files: 3 });
  expect(
    await transfer("get", "-r", "--jobs=512", "/jobs", cluster.path("jobs-back")),
  ).toMatchObject({
    files: 3,
  });
  expect(snapshot(cluster.path("jobs-back"))).toEqual(snapshot(root));
  for (const wrong of ["0", "513", "many"]) {
    const refused = await cluster.run(["put", "-j", wrong, root, "/"]);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain(`-j ${wrong}: expected a whole number from 1 to 512`);
  }
});
