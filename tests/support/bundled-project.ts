// A copy of the project in which `src` is bundled: what is started from there loads a few files that need no translation,
// instead of a hundred that do. A whole run of the suite starts so many processes that this is a good part of its time.
//
// - The copy has the launcher itself, and every file that a process is started from lies where it lies in the project, so
//   that commands, servers and threads find each other, and their project's folder, as they do in the project.
// - Names are kept, and so are lines: what a process says does not depend on where it was started from.
// - Without a whole run, or where a test is about the project's own files, processes are started from the project.

import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** The environment variable that tells the tests of a whole run where the copy is. */
export const BUNDLED_PROJECT = "DFS_TEST_PROJECT";

const PROJECT = join(import.meta.dir, "../..");

/** Bundled files lie as deep as those that say where the project is, by `import.meta.dir` and "../../..". */
const BUNDLES = "src/all/bundled";

const STARTED = [
  "src/cli.ts",
  "tests/mount/support/memory-server.ts",
  "tests/server/data/data-process.ts",
  "tests/support/run-server.ts",
];

/** Makes the copy in `folder`, which must not exist. @throws Error when something cannot be bundled. */
export async function bundleProject(folder: string): Promise<void> {
  const threads = [...new Bun.Glob("src/**/*-worker.ts").scanSync({ cwd: PROJECT })];
  const entries = [...STARTED, ...threads];
  const names = new Set(entries.map((path) => basename(path)));
  if (names.size < entries.length) throw new Error("two threads have files of the same name");
  const { success, logs } = await Bun.build({
    entrypoints: entries.map((path) => join(PROJECT, path)),
    outdir: join(folder, BUNDLES),
    target: "bun",
    splitting: true,
    naming: { entry: "[name].[ext]", chunk: "[name]-[hash].[ext]" },
  });
  if (!success) throw new AggregateError(logs, "the sources could not be bundled");
  for (const path of STARTED) lead(join(folder, path), join(folder, BUNDLES));
  // A thread's file is named relative to the file that starts it, and is a TypeScript file there.
  for (const path of threads) lead(join(folder, BUNDLES, basename(path)), join(folder, BUNDLES));
  for (const path of ["bin", "bunfig.toml", "package.json", "bun.lock", "README.md"]) {
    cpSync(join(PROJECT, path), join(folder, path), { recursive: true, preserveTimestamps: true });
  }
  for (const path of [".runtime", "node_modules"]) {
    symlinkSync(join(PROJECT, path), join(folder, path));
  }
}

/** Writes a file that is nothing but the way to its bundle. */
function lead(path: string, bundles: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const bundle = join(bundles, basename(path).replace(/ts$/, "js"));
  writeFileSync(path, `import ${JSON.stringify(bundle)};\n`);
}

/** The folder from which tests start processes: the bundled copy in a whole run, else the project. */
export function startedFrom(): string {
  return process.env[BUNDLED_PROJECT] ?? PROJECT;
}
