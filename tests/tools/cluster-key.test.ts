// The file with the cluster key: how it is made, which one is meant, and which are refused.

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MIN_KEY_BYTES } from "../../src/protocol/authentication.ts";
import { readKey, writeNewKey } from "../../src/tools/shared/cluster-key.ts";
import { findKey, type MetaAddress } from "../../src/tools/shared/connect.ts";
import { temporaryFolder } from "./support/files.ts";
import { dfs } from "./support/run.ts";

const folder = temporaryFolder("cluster-key");
afterAll(() => folder.remove());

function keyFile(name: string, content: string, mode = 0o600): string {
  const path = join(folder.path, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

describe("a new key", () => {
  test("is random, long enough and its owner's alone, whatever the umask", () => {
    const before = process.umask(0);
    try {
      const paths = ["one", "two"].map((name) => join(folder.path, `new-${name}`));
      for (const path of paths) writeNewKey(path, false);
      const [one, two] = paths.map((path) => readKey(path));
      expect(one).not.toEqual(two!);
      expect(one!.length).toBeGreaterThanOrEqual(MIN_KEY_BYTES);
      expect(paths.map(modeOf)).toEqual([0o600, 0o600]);
    } finally {
      process.umask(before);
    }
  });

  test("never takes another one's place unless that is wished, and then is no more open", async () => {
    const path = keyFile("present", "the key that is in use\n", 0o644);
    const refused = await dfs(["key", "new", path], { home: folder.path });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("--force replaces it");
    expect(readFileSync(path, "utf8")).toBe("the key that is in use\n");
    const replaced = await dfs(["key", "new", "--force", path], { home: folder.path });
    expect(replaced.code).toBe(0);
    expect(readKey(path).length).toBe(64);
    expect(modeOf(path)).toBe(0o600);
    expect(replaced.stdout + replaced.stderr).not.toContain(readFileSync(path, "utf8").trim());
  });

  test("is that of the local cluster when no file is named", async () => {
    const result = await dfs(["key", "new", "--json"], {
      home: folder.path,
      env: { DFS_DIR: join(folder.path, "a", "cluster") },
    });
    const path = join(folder.path, "a/cluster/cluster.key");
    expect(JSON.parse(result.stdout)).toEqual({ keyFile: path });
    expect(readKey(path).length).toBe(64);
  });

  test.each(["", "-"])("goes into a file, not into %j", async (name) => {
    const result = await dfs(["key", "new", name], { home: folder.path });
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("a key goes into a file: name one");
  });

  test("in a directory that is missing is refused by name", async () => {
    const path = join(folder.path, "missing", "key");
    const result = await dfs(["key", "new", path], { home: folder.path });
    expect(result.code).toBe(4);
    expect(result.stderr).toContain(`cannot write ${path}: no such file or directory`);
  });
});

describe("readKey", () => {
  test.each([0o640, 0o604, 0o644, 0o620, 0o601, 0o660, 0o777])(
    "refuses a file that others may use: mode %o",
    (mode) => {
      const path = keyFile("open", "0123456789abcdef\n", mode);
      const shown = `0${mode.toString(8)}`;
      expect(() => readKey(path)).toThrow(`mode ${shown}`);
      expect(() => readKey(path)).toThrow(`chmod 600 ${path}`);
      expect(() => readKey(path)).not.toThrow("0123456789abcdef");
    },
  );

  test.each([0o600, 0o400])("takes one that only its owner may read: mode %o", (mode) => {
    const path = keyFile(`closed-${mode}`, "0123456789abcdef\n", mode);
    expect(Buffer.from(readKey(path)).toString()).toBe("0123456789abcdef");
  });

  test("refuses what is no key: a long file, a directory, nothing", () => {
    expect(() => readKey(keyFile("long", "x".repeat(4097)))).toThrow("is it the right file?");
    expect(() => readKey(folder.path)).toThrow(`cannot read the cluster key ${folder.path}`);
    const missing = join(folder.path, "nothing");
    expect(() => readKey(missing)).toThrow(`${missing}: no such file or directory`);
  });
});

// The error repeated the key, into terminals and logs, with --debug twice.
test.each([
  "87640e09641ba265bfdb757afa049abe58f2ecc1ed3168c7634da3645f2fafe0",
  "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ",
])("a key in place of its file is not repeated: %s", async (key) => {
  for (const args of [
    ["ls", "--debug", "--meta", "127.0.0.1:9", "--key-file", key, "/"],
    ["up", "--debug", "--dir", join(folder.path, "typed-key"), "--key-file", key],
    ["meta", "--debug", "--dir", join(folder.path, "typed-meta"), "--key-file", key],
  ]) {
    const result = await dfs([...args], { home: folder.path });
    expect(result.code).toBe(4);
    expect(result.stderr).toContain("looks like a key and is not shown");
    expect(result.stdout + result.stderr).not.toContain(key);
  }
});

test("a key that was remembered and is gone: what to do", async () => {
  const dir = join(folder.path, "remembered");
  mkdirSync(dir);
  const keyFile = join(folder.path, "gone");
  writeFileSync(
    join(dir, "cluster.json"),
    JSON.stringify({ meta: "127.0.0.1:9", servers: [], keyFile }),
  );
  const result = await dfs(["up", "--detach", "--dir", dir], { home: folder.path });
  expect(result.code).toBe(4);
  expect(result.stderr).toContain(
    `cannot read the cluster key ${keyFile}: no such file or directory\n`,
  );
  expect(result.stderr).toContain("put the file back, or name another with --key-file");
});

test("a key may come out of a pipe; one that nobody writes to does not hold up the command", async () => {
  const path = join(folder.path, "fifo");
  expect(Bun.spawnSync(["mkfifo", "-m", "600", path]).exitCode).toBe(0);
  expect(readKey(path).length).toBe(0); // it waited here for ever, and no signal but KILL ended it
  const late = `sleep 0.3; cat ${keyFile("piped", "0123456789abcdef\n")}`;
  const reading = Bun.spawn(["bash", "-c", `"${process.execPath}" -e '${READ_TYPED}' <(${late})`], {
    stdout: "pipe",
  });
  expect(await reading.stdout.text()).toBe("0123456789abcdef");
});

const READ_TYPED =
  `import { readKey } from "${join(import.meta.dir, "../../src/tools/shared/cluster-key.ts")}";` +
  `process.stdout.write(readKey(process.argv.at(-1)));`;

describe("findKey", () => {
  const text = (name: string): string => `the key of ${name.padEnd(16)}`;
  const typed = keyFile("typed", text("typed"));
  const own = keyFile("own", text("own"));
  const local: MetaAddress = { address: "a:1", source: "d", dir: "d", running: true, keyFile: own };
  const elsewhere: MetaAddress = { address: "a:1", source: "--meta", running: true };
  test.each([
    ["what was typed comes first", { keyFile: typed }, ["keyFile"], local, "typed"],
    ["then that of the local cluster", { keyFile: typed }, [], local, "own"],
    ["then that of the environment", { keyFile: typed }, [], elsewhere, "typed"],
  ])("%s", (_, options, names, meta, wanted) => {
    const found = findKey({ options, typed: new Set(names) }, meta);
    expect(Buffer.from(found!).toString()).toBe(text(wanted));
  });

  test("a cluster without a key needs none", () => {
    const options = { keyFile: undefined };
    expect(findKey({ options, typed: new Set() }, elsewhere)).toBeUndefined();
  });
});
