/**
 * `dfs rm`: remove files and, with -r, trees.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { ROOT_INODE } from "../base/ids.ts";
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { Reason } from "./shared/errors.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { interrupted, tellingInterruption } from "./shared/interruption.ts";
import type { Output } from "./shared/output.ts";
import { Outcome } from "./shared/outcome.ts";
import {
  components,
  endsInSlash,
  isNameless,
  joined,
  remotePath,
  withoutTrailingSlashes,
} from "./shared/paths.ts";
import { Progress, progressOption, THINGS, type Total } from "./shared/progress.ts";
import { escaped, quoted } from "./shared/text.ts";
import { treeTotal } from "./shared/tree-total.ts";
import { walkTree, type Step } from "./shared/tree.ts";

/** A directory on its way out. */
interface Leaving {
  readonly path: Uint8Array;
  readonly parent: Leaving | undefined;
  /** True once something in it could not be removed: then it stays too, and that has been told already. */
  mustStay: boolean;
}

/** Stands for the directory of what was named. */
const COMMAND_LINE = new Uint8Array();

/** Directories that are remembered while it is counted how much there is to remove. */
const MOST_DIRECTORIES = 100_000;

/** Removals in flight; the service commits together what arrives together. */
const WIDTH = 64;

const options = {
  recursive: flag("directories and everything in them", { short: "r" }),
  force: flag("a path that does not exist is no error", { short: "f" }),
  verbose: flag("tell each thing that is removed", { short: "v" }),
  ...progressOption,
  ...clientOptions,
};

