// The same commands on a cluster and, with the programs of the system, on a local directory; and whether both look the same.

import { expect } from "bun:test";
import { lstatSync, mkdirSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../../src/base/errors.ts";
import { chmod } from "../../../src/tools/chmod.ts";
import { chown } from "../../../src/tools/chown.ts";
import { cp } from "../../../src/tools/cp.ts";
import { find } from "../../../src/tools/find.ts";
import { ln } from "../../../src/tools/ln.ts";
import { ls } from "../../../src/tools/ls.ts";
import { get } from "../../../src/tools/get.ts";
import { mkdir } from "../../../src/tools/mkdir.ts";
import { mv } from "../../../src/tools/mv.ts";
import { put } from "../../../src/tools/put.ts";
import { xattrRm, xattrSet } from "../../../src/tools/xattr.ts";
import type { Command, OptionSet } from "../../../src/tools/shared/command.ts";
import { rm } from "../../../src/tools/rm.ts";
import { stat } from "../../../src/tools/stat.ts";
import { touch } from "../../../src/tools/touch.ts";
import { truncate } from "../../../src/tools/truncate.ts";
import type { LocalCluster } from "../../support/local-cluster.ts";
import { runInProcess, type InProcessResult } from "./in-process.ts";

const COMMANDS: Readonly<Record<string, Command<OptionSet>>> = {
  chmod,
  chown,
  cp,
  find,
  get,
  ln,
  ls,
  mkdir,
  mv,
  put,
  rm,
  stat,
  touch,
  truncate,
  "xattr set": xattrSet,
  "xattr rm": xattrRm,
};

/** Runs a dfs command in this process. */
export function dfsIn(cluster: LocalCluster, ...words: string[]): Promise<InProcessResult> {
  const [name = "", ...args] = words;
  const command = COMMANDS[name];
  if (command === undefined) throw new Error(`no such command here: ${name}`);
  return runInProcess(cluster, name, command, args);
}

/** The rows that it prints with --json. @throws Error when it fails. */
export async function rowsIn<Row>(cluster: LocalCluster, ...words: string[]): Promise<Row[]> {
  const [name = "", ...args] = words;
  const { code, text, stderr } = await dfsIn(cluster, name, "--json", ...args);
  if (code !== 0) throw new Error(`dfs ${words.join(" ")} gave ${code}: ${stderr}`);
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as Row);
}

/**
 * What may be compared of each file. Sizes of directories and links of directories differ between file systems. `oldTimes` are
 * times of change that were set or kept, to the nanosecond; others are of today, and differ. Those of directories are left out:
 * a file that is replaced by put or cp changes them, as its name is given to another file; cp(1) writes to the file itself.
 */
export type Compared = "mode" | "owner" | "size" | "times" | "oldTimes" | "nlink";

/** Nothing that happens in a test happens before. */
const TODAY_NS = 1_700_000_000_000_000_000n;

interface Row {
  readonly path: string;
  readonly type: string;
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  readonly atimeNs: string;
  readonly mtimeNs: string;
  readonly target?: string;
}

/** A directory of the cluster, `/NAME`, and a local one, in which relative paths mean the same. */
export class Mirror {
  readonly #cluster: LocalCluster;
  readonly #local: string;
  readonly #name: string;

  constructor(cluster: LocalCluster, name: string) {
    this.#cluster = cluster;
    this.#name = name;
    this.#local = cluster.path("mirrors");
    mkdirSync(this.#local, { recursive: true });
  }

  /**
   * Runs a command with the same arguments in both places; paths begin with the mirror's name. Both must succeed or both
   * must fail. Returns what dfs printed.
   */
  run(...words: string[]): Promise<InProcessResult> {
    return this.pair(words, words);
  }

  /** As `run`, where the two are typed differently, or the local side is no program but throws when it fails. */
  async pair(
    words: readonly string[],
    locally: readonly string[] | (() => void),
  ): Promise<InProcessResult> {
    const local = this.#locally(locally);
    const result = await dfsIn(this.#cluster, ...words);
    const told = `${words.join(" ")}\n${local.stderr}${result.stderr}`;
    expect({ told, done: result.code === 0 }).toEqual({ told, done: local.done });
    return result;
  }

  #locally(work: readonly string[] | (() => void)): { done: boolean; stderr: string } {
    if (typeof work !== "function") {
      const { exitCode, stderr } = Bun.spawnSync([...work], {
        cwd: this.#local,
        env: { ...process.env, LC_ALL: "C" },
        stdin: "ignore",
      });
      return { done: exitCode === 0, stderr: stderr.toString() };
    }
    try {
      work();
      return { done: true, stderr: "" };
    } catch (error) {
      return { done: false, stderr: `${messageOf(error)}\n` };
    }
  }

  /** A path of the local directory. */
  path(...parts: string[]): string {
    return join(this.#local, ...parts);
  }

  /** Expects the same files with the same facts in both places. */
  async expectSame(...compared: Compared[]): Promise<void> {
    const root = await rowsIn<Row>(this.#cluster, "stat", `/${this.#name}`);
    const inside = await rowsIn<Row>(this.#cluster, "ls", "-R", `/${this.#name}`);
    const theirs = new Map<string, object>();
    this.#look(this.#name, theirs, compared);
    const ours = [...root, ...inside].map(
      (row) => [row.path.replace(/^\//, ""), factsOf(row, compared)] as const,
    );
    expect(Object.fromEntries(ours)).toEqual(Object.fromEntries(theirs));
  }

  #look(path: string, found: Map<string, object>, compared: readonly Compared[]): void {
    const full = join(this.#local, path);
    const stats = lstatSync(full, { bigint: true });
    const type = stats.isDirectory()
      ? "directory"
      : stats.isSymbolicLink()
        ? "symlink"
        : stats.isFIFO()
          ? "fifo"
          : "file";
    const row: Row = {
      path,
      type,
      mode: (Number(stats.mode) & 0o7777).toString(8).padStart(4, "0"),
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      size: Number(stats.size),
      nlink: Number(stats.nlink),
      atimeNs: String(stats.atimeNs),
      mtimeNs: String(stats.mtimeNs),
      ...(type === "symlink" ? { target: readlinkSync(full) } : {}),
    };
    found.set(path, factsOf(row, compared));
    if (type !== "directory") return;
    for (const name of readdirSync(full)) this.#look(`${path}/${name}`, found, compared);
  }
}

function factsOf(row: Row, compared: readonly Compared[]): object {
  const wants = (what: Compared): boolean => compared.includes(what);
  const isDirectory = row.type === "directory";
  return {
    type: row.type,
    ...(row.target === undefined ? {} : { target: row.target }),
    ...(wants("mode") && row.type !== "symlink" ? { mode: row.mode } : {}),
    ...(wants("owner") ? { uid: row.uid, gid: row.gid } : {}),
    ...(wants("size") && !isDirectory ? { size: row.size } : {}),
    ...(wants("nlink") && !isDirectory ? { nlink: row.nlink } : {}),
    ...(wants("oldTimes") && !isDirectory
      ? { mtimeNs: BigInt(row.mtimeNs) < TODAY_NS ? row.mtimeNs : "today" }
      : {}),
    ...(wants("times") ? { atimeNs: row.atimeNs, mtimeNs: row.mtimeNs } : {}),
  };
}
