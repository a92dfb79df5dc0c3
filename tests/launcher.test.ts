// bin/dfs as a new user meets it: a fresh copy of the project, an empty HOME, no Bun on PATH.
//
// Two real installs through npm are made, sharing npm's cache; the other cases use what the first
// one installed. Every command runs with a PATH that holds only the tools named below, so a tool
// that the launcher comes to need shows up here.

import { afterAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import pkg from "../package.json" with { type: "json" };
import { finished, PINNED, ProjectCopies, ROOT, runtimeOf } from "./support/project-copies.ts";

const INSTALL_TIMEOUT_MS = 180_000;

const copies = new ProjectCopies();
/** Installed by the first test, used by the later ones. */
const installed = copies.fresh("installed");

afterAll(() => copies.dispose());

describe("a first start", () => {
  test(
    "installs Bun and the packages, says so on stderr, and runs the command",
    async () => {
      const first = await copies.start(installed);
      expect(first).toEqual({
        exitCode: 0,
        stdout: expect.stringContaining(pkg.version),
        stderr:
          `dfs: first start: installing Bun ${PINNED} through npm into ${installed}/.runtime\n` +
          `dfs: installing the packages of bun.lock into ${installed}/node_modules\n`,
      });
      expect(runtimeOf(installed)).toEqual([`bun-${PINNED}`, "lock"]);
      // What tests and checks need is not for users, nor is native code that may be missing.
      const packages = readdirSync(join(installed, "node_modules"));
      expect(packages).toContain("cbor-x");
      expect(packages).not.toContain("oxlint");
      expect(packages).not.toContain("cbor-extract");
    },
    INSTALL_TIMEOUT_MS,
  );

  test("is the only one that prints anything: the second writes nothing at all", async () => {
    const before = snapshot(installed);
    for (const path of [installed, join(installed, "bin")]) {
      chmodSync(path, 0o555);
    }
    const second = await copies.start(installed);
    for (const path of [installed, join(installed, "bin")]) {
      chmodSync(path, 0o755);
    }
    expect(second).toEqual({
      exitCode: 0,
      stdout: expect.stringContaining(pkg.version),
      stderr: "",
    });
    expect(snapshot(installed)).toEqual(before);
  });

  test(
    "that was killed is made good by the next ones, two of them at once",
    async () => {
      const project = copies.fresh("killed");
      const victim = copies.launch(project, { detached: true });
      const unpacking = join(project, ".runtime", `work.${victim.pid}`, "bun", "node_modules");
      await until("npm to unpack", () => existsSync(unpacking));
      process.kill(-victim.pid, "SIGKILL"); // the launcher with npm and all
      await victim.exited;
      expect(existsSync(join(project, ".runtime", `bun-${PINNED}`))).toBe(false);
      expect(existsSync(join(project, "node_modules"))).toBe(false);

      const results = await Promise.all([copies.start(project), copies.start(project)]);
      for (const result of results) {
        expect(result).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(pkg.version) });
      }
      const said = results.map((result) => result.stderr).join("");
      expect(said.match(/installing Bun/g)).toHaveLength(1);
      expect(said.match(/installing the packages/g)).toHaveLength(1);
      // The killed one's work folder is gone, and so is that of the one that did the work.
      expect(runtimeOf(project)).toEqual([`bun-${PINNED}`, "lock"]);
      expect(await copies.start(project)).toMatchObject({ exitCode: 0, stderr: "" });
    },
    INSTALL_TIMEOUT_MS,
  );

  test("waits for another one that is installing, and says so", async () => {
    const project = copies.fresh("waiting");
    mkdirSync(join(project, ".runtime"));
    const lock = join(project, ".runtime", "lock");
    const holder = Bun.spawn(
      ["sh", "-c", 'exec 9>"$1" && flock 9 && echo held && read -r _', "-", lock],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    await holder.stdout.getReader().read();

    const waiting = copies.launch(project, { path: copies.toolsWithBun() });
    const words: string[] = [];
    for await (const chunk of waiting.stderr) {
      words.push(new TextDecoder().decode(chunk));
      if (words.length === 1) {
        expect(existsSync(join(project, "node_modules"))).toBe(false);
        await holder.stdin.end();
      }
    }
    expect(words.join("")).toBe(
      "dfs: another start of dfs is installing; waiting for it\n" +
        `dfs: installing the packages of bun.lock into ${project}/node_modules\n`,
    );
    expect(await waiting.exited).toBe(0);
    expect(await waiting.stdout.text()).toContain(pkg.version);
  });

  test("without npm says what to install", async () => {
    const project = copies.fresh("without-npm");
    const path = copies.toolsWithout("npm");
    const result = await copies.start(project, { path });
    expect(result).toMatchObject({ exitCode: 1, stdout: "" });
    expect(result.stderr).toMatch(
      /^dfs: Bun \S+ is needed and was not found, nor npm .*Install Node\.js with npm.*\n$/,
    );
    expect(runtimeOf(project)).toEqual(["lock"]);
  });

  test("without network shows what npm said", async () => {
    const project = copies.fresh("without-network");
    const result = await copies.start(project, {
      env: {
        npm_config_cache: copies.folder("empty-cache"),
        npm_config_registry: "http://127.0.0.1:9/", // the discard port: nobody listens
        no_proxy: "127.0.0.1",
      },
    });
    expect(result).toMatchObject({ exitCode: 1, stdout: "" });
    const [step, failure, ...words] = result.stderr.trimEnd().split("\n");
    expect(step).toStartWith("dfs: first start: installing Bun");
    expect(failure).toBe(`dfs: npm could not install Bun ${PINNED}. It said:`);
    expect(words.join("\n")).toContain("ECONNREFUSED");
    expect(words.every((line) => line.startsWith("  | "))).toBe(true);
    expect(runtimeOf(project)).toEqual(["lock"]);
  });
});

