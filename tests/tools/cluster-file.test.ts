// cluster.json, and where commands look for the metadata server.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  defaultDirectory,
  readClusterFile,
  writeClusterFile,
} from "../../src/tools/shared/cluster-file.ts";
import { findMeta } from "../../src/tools/shared/connect.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("cluster-file");
afterAll(() => folder.remove());

const FILE = {
  meta: "127.0.0.1:4000",
  metaPid: 4711,
  servers: [
    { id: 1, address: "127.0.0.1:4001", pid: 4712, dir: "/d/data-1" },
    { pid: null, dir: "/d/data-2" },
  ],
  settings: { blockSize: 8, replicas: 3, writeQuorum: 2, readQuorum: 1 },
};

function directoryWith(name: string, text?: string): string {
  const dir = join(folder.path, name);
  mkdirSync(dir, { recursive: true });
  if (text !== undefined) writeFileSync(join(dir, "cluster.json"), text);
  return dir;
}

describe("the cluster file", () => {
  test("comes back as it was written, and nothing else is left", () => {
    const dir = directoryWith("written");
    expect(readClusterFile(dir)).toBeUndefined();
    writeClusterFile(dir, FILE);
    writeClusterFile(dir, FILE);
    expect(readClusterFile(dir)).toEqual(FILE);
    expect(readdirSync(dir)).toEqual(["cluster.json"]);
    const raw: unknown = JSON.parse(readFileSync(join(dir, "cluster.json"), "utf8"));
    expect(raw).toMatchObject({ meta: FILE.meta, metaPid: 4711 });
  });

  // What docs/operations.md says made a file that nobody could understand: the line was the last one.
  test("can be read when the line of the key is taken out", () => {
    const dir = directoryWith("without-key");
    writeClusterFile(dir, { ...FILE, keyFile: "/k" });
    const path = join(dir, "cluster.json");
    const lines = readFileSync(path, "utf8").split("\n");
    writeFileSync(path, lines.filter((line) => !line.includes('"keyFile"')).join("\n"));
    expect(readClusterFile(dir)).toEqual(FILE);
  });

  test.each([
    ["{", "JSON"],
    ["[]", "the file is not an object"],
    ["{}", '"servers" is not a list'],
    ['{"servers":[{}]}', "a server has no dir"],
    ['{"servers":[],"meta":5}', '"meta" is not a text'],
    ['{"servers":[],"metaPid":"x"}', '"metaPid" is not a whole number'],
  ])("%s is refused by name", (text, reason) => {
    const dir = directoryWith("refused", text);
    expect(() => readClusterFile(dir)).toThrow("cannot understand");
    expect(() => readClusterFile(dir)).toThrow(reason);
  });

  test("is looked for where the XDG specification says", () => {
    expect(defaultDirectory({ HOME: "/home/u" })).toBe("/home/u/.local/share/dfs");
    expect(defaultDirectory({ HOME: "/home/u", XDG_DATA_HOME: "/data" })).toBe("/data/dfs");
    expect(defaultDirectory({ HOME: "/home/u", XDG_DATA_HOME: "data" })).toBe(
      "/home/u/.local/share/dfs",
    );
  });
});

describe("findMeta", () => {
  const dir = directoryWith("found");
  writeClusterFile(dir, FILE);
  function find(
    options: { meta?: string; dir?: string },
    typed: string[],
    env: Record<string, string> = {},
  ) {
    return findMeta({
      options: { meta: options.meta, dir: options.dir },
      typed: new Set(typed),
      env,
    });
  }

  test("--meta comes first", () => {
    expect(find({ meta: "a:1", dir }, ["meta", "dir"])).toMatchObject({
      address: "a:1",
      source: "--meta",
    });
  });

  test("a directory that was typed comes before DFS_META", () => {
    expect(find({ meta: "a:1", dir }, ["dir"])).toMatchObject({ address: FILE.meta, dir });
  });

  test("DFS_META comes before DFS_DIR and the default directory", () => {
    expect(find({ meta: "a:1", dir }, [])).toMatchObject({ address: "a:1", source: "DFS_META" });
  });

  test("then the default directory", () => {
    const data = directoryWith("data");
    mkdirSync(join(data, "dfs"));
    writeClusterFile(join(data, "dfs"), { ...FILE, metaPid: null });
    expect(find({}, [], { XDG_DATA_HOME: data })).toMatchObject({
      address: FILE.meta,
      running: false,
    });
  });

  test("nothing there: it says where it looked and what to do", () => {
    const empty = directoryWith("empty");
    expect(() => find({ dir: empty }, ["dir"])).toThrow(`there is none in ${empty}`);
    expect(() => find({ dir: empty }, ["dir"])).toThrow(`dfs up --dir ${empty}`);
    expect(() => find({}, [], { XDG_DATA_HOME: empty })).toThrow("start one here with: dfs up\n");
  });
});
