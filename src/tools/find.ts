/**
 * `dfs find`: look for files in trees.
 */
import { systemClock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import { ROOT_INODE } from "../base/ids.ts";
import type { DfsClient } from "../client/api.ts";
import { argument } from "./shared/arguments.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { visitsBelow, jsonItem, type Item, type Visit } from "./shared/visits.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import {
  ageTest,
  dayComparison,
  nameTest,
  pathTest,
  sizeComparison,
  sizeTest,
  types,
  type Test,
} from "./shared/find-tests.ts";
import { countText } from "./shared/format.ts";
import { interrupted, tellingInterruption } from "./shared/interruption.ts";
import { Outcome } from "./shared/outcome.ts";
import { baseName, endsInSlash, remotePath, ROOT_PATH } from "./shared/paths.ts";
import { besideOutput, Progress, progressOption, THINGS } from "./shared/progress.ts";
import { escaped, quoted } from "./shared/text.ts";
import { count, text } from "./shared/values.ts";

const NUL = Uint8Array.of(0);
/** Paths for -print0 are written out together from this length on. */
const FLUSH_BYTES = 64 * 1024;

const glob = (typed: string): readonly string[] => [text(typed)];
const both = {
  join: (before: readonly string[], now: readonly string[]): readonly string[] => [
    ...before,
    ...now,
  ],
};
const depth = count(0, Number.MAX_SAFE_INTEGER);

const options = {
  name: value("<glob>", glob, "names that match, such as '*.txt'", both),
  iname: value("<glob>", glob, "the same, capital letters or not", both),
  path: value("<glob>", glob, "whole paths that match; * takes slashes too", both),
  type: value("<letter>", types, "f files, d directories, l links, p fifos, s sockets; f,l both"),
  size: value("<n>", sizeComparison, "+n more, -n less, n just so many: 100c bytes, 4k, 1M, 1G"),
  mtime: value("<days>", dayComparison, "content changed more (+7), less (-7) or 7 days ago"),
  newer: value("<path>", text, "content changed later than that of this file in the cluster"),
  empty: flag("files of no length, directories with nothing in them"),
  mindepth: value("<depth>", depth, "so deep below the path at least; 1: not the path itself"),
  maxdepth: value("<depth>", depth, "so deep below the path at most"),
  print: flag("tell what was found; only -delete does not by itself"),
  print0: flag("the exact bytes of each path, with a NUL behind it, for xargs -0"),
  delete: flag("remove what was found; of a directory what is in it first"),
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

/** What find(1) has between its tests. */
const OPERATORS: ReadonlySet<string> = new Set(["!", "(", ")", ","]);

type FindContext = Context<typeof options>;

export const find = defineCommand({
  usage: "find [PATH...] [-name GLOB] [-type f|d|l] [-size N] [-mtime N] ... [-print0] [-delete]",
  description: `
Lists what is in trees, / when no path is given, and is all that the options say; their order does not matter. They may be
typed with one dash, as find has them, or two. Symbolic links are not followed. There is no -o, no !, no -exec: use -print0 and xargs.
-delete has no way back, and leaves the root directory.`,
  options,
  singleDash: true,
  operands: { least: 0, most: Number.MAX_SAFE_INTEGER },
  examples: [
    "dfs find /tree -name '*.log' -mtime +30 -size +1M",
    "dfs find /tree -type d -empty -delete",
  ],
  json: [
    "path, name        full path and last component; pathBase64, nameBase64 when not UTF-8",
    "type mode nlink uid gid size ...     as dfs ls --json has them",
  ],
  exits: [
    [0, "all was looked at, whether anything was found or not"],
    [1, "nothing could be looked at, or removed"],
    [3, "some could not be looked at, or removed"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
    [130, "interrupted: not all was looked at"],
  ],
  run(context) {
    const { print0, json, mindepth = 0, maxdepth = Infinity } = context.options;
    if (print0 && json) throw new DfsError("usage", "--print0 and --json exclude each other");
    if (mindepth > maxdepth) throw new DfsError("usage", "--mindepth is more than --maxdepth");
    if (context.options.delete && !context.typed.has("delete")) {
      throw new DfsError("usage", "DFS_DELETE counts for nothing here: type -delete");
    }
    const operator = context.args.find(({ text }) => OPERATORS.has(text))?.text;
    if (operator !== undefined) {
      // Taken for a path it would turn -delete upon what was to be kept.
      throw new DfsError(
        "usage",
        `${operator} is none of the things that this find knows: it lists what is all that the options say\n` +
          `for a file of this name type /${operator}`,
      );
    }
    const typed = context.args.length === 0 ? [argument("/")] : context.args;
    const paths = typed.map(remotePath);
    return withClient(context, (client) => findAll(context, client, paths));
  },
});

async function findAll(
  context: FindContext,
  client: DfsClient,
  paths: readonly Uint8Array[],
): Promise<ExitCode> {
  const { messages, signal, options: chosen } = context;
  const progress = new Progress(messages, { style: besideOutput(chosen.progress), ...THINGS });
  const finder = new Finder(context, client, progress, await testsOf(context, client));
  const words = (): DfsError =>
    interrupted(
      `looked at ${progress.summary()}${chosen.delete ? `, removed ${countText(finder.removed)}` : ""}; there is more`,
      chosen.delete ? "the same command goes on" : "the same command begins from the start",
    );
  try {
    return await tellingInterruption(signal, words, () => finder.run(paths));
  } finally {
    progress.end();
  }
}

/** Everything that can be told from what a directory says of its entries. */
async function testsOf({ options: chosen }: FindContext, client: DfsClient): Promise<Test[]> {
  const { name, iname, path, type, size, mtime, newer } = chosen;
  const tests: Test[] = [];
  if (type !== undefined) tests.push(({ attributes }) => type.has(attributes.type));
  if (name !== undefined) tests.push(nameTest(name, false));
  if (iname !== undefined) tests.push(nameTest(iname, true));
  if (path !== undefined) tests.push(pathTest(path));
  if (size !== undefined) tests.push(sizeTest(size));
  if (mtime !== undefined) tests.push(ageTest(mtime, systemClock.nowNs()));
  if (newer !== undefined) {
    const { mtimeNs } = await client.stat(remotePath(argument(newer)), { follow: true });
    tests.push(({ attributes }) => attributes.mtimeNs > mtimeNs);
  }
  return tests;
}

class Finder {
  readonly #context: FindContext;
  readonly #client: DfsClient;
  readonly #tests: readonly Test[];
  readonly #outcome: Outcome;
  readonly #progress: Progress;
  readonly #shallowest: number;
  readonly #deepest: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  /** Files and directories that -delete has removed. */
  removed = 0;

  constructor(context: FindContext, client: DfsClient, progress: Progress, tests: readonly Test[]) {
    this.#progress = progress;
    this.#context = context;
    this.#client = client;
    this.#tests = tests;
    this.#outcome = new Outcome(context);
    this.#shallowest = context.options.mindepth ?? 0;
    this.#deepest = context.options.maxdepth ?? Infinity;
  }

  async run(paths: readonly Uint8Array[]): Promise<ExitCode> {
    for (const path of paths) {
      await this.#outcome.attempt(`cannot look into ${quoted(path)}`, () => this.#look(path));
    }
    await this.#flush();
    return this.#outcome.exitCode;
  }

  async #look(path: Uint8Array): Promise<void> {
    const attributes = await this.#client.stat(path, { follow: endsInSlash(path) });
    const own = baseName(path);
    const name = own.length === 0 ? ROOT_PATH : own; // as find has it
    const into = (_directory: Item, at: number): boolean => at < this.#deepest;
    const { signal } = this.#context;
    const root = { path, name, attributes };
    for await (const visit of visitsBelow(this.#client, root, { signal, into })) {
      if (visit.kind === "entry") this.#progress.files++;
      if (visit.kind === "unlisted") {
        this.#outcome.fail(`cannot list ${quoted(visit.item.path)}`, visit.error);
      } else if (visit.kind === this.#momentOf(visit) && (await this.#isWanted(visit))) {
        await this.#found(visit.item);
      }
    }
  }

  /** When something is judged: as it is found, but a directory that may be removed when all in it has been. */
  #momentOf({ item, depth: at }: Visit): Visit["kind"] {
    const isEntered = item.attributes.type === "directory" && at < this.#deepest;
    return this.#context.options.delete && isEntered ? "leave" : "entry";
  }

  async #isWanted({ item, depth: at }: Visit): Promise<boolean> {
    if (at < this.#shallowest || !this.#tests.every((test) => test(item))) return false;
    return !this.#context.options.empty || this.#isEmpty(item);
  }

  async #isEmpty({ path, attributes: { type, size, inode } }: Item): Promise<boolean> {
    if (type === "file") return size === 0;
    if (type !== "directory") return false;
    try {
      return (await this.#client.inodes.readdir(inode, undefined, 1)).entries.length === 0;
    } catch (error) {
      if (isDfsError(error, "stale")) return false; // somebody else has removed it
      this.#outcome.fail(`cannot list ${quoted(path)}`, error);
      return false;
    }
  }

  async #found(item: Item): Promise<void> {
    const { out, options: chosen } = this.#context;
    if (chosen.delete && !(await this.#remove(item))) return;
    if (chosen.print0) await this.#print0(item.path);
    else if (!chosen.delete || chosen.print || chosen.json) {
      await (chosen.json ? out.row(jsonItem(item)) : out.line(escaped(item.path)));
    }
  }

  /** True when it is gone. */
  async #remove({ path, attributes: { type, inode } }: Item): Promise<boolean> {
    if (inode === ROOT_INODE) return false;
    try {
      await (type === "directory" ? this.#client.rmdir(path) : this.#client.unlink(path));
      this.#outcome.succeed();
      this.removed++;
      return true;
    } catch (error) {
      this.#outcome.fail(`cannot remove ${quoted(path)}`, error);
      return false;
    }
  }

  async #print0(path: Uint8Array): Promise<void> {
    this.#pending.push(path, NUL);
    this.#pendingBytes += path.length + 1;
    if (this.#pendingBytes >= FLUSH_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    await this.#context.out.bytes(bytes);
  }
}
