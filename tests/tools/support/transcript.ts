// What commands print, as it is kept in golden files: the command line, standard output, standard error marked with "! ", and
// the exit status; with everything replaced that differs from run to run.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { startedFrom, startedWith } from "../../support/bundled-project.ts";
import { finish, runMark, type LocalCluster } from "../../support/local-cluster.ts";

const FOLDER = join(import.meta.dir, "../../golden/situations");

/** What stands for what differs from run to run, besides the folder and the addresses of the cluster. */
const VARYING: readonly (readonly [RegExp, string])[] = [
  [/\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?/g, "TIME"],
  [/\b\d+(\.\d+)? (s|ms|min|h|days?)\b(?! (seconds|min))/g, "N s"],
  [/\b(process|pid) \d+/g, "$1 PID"],
  [/\bwithin \d+ ms/g, "within N ms"],
  // Which server is full first is a matter of moments.
  [/^! dfs put: warning: some blocks have only .*\n/gm, ""],
  [/\ball \d usable data servers are\b/g, "all N usable data servers are"],
  [/(CAPACITY(?:\\e\[22m)? +)[\d.]+ [KMGT]iB/g, "$1ROOM"],
  [/\bdfs-drill-\w{6}\b/g, "dfs-drill-XXXXXX"],
  [/\bseed \d+\b/g, "seed SEED"],
  [/--seed \d+\b/g, "--seed SEED"],
  [/\b127\.0\.0\.1:\d{4,5}\b/g, "ADDRESS"],
  [/\b\d+(\.\d+)? [KMGT]iB\/s/g, "RATE"],
  [/\b[0-9a-f]{16}\b/g, "NUMBER"],
  [/\b[0-9a-f]{8}-[0-9a-f-]{27}\b/g, "UUID"],
];

export class Transcript {
  readonly #cluster: LocalCluster;
  readonly #sections: string[] = [];

  constructor(cluster: LocalCluster) {
    this.#cluster = cluster;
  }

  /** Runs a line of bash in which `dfs` is the command; keeps what it printed. */
  async run(line: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#sections.push(await this.#section(line, env));
  }

  /** Runs several lines at the same time, and keeps them in their order. */
  async runAll(
    lines: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const AT_ONCE = 4;
    for (let start = 0; start < lines.length; start += AT_ONCE) {
      const some = lines.slice(start, start + AT_ONCE);
      this.#sections.push(...(await Promise.all(some.map((line) => this.#section(line, env)))));
    }
  }

  async #section(line: string, env: Readonly<Record<string, string>>): Promise<string> {
    const child = Bun.spawn(["bash", "-c", line], {
      cwd: this.#cluster.root,
      env: {
        PATH: `${join(startedFrom(), "bin")}:${process.env["PATH"] ?? ""}`,
        HOME: this.#cluster.root,
        DFS_DIR: this.#cluster.dir,
        TMPDIR: this.#cluster.root,
        LC_ALL: "C.UTF-8",
        TERM: "xterm",
        TZ: "UTC",
        ...runMark(),
        ...startedWith(),
        ...env,
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const { text, stderr, code } = await finish(child);
    const marked = lines(stderr).map((each) => `! ${each}`);
    return this.#steady([`$ ${line}`, ...lines(text), ...marked, `[${code}]`].join("\n"));
  }

  #steady(text: string): string {
    let steady = text.replaceAll(this.#cluster.root, "ROOT");
    for (const [pattern, instead] of VARYING) steady = steady.replace(pattern, instead);
    return steady;
  }

  /** The whole of it. */
  get text(): string {
    return `${this.#sections.join("\n\n")}\n`;
  }
}

/** The golden file; with UPDATE_GOLDEN=1 written anew. */
export function golden(name: string, text: string): string {
  const path = join(FOLDER, `${name}.txt`);
  if (process.env["UPDATE_GOLDEN"] === "1") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  return existsSync(path) ? readFileSync(path, "utf8") : `no such file: ${path}`;
}

function lines(text: string): string[] {
  const all = text.replaceAll("\r", "\\r").replaceAll("\u001b", "\\e").split("\n");
  if (all.at(-1) === "") all.pop();
  return all;
}
