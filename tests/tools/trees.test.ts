// put -r and get -r against a real cluster: odd names, links, modes, times, special files, partial failures.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { makeNode, setAttribute, setTimes, getAttribute } from "../../src/tools/transfer/native.ts";
import { LocalCluster } from "../support/local-cluster.ts";
import { snapshot } from "./support/files.ts";

const isRoot = process.geteuid?.() === 0;
if (!isRoot) console.warn("skipped: storing devices (needs root, which alone may make them)");
const b = (text: string): Buffer => Buffer.from(text, "latin1");

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
});
afterAll(() => cluster.stop());

/** Names that break careless programs. */
const ODD_NAMES: readonly Buffer[] = [
  b("plain"),
  b("with space"),
  b(" leading and trailing "),
  b("new\nline"),
  b("tab\tand\rreturn"),
  b("\x1b[31mred\x1b[0m"),
  b("back\\slash"),
  b("quote'\"`$(x)"),
  b("-dash"),
  b("--recursive"),
  b("..."),
  b("..x"),
  b(".hidden"),
  b("*?[a]"),
  b("\xff\xfe invalid"),
  b("\xc3\x28"),
  b("\x80"),
  Buffer.from("Überraschung 本 🙂"),
  Buffer.from("e\u0301"), // decomposed
  Buffer.from("\u00e9"), // composed: another name
  Buffer.alloc(255, "n"),
  Buffer.alloc(255, 0xe9),
];

/** A tree with everything that a copy must bring along. */
function makeTree(root: string): void {
  mkdirSync(join(root, "empty"), { recursive: true });
  mkdirSync(join(root, "odd"));
  for (const [index, name] of ODD_NAMES.entries()) {
    writeFileSync(Buffer.concat([b(`${root}/odd/`), name]), `content ${index}`);
  }
  const random = seededRandom(11);
  for (const size of [0, 1, 65_535, 65_536, 65_537, 131_072, 300_000]) {
    writeFileSync(join(root, `size-${size}`), random.bytes(size));
  }
  let deep = root;
  for (let depth = 0; depth < 40; depth++) deep = join(deep, `d${depth}`);
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, "bottom"), "bottom");
  symlinkSync("size-1", join(root, "link"));
  symlinkSync("nowhere/at all", join(root, "dangling"));
  symlinkSync("/etc/passwd", join(root, "absolute"));
  symlinkSync("odd", join(root, "to-directory"));
  symlinkSync(b("\xff\n"), Buffer.concat([b(`${root}/`), b("link-\xff")]));
  chmodSync(join(root, "size-1"), 0o4751);
  chmodSync(join(root, "size-0"), 0o400);
  chmodSync(join(root, "empty"), 0o1777);
  makeNode(b(join(root, "fifo")), 0o010640, 0n);
  setTimes(b(join(root, "size-1")), {
    atimeNs: 1_600_000_000_000_000_001n,
    mtimeNs: 1_600_000_000_123_456_789n,
  });
  setTimes(b(join(root, "link")), { atimeNs: 5n, mtimeNs: 7n });
  setTimes(b(join(root, "odd")), { atimeNs: 1n, mtimeNs: 1_234_567_890_987_654_321n });
}

