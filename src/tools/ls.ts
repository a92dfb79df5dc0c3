/**
 * `dfs ls`: list directories.
 */
import type { DfsClient } from "../client/api.ts";
import { argument } from "./shared/arguments.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { entriesIn, itemOf, jsonItem, type Item } from "./shared/visits.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { Listing, sortListed, type SortKey } from "./shared/listing.ts";
import { interruptedTelling, tellingInterruption } from "./shared/interruption.ts";
import { Outcome } from "./shared/outcome.ts";
import { endsInSlash, remotePath } from "./shared/paths.ts";
import { escaped, quoted } from "./shared/text.ts";

const options = {
  long: flag("mode, links, owner, group, size, time of change, target of links", { short: "l" }),
  recursive: flag("directories in directories as well", { short: "R" }),
  directory: flag("the directories themselves, not what is in them", { short: "d" }),
  numeric: flag("numbers of owners and groups instead of names", { short: "n" }),
  human: flag("sizes with units (1.5K, 214M)", { short: "h" }),
  bySize: flag("largest first", { short: "S" }),
  byTime: flag("latest change of content first", { short: "t" }),
  reverse: flag("the other way round", { short: "r" }),
  inode: flag("number of the inode", { short: "i" }),
  size: flag("what each takes up on one copy, in KiB, in front", {
    short: "s",
    env: "DFS_ALLOCATED", // DFS_SIZE is a length, of truncate and find
  }),
  classify: flag("/ behind directories, @ links, * programs, | fifos, = sockets", { short: "F" }),
  all: flag("accepted for habit's sake: all names are always shown", { short: "a" }),
  almostAll: flag("accepted likewise", { short: "A" }),
  singleColumn: flag("accepted likewise: there is always one name a line", { short: "1" }),
  ...clientOptions,
  ...jsonOption,
};

type LsContext = Context<typeof options>;

/** Something to list: its path, and what is shown for it. */
type Named = Pick<Item, "path" | "name">;

/** Rows are aligned, and symbolic links looked up, this many at a time. */
const ROWS_AT_ONCE = 1024;