describe("finding Bun", () => {
  test("a Bun of the pinned version on PATH is used, without HOME and without flock", async () => {
    const project = copies.fresh("bun-on-path");
    const path = copies.toolsWithBun("flock");
    const env = { HOME: undefined, BUN_INSTALL_CACHE_DIR: undefined };
    expect(await copies.start(project, { path, env })).toEqual({
      exitCode: 0,
      stdout: expect.stringContaining(pkg.version),
      stderr: `dfs: installing the packages of bun.lock into ${project}/node_modules\n`,
    });
    expect(runtimeOf(project)).toEqual([]);
    expect(await copies.start(project, { path, env })).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("a Bun of another version on PATH is left alone", async () => {
    const other = copies.folder("other-bun");
    writeFileSync(join(other, "bun"), "#!/bin/sh\necho 1.0.0\n", { mode: 0o755 });
    expect(await copies.start(installed, { path: `${other}:${copies.tools}` })).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining(pkg.version),
      stderr: "",
    });
  });

  test("the version is the same in package.json, in the launcher and in the tests' types", () => {
    expect(readFileSync(join(ROOT, "bin/.runtime.sh"), "utf8")).toContain(
      `\nbun_version=${PINNED} `,
    );
    expect(pkg.devDependencies["bun-types"]).toBe(PINNED);
    expect(Bun.version).toBe(PINNED);
  });
});