describe("a tree", () => {
  let source: string;
  beforeAll(() => {
    source = cluster.path("source");
    makeTree(source);
  });

  test("comes back the same with -r -p: names, content, links, modes, times to the nanosecond", async () => {
    const stored = await cluster.rows("put", "-r", "-p", source, "/kept");
    expect(stored).toEqual([expect.objectContaining({ failed: 0, symlinks: 5, others: 1 })]);
    const put = await cluster.ok("get", "-r", "-p", "/kept", cluster.path("kept"));
    expect(put.stderr).toBe("");
    const all = { modes: true, times: true };
    expect(snapshot(cluster.path("kept"), all)).toEqual(snapshot(source, all));
  });

  test("comes back with the same names, content and links with -r alone, as the user's own", async () => {
    await cluster.ok("put", "-r", source, "/plain");
    await cluster.ok("get", "-r", "/plain", cluster.path("plain"));
    expect(snapshot(cluster.path("plain"))).toEqual(snapshot(source));
    const mode = (name: string): number => lstatSync(cluster.path("plain", name)).mode & 0o7777;
    const umask = process.umask();
    expect(mode("size-1")).toBe(0o751 & ~umask); // no set-id bits
    expect(mode("size-0")).toBe(0o400 & ~umask);
    expect(mode("empty")).toBe(0o1777 & ~umask); // a directory stays sticky, as with cp -r
    const times = { times: true, directoryTimes: false };
    const files = (root: string): string[] =>
      [...snapshot(root, times).values()].filter((facts) => facts.startsWith("file"));
    expect(files(cluster.path("plain")).toSorted()).toEqual(files(source).toSorted());
  });

  test("put again over itself changes nothing but what changed", async () => {
    writeFileSync(join(source, "size-65536"), "shorter now");
    await cluster.ok("put", "-r", "-p", `${source}/.`, "/kept");
    rmSync(cluster.path("kept"), { recursive: true });
    await cluster.ok("get", "-r", "-p", "/kept", cluster.path("kept"));
    const all = { modes: true, times: true };
    expect(snapshot(cluster.path("kept"), all)).toEqual(snapshot(source, all));
  });

  test("get again over itself replaces files, links and fifos", async () => {
    await cluster.ok("get", "-r", "-p", "/kept/.", cluster.path("kept"));
    const all = { modes: true, times: true };
    expect(snapshot(cluster.path("kept"), all)).toEqual(snapshot(source, all));
    expect(readdirSync(cluster.path("kept")).filter((name) => name.startsWith(".dfs"))).toEqual([]);
  });

  test("is listed with every name escaped, and exactly in JSON", async () => {
    const { text } = await cluster.ok("ls", "-l", "/kept/odd");
    // oxlint-disable-next-line no-control-regex -- nothing but newlines between rows
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/u);
    expect(text.trimEnd().split("\n")).toHaveLength(ODD_NAMES.length);
    const rows = await cluster.rows<{ name: string; nameBase64?: string }>("ls", "/kept/odd");
    const names = rows.map((row) =>
      row.nameBase64 === undefined ? Buffer.from(row.name) : Buffer.from(row.nameBase64, "base64"),
    );
    const sorted = [...ODD_NAMES].sort((one, other) => Buffer.compare(one, other));
    expect(names.map((name) => name.toString("hex"))).toEqual(
      sorted.map((name) => name.toString("hex")),
    );
  });

  test("is removed whole", async () => {
    await cluster.ok("rm", "-r", "/kept", "/plain");
    expect((await cluster.ok("ls", "/")).text).toBe("");
  });
});

describe("hard links", () => {
  test("stay links under -p, in both directions, and are separate files without", async () => {
    const source = cluster.path("links");
    mkdirSync(join(source, "sub"), { recursive: true });
    writeFileSync(join(source, "one"), "shared");
    linkSync(join(source, "one"), join(source, "sub", "two"));
    linkSync(join(source, "one"), join(source, "three"));
    await cluster.ok("put", "-r", "-p", source, "/links");
    const [row] = await cluster.rows<{ nlink: number }>("stat", "/links/sub/two");
    expect(row?.nlink).toBe(3);
    await cluster.ok("get", "-r", "-p", "/links", cluster.path("links-back"));
    const inode = (name: string): number => lstatSync(cluster.path("links-back", name)).ino;
    expect(inode("sub/two")).toBe(inode("one"));
    expect(inode("three")).toBe(inode("one"));
    // Over itself: renaming one name of a file over another does nothing, and must leave nothing.
    await cluster.ok("get", "-r", "-p", "/links/.", cluster.path("links-back"));
    await cluster.ok("put", "-r", "-p", `${source}/.`, "/links");
    expect(readdirSync(cluster.path("links-back")).sort()).toEqual(["one", "sub", "three"]);
    expect((await cluster.ok("ls", "/links")).text).toBe("one\nsub\nthree\n");
    await cluster.ok("get", "-r", "/links", cluster.path("links-apart"));
    expect(lstatSync(cluster.path("links-apart", "one")).nlink).toBe(1);
  });
});

describe("extended attributes", () => {
  test("of the user's kind travel with -p, both ways", async () => {
    const source = cluster.path("attributes");
    mkdirSync(source);
    writeFileSync(join(source, "file"), "");
    for (const path of [source, join(source, "file")]) {
      setAttribute(b(path), b("user.note"), b("\xff\x00 kept"));
    }
    await cluster.ok("put", "-r", "-p", source, "/attributes");
    await cluster.ok("get", "-r", "-p", "/attributes", cluster.path("attributes-back"));
    for (const path of ["attributes-back", "attributes-back/file"]) {
      expect(getAttribute(b(cluster.path(path)), b("user.note"))).toEqual(b("\xff\x00 kept"));
    }
  });
});

