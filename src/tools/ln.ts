/**
 * `dfs ln`: give files further names, or make symbolic links.
 */
import { DfsError } from "../base/errors.ts";
import { MAX_SYMLINK_BYTES } from "../base/limits.ts";
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { appear } from "./shared/appear.ts";
import type { Argument } from "./shared/arguments.ts";
import { CHANGED_KEYS, Teller } from "./shared/changing.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { Reason } from "./shared/errors.ts";
import { JustMade } from "./shared/just-made.ts";
import { directoryAt, leadsNowhere } from "./shared/links.ts";
import { Outcome } from "./shared/outcome.ts";
import { ownOwner } from "./shared/ownership.ts";
import {
  baseName,
  endsInSlash,
  isNameless,
  joined,
  parentPath,
  remotePath,
} from "./shared/paths.ts";
import { noRemoteDirectory } from "./shared/several.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";

const options = {
  symbolic: flag("a symbolic link, which holds TARGET as it is typed", { short: "s" }),
  force: flag("replace a file or link that has the name, in one step", { short: "f" }),
  noDereference: flag("LINK is a name, also when a symbolic link to a directory has it", {
    short: "n",
  }),
  verbose: flag("tell each link", { short: "v" }),
  ...clientOptions,
  ...jsonOption,
};

type LnContext = Context<typeof options>;

export const ln = defineCommand({
  usage: "ln [-s] [-f] [-n] [-v] TARGET... LINK",
  description: `
Gives the file TARGET the further name LINK; with -s LINK becomes a symbolic link. When LINK is a directory, the links are made
in it, under the names of the targets; several targets need that.
A symbolic link leads where TARGET says: from the directory of LINK on unless it begins with /, whether anything is there or
not. A further name of a symbolic link is one of the link itself; directories have one name only.`,
  options,
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs ln /data/a /data/b", "dfs ln -s ../releases/7 /project/current"],
  json: [...CHANGED_KEYS, "target            as typed; targetBase64 when not UTF-8"],
  exits: [
    [0, "all links are there"],
    [1, "not made, for example because the name is taken"],
    [3, "some could not be made"],
    [4, "a target, or the directory of the link, is missing"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const targets = context.args.slice(0, -1);
    const link = remotePath(context.args.at(-1)!);
    if (targets.some((target) => target.bytes.length === 0)) {
      throw new DfsError("usage", "a target is empty\ngive a path such as /directory/file");
    }
    return withClient(context, async (client) => {
      const isName = context.options.noDereference && (await isSymlink(client, link));
      const directory = isName ? undefined : await directoryAt(client, link, targets.length);
      if (targets.length > 1 && directory === undefined) {
        throw await noRemoteDirectory(client, `make ${targets.length} links as`, link);
      }
      const linker = new Linker(context, client);
      for (const target of targets) {
        await linker.link(
          target,
          directory === undefined ? link : joined(directory, baseName(target.bytes)),
        );
      }
      return linker.outcome.exitCode;
    });
  },
});

/** True for the name of a symbolic link; `NAME/` is what the link leads to. */
async function isSymlink(client: DfsClient, path: Uint8Array): Promise<boolean> {
  if (endsInSlash(path)) return false;
  try {
    return (await client.stat(path, { follow: false })).type === "symlink";
  } catch (error) {
    if (leadsNowhere(error)) return false;
    throw error;
  }
}

class Linker {
  readonly outcome: Outcome;
  readonly #client: DfsClient;
  readonly #options: LnContext["options"];
  readonly #teller: Teller;
  /** Names made by this command: two targets of one name must not replace each other. */
  readonly #made = new JustMade();

  constructor(context: LnContext, client: DfsClient) {
    this.#client = client;
    this.#options = context.options;
    this.#teller = new Teller(context);
    this.outcome = new Outcome(context);
  }

  async link(target: Argument, path: Uint8Array): Promise<void> {
    const { symbolic, force } = this.#options;
    const what = `cannot make the link ${quoted(path)} to ${quoted(target.bytes)}`;
    await this.outcome.attempt(what, async () => {
      if (isNameless(path)) throw new Reason("exists", "a directory is there");
      if (endsInSlash(path)) throw new Reason("notFound", "no such directory");
      const make = await this.#maker(target, path);
      this.#made.refuse(path);
      if (force) await appear(this.#client, path, make);
      else await make(path);
      this.#made.add(path);
      const attributes = await this.#client.stat(path, { follow: false });
      const arrow = symbolic ? "->" : "=>";
      const line = `${escaped(path)} ${arrow} ${escaped(target.bytes)}`;
      await this.#teller.changed(path, attributes, line, jsonName("target", target.bytes));
    });
  }

  /** What makes the link under a name. */
  async #maker(
    target: Argument,
    path: Uint8Array,
  ): Promise<(name: Uint8Array) => Promise<Attributes>> {
    const client = this.#client;
    if (this.#options.symbolic) {
      const { bytes } = target;
      if (bytes.length > MAX_SYMLINK_BYTES) {
        throw new Reason(
          "nameTooLong",
          `the target has ${bytes.length} bytes\nit may have ${MAX_SYMLINK_BYTES}`,
        );
      }
      return (name) => client.symlink(bytes, name, ownOwner(0o777));
    }
    const existing = remotePath(target);
    const attributes = await client.stat(existing, { follow: endsInSlash(existing) });
    if (attributes.type === "directory") {
      throw new Reason("notPermitted", "a directory has one name only\n-s makes a symbolic link");
    }
    if (this.#options.force) await this.#refuseSame(attributes, existing, path);
    return (name) => client.link(existing, name);
  }

  /** With -f: replacing a name by itself is a mistake, as ln(1) has it. */
  async #refuseSame(target: Attributes, existing: Uint8Array, path: Uint8Array): Promise<void> {
    if (Buffer.compare(baseName(existing), baseName(path)) !== 0) return;
    const [one, other] = await Promise.all([
      parentOf(this.#client, existing),
      parentOf(this.#client, path),
    ]);
    if (one === other) {
      throw new Reason("exists", `both are the same name of inode ${target.inode}`);
    }
  }
}

/** The directory of the last name. */
async function parentOf(client: DfsClient, path: Uint8Array): Promise<Attributes["inode"]> {
  return (await client.stat(parentPath(path), { follow: true })).inode;
}
