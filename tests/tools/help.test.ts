// Help texts, frozen: what --help says is read by people and pasted into documents.
// A wanted change is taken over with UPDATE_GOLDEN=1.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
