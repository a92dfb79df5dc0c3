// Help texts, frozen: what --help says is read by people and pasted into documents.
// A wanted change is taken over with UPDATE_GOLDEN=1.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TOPICS } from "../../src/tools/shared/topics.ts";
import { dfs } from "./support/run.ts";

const GOLDEN = join(import.meta.dir, "../golden/help");

/** Wider than this is hard to read in a terminal beside something else. */
const WIDEST = 140;

const COMMANDS = [
  [],
  ["up"],
  ["down"],
  ["mount"],
  ["umount"],
  ["put"],
  ["get"],
  ["cat"],
  ["ls"],
  ["stat"],
  ["mkdir"],
  ["rm"],
  ["mv"],
  ["touch"],
  ["truncate"],
  ["chmod"],
  ["chown"],
  ["ln"],
  ["cp"],
  ["df"],
  ["du"],
  ["tree"],
  ["find"],
  ["xattr", "list"],
  ["xattr", "get"],
  ["xattr", "set"],
  ["xattr", "rm"],
  ["explain"],
  ["status"],
  ["server", "list"],
  ["server", "stop"],
  ["server", "drain"],
  ["server", "undrain"],
  ["server", "remove"],
  ["rebuild"],
  ["key", "new"],
  ["corrupt"],
  ["drill"],
  ["scrub"],
  ["fsck"],
  ["log", "dump"],
  ["meta", "backup"],
  ["meta", "restore"],
  ["meta", "quarantine"],
  ["meta"],
  ["data"],
  ["completion"],
  ["version"],
];

function golden(name: string, text: string): string {
  const path = join(GOLDEN, `${name}.txt`);
  if (process.env["UPDATE_GOLDEN"] === "1") {
    mkdirSync(GOLDEN, { recursive: true });
    writeFileSync(path, text);
  }
  return existsSync(path) ? readFileSync(path, "utf8") : `no such file: ${path}`;
}

describe("--help", () => {
  test.each(COMMANDS.map((words) => [words] as const))("of dfs %j", async (words) => {
    const { code, stdout, stderr } = await dfs([...words, "--help"], { home: tmpdir() });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(golden(["dfs", ...words].join("-"), stdout));
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(WIDEST);
    if (words.length === 0) return;
    for (const part of ["Usage:", "Options", "Examples:", "Exit status:"]) {
      expect(stdout).toContain(part);
    }
  });
});

describe("dfs help TOPIC", () => {
  test.each(TOPICS.map(({ name }) => [name] as const))("%s", async (name) => {
    const { code, stdout, stderr } = await dfs(["help", name], { home: tmpdir() });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toStartWith(`dfs help ${name}: `); // a command of the same name was told of instead
    expect(stdout).toBe(golden(`topic-${name}`, stdout));
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(WIDEST);
  });

  test("commands that a topic names are there", async () => {
    const list = (await dfs([], { home: tmpdir() })).stdout;
    for (const { name, load } of TOPICS) {
      // What is set off by dfs at the beginning of a line or behind two spaces is a command to type.
      for (const [, command = ""] of (await load()).matchAll(/(?:^ {2}|&& )dfs ([a-z]+)/gm)) {
        expect({ name, list, known: list.includes(`\n  ${command} `) }).toEqual({
          name,
          list,
          known: true,
        });
      }
    }
  });

  test("of a command is its --help; of nothing that there is, it says what may be meant", async () => {
    const run = (...words: string[]) => dfs(["help", ...words], { home: tmpdir() });
    expect((await run("server", "list")).stdout).toBe(
      (await dfs(["server", "list", "--help"], { home: tmpdir() })).stdout,
    );
    expect(await run("plasement")).toEqual({
      code: 2,
      stdout: "",
      stderr:
        "dfs: there is no help on plasement: neither a command nor a topic\n" +
        "did you mean dfs help placement?\n",
    });
    expect((await run("qqqqqq")).stderr).toContain("dfs help lists both");
  });
});