export const ls = defineCommand({
  usage: "ls [-l] [-R] [-d] [-S | -t] [-r] [-h] [-i] [-s] [-F] [PATH...]",
  description: `
Lists directories, / when no path is given, in the byte order of the names; a file is listed as itself.
Bytes of a name that a terminal should not see are shown as \\n, \\xff, \\u{202e}; a backslash as \\\\.
Sizes are in bytes, times are local (--json has both exactly). -S, -t and -r hold a directory in memory to sort it;
otherwise it is listed as it comes, however large it is.`,
  options,
  operands: { least: 0, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs ls -l /", "dfs ls -lhS /tree", "dfs ls -R --json /tree"],
  json: [
    "path, name        full path and last component; pathBase64, nameBase64 when not UTF-8",
    "type              file, directory, symlink, fifo, socket, characterDevice, blockDevice",
    "mode              permission bits, octal text",
    "nlink uid gid size allocated rdev    numbers",
    "inode version     64-bit numbers as text",
    "atime mtime ctime                    UTC with nanoseconds; atimeNs ...: since 1970, as text",
    "base              hash of the path at creation, decides the placement",
    "target            of a symbolic link; targetBase64 when not UTF-8",
  ],
  exits: [
    [0, "all was listed"],
    [3, "some of the paths could not be listed"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const typed = context.args.length === 0 ? [argument("/")] : context.args;
    const named = typed.map((arg) => ({ path: remotePath(arg), name: arg.bytes }));
    return withClient(context, (client) =>
      tellingInterruption(
        context.signal,
        () => interruptedTelling("listed"),
        () => new Lister(context, client).run(named),
      ),
    );
  },
});

class Lister {
  readonly #context: LsContext;
  readonly #client: DfsClient;
  readonly #outcome: Outcome;
  readonly #listing: Listing;
  readonly #sort: SortKey | undefined;
  #hasPrinted = false;

  constructor(context: LsContext, client: DfsClient) {
    this.#context = context;
    this.#client = client;
    this.#outcome = new Outcome(context);
    this.#listing = new Listing(context.options);
    this.#sort = sortOf(context);
  }

  async run(named: readonly Named[]): Promise<ExitCode> {
    const single: Item[] = [];
    const directories: Item[] = [];
    for (const { path, name } of named) {
      const item = await this.#find(path, name);
      if (item === undefined) continue;
      const listsInside = item.attributes.type === "directory" && !this.#context.options.directory;
      (listsInside ? directories : single).push(item);
    }
    this.#sortItems(single);
    this.#sortItems(directories);
    await this.#print(single);
    if (single.length > 0) this.#outcome.succeed();
    const isOnlyOne = named.length === 1 && !this.#context.options.recursive;
    for (const item of directories) await this.#tree(item, !isOnlyOne);
    return this.#outcome.exitCode;
  }

  async #find(path: Uint8Array, name: Uint8Array): Promise<Item | undefined> {
    const { long, directory } = this.#context.options;
    try {
      // As ls does: a link to a directory is looked into, unless its own attributes are asked for.
      const own = await this.#client.stat(path, { follow: endsInSlash(path) });
      if (own.type !== "symlink" || long || directory) return { path, name, attributes: own };
      // A link that leads nowhere is listed as itself.
      const target = await this.#client.stat(path, { follow: true }).catch(() => own);
      return { path, name, attributes: target.type === "directory" ? target : own };
    } catch (error) {
      this.#outcome.fail(`cannot list ${quoted(path)}`, error);
      return undefined;
    }
  }

  /** Lists a directory and, with -R, those in it: with a stack, so that no depth is too deep. */
  async #tree(root: Item, hasHeading: boolean): Promise<void> {
    const stack = [root];
    for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
      this.#context.signal.throwIfAborted();
      try {
        if (hasHeading && !this.#context.options.json) await this.#heading(item.path);
        const inside = await this.#directory(item.path);
        for (const child of inside.reverse()) stack.push(child);
        this.#outcome.succeed();
      } catch (error) {
        this.#outcome.fail(`cannot list ${quoted(item.path)}`, error);
      }
    }
  }

  /** Prints what is in a directory; returns the directories in it when they are to be listed too. */
  async #directory(path: Uint8Array): Promise<Item[]> {
    const { recursive } = this.#context.options;
    const inside: Item[] = [];
    let page: Item[] = [];
    for await (const entry of entriesIn(this.#client, path)) {
      this.#context.signal.throwIfAborted();
      const item = itemOf(path, entry);
      page.push(item);
      if (recursive && entry.type === "directory") inside.push(item);
      if (page.length < ROWS_AT_ONCE || this.#sort !== undefined) continue;
      await this.#print(page);
      page = [];
    }
    this.#sortItems(page);
    this.#sortItems(inside);
    for (let at = 0; at < page.length; at += ROWS_AT_ONCE) {
      await this.#print(page.slice(at, at + ROWS_AT_ONCE));
    }
    return inside;
  }

  #sortItems(items: Item[]): void {
    if (this.#sort !== undefined) sortListed(items, this.#sort, this.#context.options.reverse);
  }

  async #heading(path: Uint8Array): Promise<void> {
    const { out } = this.#context;
    if (this.#hasPrinted) await out.line("");
    this.#hasPrinted = true;
    await out.line(`${escaped(path)}:`);
  }

  async #print(items: readonly Item[]): Promise<void> {
    if (items.length === 0) return;
    this.#hasPrinted = true;
    const { out, options: chosen } = this.#context;
    const targets = chosen.long || chosen.json ? await this.#targets(items) : [];
    if (chosen.json) {
      for (const [index, item] of items.entries()) await out.row(jsonItem(item, targets[index]));
    } else {
      for (const line of this.#listing.lines(items, targets)) await out.line(line);
    }
  }

  /** Targets of the symbolic links among `items`; a link that vanished meanwhile has none. */
  #targets(items: readonly Item[]): Promise<(Uint8Array | undefined)[]> {
    return Promise.all(
      items.map(async (item) => {
        if (item.attributes.type !== "symlink") return undefined;
        return this.#client.readlink(item.path).catch(() => undefined);
      }),
    );
  }
}

/** What to sort by, or undefined when the order of the cluster will do. Of -S and -t the one that was typed last counts. */
function sortOf({ options: chosen, typed }: LsContext): SortKey | undefined {
  const last = [...typed].findLast((key) => key === "bySize" || key === "byTime");
  if (last === "bySize" || (last === undefined && chosen.bySize)) return "size";
  if (last === "byTime" || chosen.byTime) return "time";
  return chosen.reverse ? "name" : undefined;
}
