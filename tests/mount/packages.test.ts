// Installing the packages of this project on a mount, as package managers do it: archives unpacked into a cache, hard links or copies of it, links
// for the commands, a lock file. The archives are made of the packages that are installed here; nothing is fetched.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { differences } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";

setDefaultTimeout(240_000); // thousands of system calls, on a busy machine

const PROJECT = join(import.meta.dir, "../..");
/** A program that uses all of them. */
const PROGRAM = `
  import { cac } from "cac";
  import { decode, encode } from "cbor-x";
  import colours from "picocolors";
  const { args } = cac("program").parse(["", "", "word"], { run: false });
  console.log(colours.createColors(false).bold(decode(encode(args))[0]));
`;

let mounted: Mounted;
let archives: string;

/** package.json with each dependency as an archive on the local disk. */
function manifest(): string {
  const { dependencies, engines, devDependencies, ...rest } = JSON.parse(
    readFileSync(join(PROJECT, "package.json"), "utf8"),
  ) as Record<string, unknown> & { dependencies: Record<string, string> };
  void engines;
  void devDependencies;
  const local = Object.keys(dependencies).map((name) => [name, `file:${archives}/${name}.tgz`]);
  return JSON.stringify({ ...rest, dependencies: Object.fromEntries(local) as object }, null, 2);
}

/** An archive as registries have them, of a package that is installed. Optional ones, which bring native code, are left out. */
async function pack(name: string): Promise<void> {
  const folder = mounted.cluster.path("packing", name);
  cpSync(join(PROJECT, "node_modules", name), `${folder}/package`, { recursive: true });
  const path = `${folder}/package/package.json`;
  const { optionalDependencies, ...rest } = JSON.parse(readFileSync(path, "utf8")) as Record<
    string,
    unknown
  >;
  void optionalDependencies;
  writeFileSync(path, JSON.stringify(rest));
  await mounted.ok(`tar -czf ${archives}/${name}.tgz package`, folder);
}

function newProject(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/package.json`, manifest());
  writeFileSync(`${folder}/program.mjs`, PROGRAM);
}

describe.skipIf(cannotMount !== undefined)("a project with packages", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"] });
    archives = mounted.cluster.path("archives");
    mkdirSync(archives);
    for (const name of ["cac", "cbor-x", "picocolors"]) await pack(name);
  });
  afterAll(() => mounted.stop());

  const runs = async (folder: string): Promise<void> =>
    expect(await mounted.ok(`${process.execPath} program.mjs`, folder)).toBe("word\n");

  const INSTALLERS = [
    ["bun", `${process.execPath} install --silent`, "BUN_INSTALL_CACHE_DIR"],
    ["npm", "npm install --offline --no-audit --no-fund --silent", "npm_config_cache"],
  ] as const;
  for (const [name, command, cache] of INSTALLERS) {
    const isMissing = Bun.which(name === "bun" ? process.execPath : name) === null;
    if (isMissing) console.log(`skipped, as ${name} is missing: ${name} install`);
    test.skipIf(isMissing)(
      `is installed by ${name}, runs, and is what it is on the local disk`,
      async () => {
        const remote = `${mounted.path}/${name}`;
        const local = mounted.cluster.path("local", name);
        for (const folder of [remote, local]) {
          newProject(folder);
          await mounted.ok(command, folder, { [cache]: `${folder}/cache` });
        }
        expect(await differences(`${remote}/node_modules`, `${local}/node_modules`)).toBe("");
        await runs(remote);
        // Once more, from the lock file and the cache.
        await mounted.ok("rm -r node_modules", remote);
        await mounted.ok(command, remote, { [cache]: `${remote}/cache` });
        await runs(remote);
        await mounted.ok(`rm -r ${name}`);
      },
    );
  }
});