describe("the packages", () => {
  test("stay when only times changed, and are installed again when bun.lock did", async () => {
    const project = copies.installed(installed, "changed");
    const later = new Date(Date.now() + 60_000);
    utimesSync(join(project, "package.json"), later, later);
    expect(await copies.start(project)).toMatchObject({ exitCode: 0, stderr: "" });

    writeFileSync(
      join(project, "bun.lock"),
      `${readFileSync(join(project, "bun.lock"), "utf8")}\n`,
    );
    utimesSync(join(project, "bun.lock"), later, later);
    const marker = join(project, "node_modules", "left-from-before");
    writeFileSync(marker, "");
    expect(await copies.start(project)).toMatchObject({
      exitCode: 0,
      stderr: `dfs: installing the packages of bun.lock into ${project}/node_modules\n`,
    });
    expect(existsSync(marker)).toBe(false);
    expect(runtimeOf(project)).toEqual([`bun-${PINNED}`, "lock"]);
  });

  test("a lockfile that does not fit package.json is an error that shows what Bun said", async () => {
    const project = copies.installed(installed, "unfit");
    const changed = { ...pkg, dependencies: { ...pkg.dependencies, cac: "6.7.14" } };
    writeFileSync(join(project, "package.json"), JSON.stringify(changed));
    const result = await copies.start(project);
    expect(result).toMatchObject({ exitCode: 1, stdout: "" });
    expect(result.stderr).toContain("dfs: the packages of bun.lock could not be installed.");
    expect(result.stderr).toContain("  | error: lockfile had changes");
    // What was there is still there.
    expect(existsSync(join(project, "node_modules", "cac"))).toBe(true);
  });

  test("the lockfile names no host and no path of a machine", () => {
    const lockfile = readFileSync(join(ROOT, "bun.lock"), "utf8");
    expect(lockfile).not.toMatch(/:\/\/|\/(home|root|tmp|work|Users)\//);
  });
});

describe("a later start", () => {
  test("works through relative and absolute symlinks, from any folder", async () => {
    const links = copies.folder("links");
    symlinkSync(join(installed, "bin/dfs"), join(links, "absolute"));
    symlinkSync("absolute", join(links, "relative"));
    mkdirSync(join(links, "sub"));
    symlinkSync("../relative", join(links, "sub", "deeper"));
    for (const program of ["./absolute", "./relative", "sub/deeper", join(links, "sub/deeper")]) {
      expect(await copies.start(installed, { program, cwd: links })).toEqual({
        exitCode: 0,
        stdout: expect.stringContaining(pkg.version),
        stderr: "",
      });
    }
  });

  test("is not misled by CDPATH", async () => {
    const cwd = copies.folder("cdpath");
    mkdirSync(join(cwd, "bin"), { recursive: true });
    const result = await copies.start(installed, {
      program: "bin/dfs",
      cwd: installed,
      env: { CDPATH: cwd },
    });
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
  });

  test("reads no settings and runs no code of the current folder", async () => {
    const project = copies.installed(installed, "probe");
    writeFileSync(
      join(project, "src/cli.ts"),
      'import cac from "cac";\nconsole.log(typeof cac, process.env.DFS_META, process.cwd());\n',
    );
    const cwd = copies.folder("hostile");
    const code = 'console.log("foreign code ran");\nexport default {};\n';
    writeFileSync(join(cwd, "evil.ts"), code);
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./evil.ts"]\n');
    for (const name of [".env", ".env.local", ".env.production", ".env.development"]) {
      writeFileSync(join(cwd, name), "DFS_META=evil:1\n");
    }
    const paths = { cac: ["./evil.ts"] };
    writeFileSync(
      join(cwd, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { baseUrl: ".", paths } }),
    );
    writeFileSync(join(cwd, "package.json"), JSON.stringify({ imports: { "#a": "./evil.ts" } }));
    mkdirSync(join(cwd, "node_modules/cac"), { recursive: true });
    writeFileSync(join(cwd, "node_modules/cac/index.js"), code);

    expect(await copies.start(project, { cwd })).toEqual({
      exitCode: 0,
      stdout: `function undefined ${cwd}\n`,
      stderr: "",
    });
    // The trap is real: Bun without the launcher's settings walks into it.
    const plain = Bun.spawn([process.execPath, join(project, "src/cli.ts")], {
      cwd,
      stdio: ["ignore", "pipe", "ignore"],
    });
    expect(await plain.stdout.text()).toContain("foreign code ran\nfunction evil:1");
  });

  test("hands on arguments, input, exit code and its process id, and sets up the runtime", async () => {
    const project = copies.installed(installed, "hands-on");
    writeFileSync(
      join(project, "src/cli.ts"),
      "const input = await Bun.stdin.text();\n" +
        "console.log(JSON.stringify([process.pid, process.env.UV_THREADPOOL_SIZE, process.env.MIMALLOC_PURGE_DELAY, process.env.BUN_JSC_useConcurrentGC ?? null, process.env.BUN_JSC_useGenerationalGC ?? null, input, ...process.argv.slice(2)]));\n" +
        "process.exitCode = 7;\n",
    );
    for (const [verb, given, seen] of [
      ["put", undefined, ["16", "1000", null, null]],
      ["put", "4", ["4", "4", null, null]],
      ["mount", undefined, ["16", "1000", "0", "0"]], // which serves in this very process with --foreground
    ] as const) {
      const words = [verb, "a b", "--", "$(x)", "--config=y", ""];
      const command = copies.launch(project, {
        arguments: words,
        env: { UV_THREADPOOL_SIZE: given, MIMALLOC_PURGE_DELAY: given },
      });
      const result = await finished(command);
      expect(result).toMatchObject({ exitCode: 7, stderr: "" });
      expect(JSON.parse(result.stdout)).toEqual([command.pid, ...seen, "some input\n", ...words]);
    }
  });
});

test("bin/dfs-bun is the pinned Bun", async () => {
  const result = await copies.start(installed, {
    program: join(installed, "bin/dfs-bun"),
    arguments: ["--version"],
  });
  expect(result).toMatchObject({ exitCode: 0, stdout: `${PINNED}\n`, stderr: "" });
});

/** Every path below a folder with the time of its last change. */
function snapshot(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .map((name) => `${name} ${statSync(join(path, name)).mtimeMs}`)
    .sort((a, b) => a.localeCompare(b));
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + INSTALL_TIMEOUT_MS / 3;
  while (!holds()) {
    if (performance.now() > deadline) {
      throw new Error(`waited in vain for ${what}`);
    }
    await Bun.sleep(5);
  }
}