test("a sparse file of 5 GiB is stored and fetched as one", async () => {
  const descriptor = openSync(cluster.path("sparse"), "w");
  ftruncateSync(descriptor, 5 * 2 ** 30);
  writeSync(descriptor, "in the middle", 2 ** 31 + 5);
  closeSync(descriptor);
  await cluster.ok("put", cluster.path("sparse"), "/sparse");
  const [row] = await cluster.rows<{ size: number; allocated: number }>("stat", "/sparse");
  expect(row?.size).toBe(5 * 2 ** 30);
  expect(row?.allocated).toBeLessThan(2 ** 20);
  await cluster.ok("get", "/sparse", cluster.path("sparse-back"));
  const back = lstatSync(cluster.path("sparse-back"));
  expect(back.size).toBe(5 * 2 ** 30);
  expect(back.blocks * 512).toBeLessThan(2 ** 20);
  const part = await cluster.ok("cat", "--offset", String(2 ** 31), "--length", "32", "/sparse");
  expect(part.stdout).toEqual(
    Buffer.concat([Buffer.alloc(5), b("in the middle"), Buffer.alloc(14)]),
  );
});

describe("what cannot be done", () => {
  test("is listed, the rest is done: exit 3", async () => {
    const source = cluster.path("partly");
    mkdirSync(source);
    writeFileSync(join(source, "good"), "good");
    mkdirSync(cluster.path("in-the-way", "good"), { recursive: true });
    const result = await cluster.run([
      "put",
      cluster.path("no such"),
      join(source, "good"),
      source, // a directory, without -r
      "/",
    ]);
    expect(result.code).toBe(3);
    expect(result.stderr).toContain("no such file or directory");
    expect(result.stderr).toContain("-r stores it with everything in it");
    expect((await cluster.ok("cat", "/good")).text).toBe("good");
    const back = await cluster.run(["get", "/good", "/nothing", cluster.path("in-the-way")]);
    expect(back.code).toBe(1); // neither of them: a directory is in the way of one
    expect(back.stderr).toContain("a directory is there");
  });

  test.if(isRoot)("devices need -p: told, the rest is done", async () => {
    const source = cluster.path("devices");
    mkdirSync(source);
    makeNode(b(join(source, "null")), 0o020600, 0x0103n);
    chmodSync(join(source, "null"), 0o666); // whatever the umask is
    writeFileSync(join(source, "file"), "x");
    const without = await cluster.run(["put", "-r", source, "/devices"]);
    expect(without.code).toBe(3);
    expect(without.stderr).toContain("it is a device");
    await cluster.ok("put", "-r", "-p", `${source}/.`, "/devices");
    expect((await cluster.ok("ls", "-l", "/devices/null")).text).toMatch(/^crw-rw-rw- .* 1, 3 /);
    const got = await cluster.run(["get", "-r", "/devices", cluster.path("devices-back")]);
    expect(got.code).toBe(3);
    expect(readFileSync(cluster.path("devices-back", "file"), "utf8")).toBe("x");
    await cluster.ok("get", "-r", "-p", "/devices", cluster.path("devices-kept"));
    expect(lstatSync(cluster.path("devices-kept", "null")).rdev).toBe(0x0103);
  });

  test("a tree goes on over what is in the way", async () => {
    const source = cluster.path("clash");
    mkdirSync(join(source, "a"), { recursive: true });
    writeFileSync(join(source, "a", "x"), "x");
    writeFileSync(join(source, "b"), "b");
    writeFileSync(join(source, "c"), "c");
    await cluster.ok("mkdir", "-p", "/clash/b");
    await cluster.ok("put", join(source, "c"), "/clash/a"); // a file where a directory comes
    const result = await cluster.run(["put", "-r", `${source}/.`, "/clash"]);
    expect(result.code).toBe(3);
    expect(result.stderr.trimEnd().split("\n")).toHaveLength(2);
    expect((await cluster.ok("cat", "/clash/c")).text).toBe("c");
  });

  test("names too long and paths too long are clear errors", async () => {
    const name = await cluster.run(["put", "/dev/null", `/${"x".repeat(256)}`]);
    expect(name).toMatchObject({ code: 1 });
    expect(name.stderr).toContain("it has 256 bytes");
    const path = await cluster.run(["ls", "/abcdefg".repeat(513)]);
    expect(path).toMatchObject({ code: 1 });
    expect(path.stderr).toContain("a path has at most 4096");
  });

  test("a path that grows too long within a tree is told, and the rest is stored", async () => {
    const source = cluster.path("long");
    const part = "p".repeat(200);
    mkdirSync(join(source, part), { recursive: true });
    writeFileSync(join(source, "short"), "short");
    const target = `/${"t".repeat(250)}`.repeat(16);
    await cluster.ok("mkdir", "-p", target);
    const result = await cluster.run(["put", "-r", `${source}/.`, target]);
    expect(result.code).toBe(3);
    expect(result.stderr).toMatch(/too long|at most 4096/);
    expect((await cluster.ok("ls", target)).text).toBe("short\n");
    expect(existsSync(join(source, "short"))).toBe(true);
  });
});
