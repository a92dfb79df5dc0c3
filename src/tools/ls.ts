/**
 * `dfs ls`: list directories.
 */
import type { DfsClient, DirectoryEntry } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { argument } from "./shared/arguments.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { jsonAttributes } from "./shared/format.ts";
import { LongListing, nameShown } from "./shared/listing.ts";
import { Outcome } from "./shared/outcome.ts";
import { endsInSlash, joined, remotePath } from "./shared/paths.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";

const options = {
  long: flag("mode, links, owner, group, size, time of change, target of links", { short: "l" }),
  recursive: flag("directories in directories as well", { short: "R" }),
  directory: flag("the directories themselves, not what is in them", { short: "d" }),
  numeric: flag("numbers of owners and groups instead of names", { short: "n" }),
  human: flag("sizes with units"),
  all: flag("accepted for habit's sake: all names are always shown", { short: "a" }),
  ...clientOptions,
  ...jsonOption,
};

type LsContext = Context<typeof options>;

/** Something to list. */
interface Named {
  readonly path: Uint8Array;
  /** What is shown for it: its name, or the path as typed. */
  readonly name: Uint8Array;
}

/** Something to list, with what it is. */
interface Item extends Named {
  readonly attributes: Attributes;
}

/** Rows are aligned, and symbolic links looked up, this many at a time. */
const ROWS_AT_ONCE = 1024;

export const ls = defineCommand({
  usage: "ls [-l] [-R] [-d] [PATH...]",
  description: `
Lists directories, / when no path is given, in the byte order of the names; a file is listed as itself.
Bytes of a name that a terminal should not see are shown as \\n, \\xff, \\u{202e}; a backslash as \\\\.
Sizes are in bytes, times are local (--json has both exactly).`,
  options,
  operands: { least: 0, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs ls -l /", "dfs ls -R --json /tree"],
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
    return withClient(context, (client) => new Lister(context, client).run(named));
  },
});

class Lister {
  readonly #context: LsContext;
  readonly #client: DfsClient;
  readonly #outcome: Outcome;
  readonly #listing: LongListing;
  #hasPrinted = false;

  constructor(context: LsContext, client: DfsClient) {
    this.#context = context;
    this.#client = client;
    this.#outcome = new Outcome(context.messages);
    this.#listing = new LongListing({
      numeric: context.options.numeric,
      human: context.options.human,
    });
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
    for await (const entry of this.#client.readdir(path)) {
      const item = itemOf(path, entry);
      page.push(item);
      if (recursive && entry.type === "directory") inside.push(item);
      if (page.length < ROWS_AT_ONCE) continue;
      await this.#print(page);
      page = [];
    }
    await this.#print(page);
    return inside;
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
    } else if (chosen.long) {
      for (const line of this.#listing.lines(items, targets)) await out.line(line);
    } else {
      for (const item of items) await out.line(nameShown(item.name, item.attributes));
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

function itemOf(directory: Uint8Array, entry: DirectoryEntry): Item {
  return {
    path: joined(directory, entry.name),
    name: entry.name,
    attributes: entry.attributes,
  };
}

function jsonItem(item: Item, target: Uint8Array | undefined): object {
  return {
    ...jsonName("path", item.path),
    ...jsonName("name", item.name),
    ...jsonAttributes(item.attributes),
    ...(target === undefined ? {} : jsonName("target", target)),
  };
}
