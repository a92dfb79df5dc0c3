// The command line as a user meets it before there is any cluster: help, mistakes, exit codes.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import pkg from "../../package.json" with { type: "json" };
import { PROTOCOL_VERSION } from "../../src/protocol/messages/hello.ts";
import { startedFrom } from "../support/bundled-project.ts";
import { SERVER_VARIABLES } from "../../src/tools/up.ts";
import { dataCommand } from "../../src/tools/data.ts";
import { metaCommand } from "../../src/tools/meta.ts";
import { up } from "../../src/tools/up.ts";
import { environmentName } from "../../src/tools/shared/command.ts";
import { temporaryFolder } from "./support/files.ts";
import { dfs } from "./support/run.ts";

const folder = temporaryFolder("cli");
afterAll(() => folder.remove());

const NAMES = [
  "up",
  "down",
  "put",
  "get",
  "cat",
  "ls",
  "stat",
  "mkdir",
  "rm",
  "mv",
  "touch",
  "truncate",
  "chmod",
  "chown",
  "ln",
  "cp",
  "df",
  "du",
  "tree",
  "find",
  "xattr list",
  "explain",
  "status",
  "server list",
  "log dump",
  "meta",
  "data",
  "completion",
  "version",
];

const run = (...args: string[]) => dfs(args, { home: folder.path });

describe("dfs", () => {
  test("alone shows the command list, and so do --help and help", async () => {
    const alone = await run();
    expect(alone).toMatchObject({ code: 0, stderr: "" });
    for (const name of NAMES) expect(alone.stdout).toMatch(new RegExp(`^  ${name}  +\\S`, "m"));
    expect((await run("--help")).stdout).toBe(alone.stdout);
    expect((await run("help")).stdout).toBe(alone.stdout);
  });

  test.each(["--version", "-V"])("%s prints the version", async (word) => {
    expect(await run(word)).toEqual({ code: 0, stdout: `dfs ${pkg.version}\n`, stderr: "" });
  });

  test("version --json tells what it runs on, without a cluster", async () => {
    const { code, stdout } = await run("version", "--json");
    const { commit, ...facts } = JSON.parse(stdout) as Record<string, unknown>;
    expect(code).toBe(0);
    expect(facts).toEqual({
      version: pkg.version,
      protocol: PROTOCOL_VERSION,
      bun: Bun.version,
      platform: process.platform,
      arch: process.arch,
      kernel: release(),
    });
    const head = Bun.spawnSync(["git", "rev-parse", "HEAD"], { cwd: startedFrom() });
    expect(commit).toBe(head.success ? head.stdout.toString().trim() : null);
    expect((await run("version")).stdout).toStartWith(`dfs ${pkg.version}`);
  });

  test.each([
    [["lss"], "dfs: unknown command lss\ndid you mean dfs ls?\n"],
    [["xyzzy"], "dfs: unknown command xyzzy\ndfs alone lists the commands\n"],
    [
      ["server"],
      "dfs: unknown command server\nthere is: dfs server list, dfs server stop, dfs server drain, dfs server undrain, dfs server remove\n",
    ],
    [
      ["server", "lst"],
      "dfs: unknown command server lst\nthere is: dfs server list, dfs server stop, dfs server drain, dfs server undrain, dfs server remove\n",
    ],
    [["\u001b[31m"], "dfs: unknown command \\x1b[31m\ndfs alone lists the commands\n"],
    [
      ["ls", "--recusive"],
      "dfs ls: unknown option --recusive\ndid you mean --recursive?\nusage is told by: dfs ls --help\n",
    ],
    [
      ["mkdir"],
      "dfs mkdir: something is missing: dfs mkdir [-p] [-m MODE] [-v] DIRECTORY...\nusage is told by: dfs mkdir --help\n",
    ],
    [
      ["explain", "/a", "/b"],
      'dfs explain: cannot use "/b": dfs explain [--votes] PATH\nusage is told by: dfs explain --help\n',
    ],
    [
      ["ls", "--meta", "nowhere"],
      "dfs ls: --meta nowhere: expected an address HOST:PORT, such as 127.0.0.1:4000\nusage is told by: dfs ls --help\n",
    ],
  ])("%j is a usage error", async (args, stderr) => {
    expect(await run(...args)).toEqual({ code: 2, stdout: "", stderr });
  });

  test("operands that cannot be are refused before anything is tried", async () => {
    const address = ["--meta", "127.0.0.1:1"];
    expect(await run("ls", "", ...address)).toMatchObject({ code: 2 });
    expect(await run("put", "-", "-", "/x", ...address)).toMatchObject({ code: 2 });
    expect(await run("get", "/a", "/b", "-", ...address)).toMatchObject({ code: 2 });
    expect(await run("put", "", "/x", ...address)).toMatchObject({ code: 2 });
    expect(await run("rm", ...address)).toMatchObject({ code: 2 });
  });
});