export const rm = defineCommand({
  usage: "rm [-r] [-f] [-v] PATH...",
  description: `
Removes files and symbolic links (never what a link leads to), and with -r directories with all that is in them. There
is no way back. The root directory is refused.`,
  options,
  operands: { least: 0, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs rm /old.txt", "dfs rm -r /scratch"],
  exits: [
    [0, "all are gone"],
    [1, "nothing could be removed"],
    [3, "some could not be removed"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
    [130, "interrupted: it tells how much is gone"],
  ],
  run(context) {
    if (context.args.length === 0 && !context.options.force) {
      throw new DfsError("usage", "nothing to remove is named: dfs rm [-r] [-f] [-v] PATH...");
    }
    const paths = context.args.map(remotePath);
    return withClient(context, (client) => removeAll(context, client, paths));
  },
});

async function removeAll(
  { messages, out, signal, options: chosen }: Context<typeof options>,
  client: DfsClient,
  paths: readonly Uint8Array[],
): Promise<ExitCode> {
  const left = new Left();
  const findTotal = async (): Promise<Total | undefined> => {
    left.count(COMMAND_LINE);
    const { things } =
      (await treeTotal(client, paths, {
        signal,
        follow: false,
        countsDirectories: true,
        onDirectory: (path) => left.count(path),
        isVanishing: true,
      })) ?? {};
    return things === undefined ? undefined : { things: things + left.uncounted };
  };
  const { progress: style, force, recursive, verbose } = chosen;
  const progress = new Progress(messages, { style, ...THINGS, findTotal });
  const outcome = new Outcome({ messages, signal });
  const remover = new Remover(client, {
    outcome,
    progress,
    left,
    force,
    recursive,
    told: verbose ? out : undefined,
  });
  const words = (): DfsError =>
    interrupted(
      progress.files === 0 ? "nothing was removed" : `removed ${progress.summary()}`,
      "what is left is whole; the same command removes it",
    );
  try {
    await tellingInterruption(signal, words, async () => {
      for (const apart of withoutOverlap(paths))
        await walkTree(remover.roots(apart), WIDTH, signal);
    });
  } finally {
    progress.end();
  }
  progress.stop("removed");
  return outcome.exitCode;
}

/** What has been removed from directories before those were counted. */
class Left {
  uncounted = 0;
  readonly #counted = new Set<string>();

  /** The names in a directory are about to be counted. @throws Error when there are too many directories to remember. */
  count(directory: Uint8Array): void {
    if (this.#counted.size >= MOST_DIRECTORIES) throw new Error("too many directories to count");
    this.#counted.add(keyOf(directory));
  }

  removed(directory: Uint8Array): void {
    if (!this.#counted.has(keyOf(directory))) this.uncounted++;
  }
}

const keyOf = (path: Uint8Array): string => Buffer.from(path).toString("latin1");

interface Job {
  readonly outcome: Outcome;
  readonly progress: Progress;
  readonly left: Left;
  readonly force: boolean;
  readonly recursive: boolean;
  /** Where each removal is told; undefined: nowhere. */
  readonly told: Output | undefined;
}

class Remover {
  readonly #client: DfsClient;
  readonly #job: Job;

  constructor(client: DfsClient, job: Job) {
    this.#client = client;
    this.#job = job;
  }

  async *roots(paths: readonly Uint8Array[]): AsyncIterable<Step> {
    for (const path of paths) {
      yield () => this.#attempt(path, undefined, () => this.#root(path));
    }
  }

  /** A path that was typed. */
  async #root(path: Uint8Array): ReturnType<Step> {
    const bare = withoutTrailingSlashes(path);
    const attributes = await this.#client.stat(bare, { follow: false });
    this.#refuseDangerous(path, attributes);
    if (attributes.type !== "directory") {
      if (endsInSlash(path)) throw new Reason("notDirectory", "not a directory");
      return this.#file(bare, undefined);
    }
    if (!this.#job.recursive) {
      throw new Reason("invalid", "is a directory\n-r removes it with everything in it");
    }
    return this.#directory(bare, undefined);
  }

  #refuseDangerous(path: Uint8Array, attributes: Attributes): void {
    if (attributes.inode === ROOT_INODE) {
      throw new Reason("notPermitted", "this is the root directory, which always exists");
    }
    if (isNameless(path)) {
      throw new Reason("invalid", "a path that ends in . or .. is not removed; name the directory");
    }
  }

  #directory(path: Uint8Array, parent: Leaving | undefined): Awaited<ReturnType<Step>> {
    const directory: Leaving = { path, parent, mustStay: false };
    return { steps: this.#inside(directory), leave: () => this.#leave(directory) };
  }

  async #leave(directory: Leaving): Promise<void> {
    const { path, parent } = directory;
    if (directory.mustStay) {
      if (parent !== undefined) parent.mustStay = true;
      return;
    }
    await this.#attempt(path, parent, async () => {
      await this.#client.rmdir(path);
      await this.#removed(path, parent);
      return undefined;
    });
  }

  /** One step for each entry; the listing goes on from name to name while what it named is removed. */
  async *#inside(directory: Leaving): AsyncIterable<Step> {
    try {
      for await (const entry of this.#client.readdir(directory.path)) {
        const child = joined(directory.path, entry.name);
        yield entry.type === "directory"
          ? () => Promise.resolve(this.#directory(child, directory))
          : () => this.#attempt(child, directory, () => this.#file(child, directory));
      }
    } catch (error) {
      // When somebody else has removed it meanwhile, rmdir will say so.
      if (isNothingThere(await this.#whatHappened(directory.path, error))) return;
      directory.mustStay = true;
      this.#job.outcome.fail(`cannot list ${quoted(directory.path)}`, error);
    }
  }

  async #file(path: Uint8Array, parent: Leaving | undefined): Promise<undefined> {
    await this.#client.unlink(path);
    await this.#removed(path, parent);
    return undefined;
  }

  async #removed(path: Uint8Array, parent: Leaving | undefined): Promise<void> {
    const { outcome, progress, left, told } = this.#job;
    outcome.succeed();
    progress.files++;
    left.removed(parent?.path ?? COMMAND_LINE);
    await told?.line(`removed ${escaped(path)}`);
  }

  /**
   * The error, or that of looking for the path again where something was "gone" on the way: somebody else has removed it then.
   * When it is still there it was the session that is gone.
   */
  async #whatHappened(path: Uint8Array, error: unknown): Promise<unknown> {
    if (!isDfsError(error, "stale")) return error;
    try {
      await this.#client.stat(path, { follow: false });
      return error;
    } catch (now) {
      return isNothingThere(now) ? now : error;
    }
  }

  /** Tells a failure and goes on with the rest. */
  async #attempt(
    path: Uint8Array,
    parent: Leaving | undefined,
    work: () => ReturnType<Step>,
  ): ReturnType<Step> {
    try {
      return await work();
    } catch (error) {
      const told = await this.#whatHappened(path, error);
      if (this.#job.force && isNothingThere(told)) return undefined;
      if (parent !== undefined) parent.mustStay = true;
      this.#job.outcome.fail(`cannot remove ${quoted(path)}`, told);
      return undefined;
    }
  }
}

/**
 * The paths in runs, one after the other: those of a run are removed at the same time, so none of them leads into another.
 * What is named twice is gone the second time, as with rm.
 */
function withoutOverlap(paths: readonly Uint8Array[]): Uint8Array[][] {
  const runs: { readonly paths: Uint8Array[]; readonly taken: Set<string> }[] = [];
  for (const path of paths) {
    const names = components(path).map((name) => Buffer.from(name).toString("latin1"));
    const above = names.map((_name, index) => names.slice(0, index + 1).join("/"));
    const last = runs.at(-1);
    // Every directory on the way counts as taken, so that a later path that is one of them begins a new run.
    const meets =
      above.some((each) => last?.taken.has(`=${each}`)) || last?.taken.has(above.at(-1) ?? "");
    const run = last === undefined || meets ? { paths: [], taken: new Set<string>() } : last;
    if (run !== last) runs.push(run);
    run.paths.push(path);
    for (const each of above) run.taken.add(each);
    run.taken.add(`=${above.at(-1) ?? ""}`);
  }
  return runs.map((run) => run.paths);
}

/** What -f passes over: a name that is not there, also because what stands before it is no directory. */
function isNothingThere(error: unknown): boolean {
  return isDfsError(error, "notFound") || isDfsError(error, "notDirectory");
}
