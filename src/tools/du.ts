/**
 * `dfs du`: how much files and directories take up.
 */
import { DfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { argument } from "./shared/arguments.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { visitsBelow, type Item, type Visit } from "./shared/visits.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { kibibytes, shortSize } from "./shared/format.ts";
import { interrupted, tellingInterruption } from "./shared/interruption.ts";
import { Outcome } from "./shared/outcome.ts";
import { besideOutput, Progress, progressOption, THINGS } from "./shared/progress.ts";
import { endsInSlash, remotePath } from "./shared/paths.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";
import { count } from "./shared/values.ts";

/** Blocks are counted in this unit, as st_blocks of stat(2) is. */
const ST_BLOCK_BYTES = 512;

const options = {
  summarize: flag("one line for each path that was given, and no more", { short: "s" }),
  all: flag("files as well, not only directories", { short: "a" }),
  maxDepth: value(
    "<depth>",
    count(0, Number.MAX_SAFE_INTEGER),
    "directories at most so deep below the path; 0: as -s",
    { short: "d" },
  ),
  total: flag("the sum of all in a last line", { short: "c" }),
  kibibytes: flag("accepted for habit's sake: sizes are in KiB without -h", { short: "k" }),
  human: flag("sizes with units (1.5K, 214M), not in KiB", { short: "h" }),
  apparentSize: flag("lengths of files instead of what they take up"),
  bytes: flag("lengths of files, in bytes", { short: "b" }),
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

type DuContext = Context<typeof options>;

export const du = defineCommand({
  usage: "du [-s | -d DEPTH] [-a] [-c] [-h] [-b] [PATH...]",
  description: `
Shows how much directories take up with all that is in them, / when no path is given: the bytes of the blocks that files
have, holes left out, counted as st_blocks does and told in KiB, rounded up. It is what one copy takes; the data servers have
as many times that as there are copies. Directories themselves take up none of it. A file with several names counts
once, where it is met first; so does what lies below two of the paths. Symbolic links are not followed.`,
  options,
  operands: { least: 0, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs du -h -d 1 /", "dfs du -sh /tree /file"],
  json: [
    "path              of the directory or file; pathBase64 when not UTF-8; missing in the last row of -c",
    "type              file, directory, symlink, ...; total in the last row of -c",
    "usedBytes         of its blocks",
    "apparentBytes     the lengths of its files",
  ],
  exits: [
    [0, "all was counted"],
    [1, "nothing could be counted"],
    [3, "some could not be counted"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
    [130, "interrupted: not all was counted"],
  ],
  run(context) {
    const { summarize, all, maxDepth } = context.options;
    if (summarize && all) throw new DfsError("usage", "-s and -a exclude each other");
    if (summarize && maxDepth !== undefined && maxDepth > 0) {
      throw new DfsError("usage", "-s and -d exclude each other: -s is -d 0");
    }
    const typed = context.args.length === 0 ? [argument("/")] : context.args;
    const paths = typed.map(remotePath);
    return withClient(context, (client) => countAll(context, client, paths));
  },
});

async function countAll(
  context: DuContext,
  client: DfsClient,
  paths: readonly Uint8Array[],
): Promise<ExitCode> {
  const { messages, signal, options: chosen } = context;
  const progress = new Progress(messages, { style: besideOutput(chosen.progress), ...THINGS });
  const words = (): DfsError =>
    interrupted(
      `counted ${progress.summary()}; there is more`,
      "the same command begins from the start",
    );
  try {
    return await tellingInterruption(signal, words, () =>
      new Counter(context, client, progress).run(paths),
    );
  } finally {
    progress.end();
  }
}

/** What something takes up, in bytes. */
class Usage {
  used = 0;
  apparent = 0;

  add(other: Pick<Usage, "used" | "apparent">): void {
    this.used += other.used;
    this.apparent += other.apparent;
  }
}

class Counter {
  readonly #context: DuContext;
  readonly #client: DfsClient;
  readonly #outcome: Outcome;
  readonly #progress: Progress;
  readonly #total = new Usage();
  readonly #deepest: number;
  /** Inodes that can be met again: those with several names, and those of the paths that were given. */
  readonly #seen = new Set<InodeId>();
  readonly #roots = new Set<InodeId>();

  constructor(context: DuContext, client: DfsClient, progress: Progress) {
    this.#progress = progress;
    this.#context = context;
    this.#client = client;
    this.#outcome = new Outcome(context);
    const { summarize, maxDepth } = context.options;
    this.#deepest = summarize ? 0 : (maxDepth ?? Infinity);
  }

  async run(paths: readonly Uint8Array[]): Promise<ExitCode> {
    const items: Item[] = [];
    for (const path of paths) {
      const item = await this.#find(path);
      if (item === undefined) continue;
      items.push(item);
      if (paths.length > 1) this.#roots.add(item.attributes.inode);
    }
    for (const item of items) await this.#count(item);
    if (this.#context.options.total) await this.#print(undefined, this.#total);
    return this.#outcome.exitCode;
  }

  async #find(path: Uint8Array): Promise<Item | undefined> {
    try {
      const attributes = await this.#client.stat(path, { follow: endsInSlash(path) });
      return { path, name: path, attributes };
    } catch (error) {
      this.#outcome.fail(`cannot count ${quoted(path)}`, error);
      return undefined;
    }
  }

  /** Counts one of the paths that were given, and tells of it and of what is in it. */
  async #count(root: Item): Promise<void> {
    const outer = new Usage();
    /** Of the directories on the way down, the innermost one last. */
    const open = [outer];
    let passed: Item | undefined;
    const into = (directory: Item): boolean => directory !== passed;
    const { signal } = this.#context;
    for await (const visit of visitsBelow(this.#client, root, { signal, into })) {
      if (visit.kind === "entry") this.#progress.files++;
      const { item, depth } = visit;
      if (visit.kind === "unlisted") {
        this.#outcome.fail(`cannot list ${quoted(item.path)}`, visit.error);
      } else if (visit.kind === "leave") {
        const usage = open.pop() ?? outer;
        open.at(-1)?.add(usage);
        if (depth <= this.#deepest) await this.#print(item, usage);
      } else if (this.#wasCounted(item.attributes)) {
        passed = item; // and with it what is in it
      } else {
        await this.#enter(visit, open);
      }
    }
    this.#total.add(outer);
    this.#outcome.succeed();
  }

  async #enter({ item, depth }: Visit, open: Usage[]): Promise<void> {
    const usage = new Usage();
    usage.add(usageOf(item.attributes));
    if (item.attributes.type === "directory") {
      open.push(usage);
      return;
    }
    open.at(-1)?.add(usage);
    const isShown = depth === 0 || (this.#context.options.all && depth <= this.#deepest);
    if (isShown) await this.#print(item, usage);
  }

  /** True from the second time on that something is met. */
  #wasCounted({ inode, nlink, type }: Attributes): boolean {
    const canComeAgain = (type !== "directory" && nlink > 1) || this.#roots.has(inode);
    if (!canComeAgain) return false;
    if (this.#seen.has(inode)) return true;
    this.#seen.add(inode);
    return false;
  }

  async #print(item: Item | undefined, { used, apparent }: Usage): Promise<void> {
    const { out, options: chosen } = this.#context;
    if (chosen.json) {
      const what =
        item === undefined
          ? { type: "total" }
          : { ...jsonName("path", item.path), type: item.attributes.type };
      await out.row({ ...what, usedBytes: used, apparentBytes: apparent });
      return;
    }
    const bytes = chosen.bytes || chosen.apparentSize ? apparent : used;
    const size = chosen.human ? shortSize(bytes) : chosen.bytes ? bytes : kibibytes(bytes);
    await out.line(`${size}\t${item === undefined ? "total" : escaped(item.path)}`);
  }
}

function usageOf({ type, size, allocated }: Attributes): Pick<Usage, "used" | "apparent"> {
  return {
    used: Math.ceil(allocated / ST_BLOCK_BYTES) * ST_BLOCK_BYTES,
    apparent: type === "file" || type === "symlink" ? size : 0,
  };
}
