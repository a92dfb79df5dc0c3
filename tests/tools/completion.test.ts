// The tab key, in the shells themselves: commands, options, values, paths of a cluster, ids of servers, local files.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { canRun, whyWithout } from "../support/conditions.ts";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startedFrom } from "../support/bundled-project.ts";
import { finish, LocalCluster } from "../support/local-cluster.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3");
  mkdirSync(cluster.path("localdir"));
  writeFileSync(cluster.path("local file"), "");
  for (const name of ["deep/er", "two words", "co:lon", "equal=s", "wei$rd\\`"]) {
    await cluster.ok("mkdir", "-p", `/tree/${name}`);
  }
  await cluster.ok("touch", "/tree/file", "/tree/.hidden", "/tree/naïve", "/tree/a\nb");
});
afterAll(() => cluster.stop());

/** Runs a program of the shell's own in the cluster's folder, with dfs in PATH. */
async function shell(words: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const child = Bun.spawn([...words], {
    cwd: cluster.root,
    env: {
      ...process.env,
      PATH: `${join(startedFrom(), "bin")}:${process.env["PATH"] ?? ""}`,
      HOME: cluster.root,
      XDG_CONFIG_HOME: cluster.path("config"),
      XDG_DATA_HOME: cluster.path("data"),
      DFS_DIR: cluster.dir,
      TERM: "dumb",
      LC_ALL: "C.UTF-8",
      ...env,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const { text, stderr, code } = await finish(child);
  if (code !== 0) throw new Error(`${words.join(" ")}: ${code}\n${stderr}${text}`);
  return text;
}

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");

/** What is completed in each shell: the line until the cursor, and what is offered. */
const LINES: readonly (readonly [line: string, offered: readonly string[]])[] = [
  ["dfs vers", ["version"]],
  ["dfs server dr", ["drain"]],
  ["dfs meta ba", ["backup"]],
  ["dfs help fau", ["faults"]],
  ["dfs ls --rec", ["--recursive"]],
  ["dfs fsck --level ", ["full", "meta", "presence"]],
  ["dfs ls /t", ["/tree/"]],
  ["dfs cat /tree/fi", ["/tree/file"]],
  ["dfs cat /tree/.h", ["/tree/.hidden"]],
  ["dfs ls /tree/deep/", ["/tree/deep/er/"]],
  ["dfs rm -r /tree/file /tree/na", ["/tree/naïve"]],
  ["dfs server drain ", ["1", "2", "3"]],
  ["dfs scrub re", ["resume"]],
  ["dfs chmod 644 /tree/d", ["/tree/deep/"]],
  ["dfs ls --meta 127.0.0.1:1 /t", []],
];

/** As readline cuts a line: blanks end words, = and : are words of their own, quotes and backslashes keep blanks. */
function cutByBash(line: string): string[] {
  const words = line.match(/(?:\\.|"[^"]*"?|'[^']*'?|[^\s=:"'\\])+|[=:]+/g) ?? [];
  return /\s$/.test(line) ? [...words, ""] : [...words];
}

/** The script's function, called as readline calls it. */
async function bash(line: string): Promise<string[]> {
  const script = `
eval "$(dfs completion bash)"
COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDS=("\${@:2}") COMP_CWORD=$(($# - 2))
_dfs
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const words = ["bash", "--norc", "-c", script, "bash", line, ...cutByBash(line)];
  return lines(await shell(words)).toSorted();
}

/** zsh completes only in its line editor: one runs in a pseudo-terminal of zpty, and tells what compadd is given. */
async function zsh(line: string): Promise<string[]> {
  const script = `
zmodload zsh/zpty
zpty inner zsh -f
inner() { zpty -w inner "$1" }
inner 'PS1= PS2= ; unsetopt zle_bracketed_paste; autoload -Uz compinit && compinit -u -D; eval "$(dfs completion zsh)"'
inner 'compadd() { local -a hits; builtin compadd -A hits "$@"; print -rl -- "\${hits[@]}" >> offered; builtin compadd "$@" }'
inner 'bindkey "^I" complete-word; zle -C complete-word complete-word done-word; done-word() { _main_complete; print -r -- END >> offered }'
zpty -n -w inner "$1"$'\\t'
for ((i = 0; i < 600; i++)); do grep -q '^END$' offered 2>/dev/null && break; sleep 0.05; done
zpty -d inner
cat offered; rm -f offered`;
  const found = await shell(["zsh", "-f", "-c", script, "zsh", line]);
  if (!found.includes("END\n")) throw new Error(`zsh did not complete ${line}: ${found}`);
  return [...new Set(lines(found).filter((name) => name !== "END"))].toSorted();
}

async function fish(line: string): Promise<string[]> {
  const script = 'dfs completion fish | source; complete -C "$argv[1]"';
  const found = await shell(["fish", "--no-config", "-c", script, "--", line]);
  return lines(found)
    .map((each) => each.split("\t", 1)[0] ?? "")
    .toSorted();
}

describe("bash", () => {
  test.each(LINES)("%s", async (line, offered) => {
    expect(await bash(line)).toEqual([...offered].toSorted());
  });

  test("words with blanks, colons and equals signs, and local files", async () => {
    expect(await bash("dfs ls /tree/tw")).toEqual(["/tree/two\\ words/"]);
    expect(await bash("dfs ls /tree/two\\ w")).toEqual(["/tree/two\\ words/"]);
    // Within quotes they were escaped all the same, which made another path of them.
    expect(await bash("dfs ls '/tree/tw")).toEqual(["/tree/two words/"]);
    expect(await bash('dfs ls "/tree/tw')).toEqual(["/tree/two words/"]);
    expect(await bash("dfs ls '/tree/wei")).toEqual(["/tree/wei$rd\\`/"]);
    expect(await bash('dfs ls "/tree/wei')).toEqual(["/tree/wei\\$rd\\\\\\`/"]);
    expect(await bash("dfs ls /tree/wei")).toEqual(["/tree/wei\\$rd\\\\\\`/"]);
    expect(await bash("dfs ls /tree/wei\\$rd\\\\")).toEqual(["/tree/wei\\$rd\\\\\\`/"]);
    expect(await bash("dfs ls '/tree/co:l")).toEqual(["/tree/co:lon/"]);
    expect(await bash("dfs ls /tree/co:l")).toEqual(["lon/"]); // bash keeps what is before the colon
    expect(await bash("dfs fsck --level=me")).toEqual(["meta"]);
    expect(await bash("dfs fsck --level=")).toEqual(["full", "meta", "presence"]);
    expect(await bash("dfs put loc")).toEqual(["local file", "localdir"]); // readline quotes file names itself
    expect(await bash("dfs mount loc")).toEqual(["localdir"]);
  });
});

describe.if(canRun("completion in zsh", whyWithout("zsh")))("zsh", () => {
  test.each(LINES)("%s", async (line, offered) => {
    expect(await zsh(line)).toEqual([...offered].toSorted());
  });

  test("words within quotes", async () => {
    expect(await zsh("dfs ls '/tree/tw")).toEqual(["/tree/two words/"]);
    expect(await zsh('dfs ls "/tree/tw')).toEqual(["/tree/two words/"]);
  });
});

describe.if(canRun("completion in fish", whyWithout("fish")))("fish", () => {
  test.each(LINES)("%s", async (line, offered) => {
    expect(await fish(line)).toEqual([...offered].toSorted());
  });

  test("words with blanks, and local files", async () => {
    expect(await fish("dfs ls /tree/tw")).toEqual(["/tree/two words/"]);
    expect(await fish("dfs put local")).toEqual(["local file", "localdir/"]);
  });
});

describe("dfs completion", () => {
  test("of a cluster that is not there, or of a mistake, is nothing at all", async () => {
    const nowhere = await cluster.run(["completion", "candidates", "--", "ls", "/"], {
      env: { DFS_DIR: cluster.path("none") },
    });
    expect(nowhere).toMatchObject({ code: 0, text: "", stderr: "" });
    for (const words of [
      ["nonsense", ""],
      ["ls", "--nonsense", ""],
      ["server", "nonsense", ""],
    ]) {
      const result = await cluster.run(["completion", "candidates", "--", ...words]);
      expect(result).toMatchObject({ code: 0, stderr: "" });
    }
  });

  test("names that cannot be typed are not offered", async () => {
    const { text } = await cluster.ok("completion", "candidates", "--", "ls", "/tree/");
    expect(text.split("\n").map((line) => line.split("\t", 1)[0])).toEqual([
      "/tree/co:lon/",
      "/tree/deep/",
      "/tree/equal=s/",
      "/tree/file",
      "/tree/naïve",
      "/tree/two words/",
      "/tree/wei$rd\\`/",
      "",
    ]);
  });

  test("there is none for other shells: exit 2", async () => {
    const result = await cluster.run(["completion", "tcsh"]);
    expect(result).toMatchObject({ code: 2, text: "" });
    expect(result.stderr).toContain('no script for "tcsh": there is one for bash, zsh, fish');
  });
});