describe("without a cluster", () => {
  const COMMANDS: readonly string[][] = [
    ["put", "/dev/null", "/x"],
    ["get", "/x", "here"],
    ["cat", "/x"],
    ["ls"],
    ["stat", "/"],
    ["mkdir", "/x"],
    ["rm", "/x"],
    ["mv", "/a", "/b"],
    ["touch", "/x"],
    ["truncate", "-s", "0", "/x"],
    ["chmod", "755", "/x"],
    ["chown", "0", "/x"],
    ["ln", "/a", "/b"],
    ["cp", "/a", "/b"],
    ["df"],
    ["du", "/x"],
    ["tree"],
    ["find", "-name", "x"],
    ["xattr", "list", "/x"],
    ["explain", "/x"],
    ["status"],
    ["server", "list"],
  ];

  test("every command says what to do, exit 5", async () => {
    await Promise.all(
      COMMANDS.map(async (words) => {
        const result = await run(...words);
        expect(result).toMatchObject({ code: 5, stdout: "" });
        expect(result.stderr).toContain(`there is none in ${folder.path}/.local/share/dfs`);
        expect(result.stderr).toContain("dfs up");
        expect(result.stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(3);
      }),
    );
  });

  test("every command at a wrong address: exit 5, and what to look at", async () => {
    await Promise.all(
      COMMANDS.map(async (words) => {
        const result = await run(...words, "--meta", "127.0.0.1:1");
        expect(result).toMatchObject({ code: 5, stdout: "" });
        expect(result.stderr).toContain("127.0.0.1:1");
        expect(result.stderr).toContain("--meta");
      }),
    );
  });

  // How long a process takes to start and to end is up to the machine; how long it has waited it says itself.
  test("every command at an address where something answers nothing: exit 5, after waiting for less than 5 s", async () => {
    const silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data: () => undefined },
    });
    await Promise.all(
      COMMANDS.map(async (words) => {
        const result = await run(...words, "--meta", `127.0.0.1:${silent.port}`);
        expect(result).toMatchObject({ code: 5, stdout: "" });
        const waited = / within (\d+) ms$/m.exec(result.stderr)?.[1];
        expect([words, Number(waited) < 5000]).toEqual([words, true]);
      }),
    );
    silent.stop(true);
  });

  test("an address where something else answers: exit 5, and it says so", async () => {
    const other = Bun.serve({ port: 0, fetch: () => new Response("hello") });
    const result = await run("ls", "--meta", `127.0.0.1:${other.port}`, "--timeout", "1");
    await other.stop(true);
    expect(result).toMatchObject({ code: 5, stdout: "" });
  });

  test("a cluster file that nobody can understand is named", async () => {
    const dir = join(folder.path, "broken");
    mkdirSync(dir);
    writeFileSync(join(dir, "cluster.json"), "{");
    const result = await run("ls", "--dir", dir);
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toContain(`cannot understand ${dir}/cluster.json`);
  });
});

describe("servers do not start", () => {
  test.each([
    [["meta"], "its directory is missing"],
    [["data"], "its directory (--dir) and the metadata server's address (--meta) are missing"],
    [["data", "--dir", "d"], "the metadata server's address (--meta) is missing"],
    [["data", "--meta", "127.0.0.1:1"], "its directory (--dir) is missing"],
    [["data", "--dir", "d", "--meta", "127.0.0.1"], "expected an address HOST:PORT"],
    [
      ["data", "--dir", "d", "--meta", "127.0.0.1:1", "--new", "--recover", "2"],
      "--new and --recover exclude each other",
    ],
    [["meta", "--dir", "d", "--block-size", "many"], "expected a size"],
    [["meta", "--dir", "d", "surplus"], 'cannot use "surplus"'],
  ])("dfs %j: exit 2", async (args, reason) => {
    const result = await run(...args);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain(reason);
    expect(existsSync(join(folder.path, "d"))).toBe(false);
  });

  test("dfs up keeps variables that are meant for itself from the servers", () => {
    const runner = () => Promise.resolve();
    const its = new Set(
      Object.entries(up.options).map(([key, option]) => environmentName(key, option)),
    );
    const servers = [metaCommand(runner), dataCommand(runner)].flatMap(({ options }) =>
      Object.entries(options).map(([key, option]) => environmentName(key, option)),
    );
    const missing = servers.filter((name) => !its.has(name) && !SERVER_VARIABLES.includes(name));
    expect(missing).toEqual([]);
  });
});

describe("dfs up and down refuse", () => {
  test("a directory with something else in it, and leave it alone", async () => {
    const dir = join(folder.path, "foreign");
    mkdirSync(dir);
    writeFileSync(join(dir, "notes.txt"), "mine");
    const result = await run("up", "--detach", "--dir", dir);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("it is not empty (notes.txt is in it)");
    expect(readdirSync(dir)).toEqual(["notes.txt"]);
  });

  test("to stop what is not there", async () => {
    const result = await run("down", "--dir", join(folder.path, "nothing"));
    expect(result).toMatchObject({ code: 4, stdout: "" });
    expect(result.stderr).toContain("there is none");
    expect(existsSync(join(folder.path, "nothing"))).toBe(false);
  });
});
