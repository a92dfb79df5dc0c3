/**
 * `dfs tree`: a tree of directories, drawn.
 */
import { DfsError } from "../base/errors.ts";
import type { DfsClient, DirectoryEntry } from "../client/api.ts";
import { argument } from "./shared/arguments.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { visitsBelow, jsonItem, type Item, type Visit } from "./shared/visits.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { counted } from "./shared/format.ts";
import { nameShown } from "./shared/listing.ts";
import { interruptedTelling, tellingInterruption } from "./shared/interruption.ts";
import { Outcome } from "./shared/outcome.ts";
import { remotePath } from "./shared/paths.ts";
import { escaped, quoted } from "./shared/text.ts";
import { count } from "./shared/values.ts";

const DOT = 0x2e;

/** How lines are drawn. All four parts are equally wide. */
interface Drawing {
  readonly fork: string;
  readonly corner: string;
  readonly pass: string;
  readonly blank: string;
}

const LINES: Drawing = { fork: "├── ", corner: "└── ", pass: "│   ", blank: "    " };
const ASCII: Drawing = { fork: "|-- ", corner: "`-- ", pass: "|   ", blank: "    " };

const options = {
  level: value(
    "<depth>",
    count(1, Number.MAX_SAFE_INTEGER),
    "no deeper than so many directories below the path",
    { short: "L" },
  ),
  all: flag("names that begin with a dot as well", { short: "a" }),
  directories: flag("directories alone", { short: "d" }),
  ascii: flag("drawn with ASCII characters, as where the locale has no UTF-8"),
  ...clientOptions,
  ...jsonOption,
};

type TreeContext = Context<typeof options>;

export const tree = defineCommand({
  usage: "tree [-L DEPTH] [-a] [-d] [PATH...]",
  description: `
Draws what is below directories, / when no path is given, in the byte order of the names, and counts it. Names that begin
with a dot are left out without -a, and counted. Symbolic links are shown with their targets and not followed, but for a
path that is one.`,
  options,
  operands: { least: 0, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs tree -L 2 /", "dfs tree -d /project"],
  json: [
    "depth             0 for a path that was given, 1 for what is in it, ...",
    "path, name        full path and last component; pathBase64, nameBase64 when not UTF-8",
    "target            of a symbolic link; targetBase64 when not UTF-8",
    "type mode nlink uid gid size ...     as dfs ls --json has them",
  ],
  exits: [
    [0, "all was shown"],
    [1, "nothing could be shown"],
    [3, "some could not be shown"],
    [4, "no such directory"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const typed = context.args.length === 0 ? [argument("/")] : context.args;
    const named = typed.map((arg) => ({ path: remotePath(arg), name: arg.bytes }));
    return withClient(context, (client) =>
      tellingInterruption(
        context.signal,
        () => interruptedTelling("shown"),
        () => new Drawer(context, client).run(named),
      ),
    );
  },
});

class Drawer {
  readonly #context: TreeContext;
  readonly #client: DfsClient;
  readonly #outcome: Outcome;
  readonly #drawing: Drawing;
  #directories = 0;
  #files = 0;
  #hidden = 0;

  constructor(context: TreeContext, client: DfsClient) {
    this.#context = context;
    this.#client = client;
    this.#outcome = new Outcome(context);
    this.#drawing = context.options.ascii || !hasUtf8(context.env) ? ASCII : LINES;
  }

  async run(named: readonly Pick<Item, "path" | "name">[]): Promise<ExitCode> {
    for (const { path, name } of named) {
      const item = await this.#find(path, name);
      if (item === undefined) continue;
      await this.#draw(item);
      this.#outcome.succeed();
    }
    const { out, options: chosen } = this.#context;
    if (!chosen.json && this.#outcome.done > 0) await out.line(`\n${this.#summary()}`);
    return this.#outcome.exitCode;
  }

  async #find(path: Uint8Array, name: Uint8Array): Promise<Item | undefined> {
    try {
      const attributes = await this.#client.stat(path, { follow: true });
      if (attributes.type === "directory") return { path, name, attributes };
      throw new DfsError("notDirectory", "not a directory");
    } catch (error) {
      this.#outcome.fail(`cannot show ${quoted(path)}`, error);
      return undefined;
    }
  }

  async #draw(root: Item): Promise<void> {
    const deepest = this.#context.options.level ?? Infinity;
    const visits = visitsBelow(this.#client, root, {
      signal: this.#context.signal,
      into: (_directory, depth) => depth < deepest,
      without: (entry) => this.#isLeftOut(entry),
    });
    /** What stands before the names in each directory on the way down. */
    const prefixes = [""];
    for await (const visit of visits) {
      if (visit.kind === "unlisted") {
        this.#outcome.fail(`cannot list ${quoted(visit.item.path)}`, visit.error);
      } else if (visit.kind === "entry") {
        await this.#entry(visit, prefixes);
      }
    }
  }

  #isLeftOut(entry: DirectoryEntry): boolean {
    const { all, directories } = this.#context.options;
    if (directories && entry.type !== "directory") return true;
    if (all || entry.name[0] !== DOT) return false;
    this.#hidden++;
    return true;
  }

  async #entry({ item, depth, isLast }: Visit, prefixes: string[]): Promise<void> {
    const { out, options: chosen } = this.#context;
    const isDirectory = item.attributes.type === "directory";
    if (depth > 0 && isDirectory) this.#directories++;
    else if (depth > 0) this.#files++;
    const target = await this.#targetOf(item);
    if (chosen.json) {
      await out.row({ depth, ...jsonItem(item, target) });
      return;
    }
    const arrow = target === undefined ? "" : ` -> ${escaped(target)}`;
    const { fork, corner, pass, blank } = this.#drawing;
    const prefix = depth === 0 ? "" : (prefixes[depth - 1] ?? "");
    const branch = depth === 0 ? "" : isLast ? corner : fork;
    await out.line(`${prefix}${branch}${nameShown(item.name, item.attributes)}${arrow}`);
    if (depth > 0) prefixes[depth] = prefix + (isLast ? blank : pass);
  }

  /** Where a symbolic link leads; one that has vanished meanwhile leads nowhere. */
  async #targetOf({ path, attributes }: Item): Promise<Uint8Array | undefined> {
    if (attributes.type !== "symlink") return undefined;
    return this.#client.readlink(path).catch(() => undefined);
  }

  /** `2 directories, 1 file`. */
  #summary(): string {
    const hidden = this.#hidden === 0 ? "" : `, ${this.#hidden} hidden (-a shows them)`;
    const directories = counted(this.#directories, "directory", "directories");
    const files = this.#context.options.directories ? "" : `, ${counted(this.#files, "file")}`;
    return directories + files + hidden;
  }
}

/** True where the locale, by the variables of setlocale(3) in their order, says that the terminal takes UTF-8. */
function hasUtf8(env: TreeContext["env"]): boolean {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return /utf-?8/i.test(locale);
}
