/**
 * `dfs mv`: rename or move files and directories. Data stays where it is: only names change.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { Reason } from "./shared/errors.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, withClient } from "./shared/connect.ts";
import { Outcome } from "./shared/outcome.ts";
import {
  baseName,
  endsInSlash,
  isNameless,
  joined,
  remotePath,
  withoutTrailingSlashes,
} from "./shared/paths.ts";
import { quoted } from "./shared/text.ts";
import { statIfThere } from "./transfer/stored-already.ts";

export const mv = defineCommand({
  usage: "mv [-n] SOURCE... TARGET",
  description: `
Renames SOURCE to TARGET, replacing a file of that name in one step. When TARGET is a directory, the sources move into
it. Blocks are not moved: placement was decided when a file was created.`,
  options: {
    noReplace: flag("do not replace anything: a taken name is an error", { short: "n" }),
    ...clientOptions,
  },
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs mv /draft.txt /final.txt", "dfs mv /a /b /archive/"],
  exits: [
    [0, "all were moved"],
    [1, "not moved"],
    [3, "some could not be moved"],
    [4, "a source, or the directory to move to, is missing"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const paths = context.args.map(remotePath);
    const target = paths.at(-1) ?? new Uint8Array();
    const sources = paths.slice(0, -1);
    const how = context.options.noReplace ? "noReplace" : "replace";
    return withClient(context, async (client) => {
      const outcome = new Outcome(context);
      const isInto = await isDirectory(client, target);
      if (sources.length > 1 && !isInto) {
        throw new DfsError(
          "notDirectory",
          `cannot move ${sources.length} sources to ${quoted(target)}: it is no directory\n` +
            "make it first: dfs mkdir",
        );
      }
      for (const source of sources) {
        await outcome.attempt(`cannot move ${quoted(source)} to ${quoted(target)}`, async () => {
          if (isNameless(source)) throw new Reason("invalid", "this has no name of its own");
          // `NAME/` is a directory's name: looking it up refuses anything else.
          if (endsInSlash(source)) await client.stat(source, { follow: true });
          const to = isInto
            ? joined(target, baseName(source))
            : await newName(client, source, target);
          const from = withoutTrailingSlashes(source);
          await refuseSame(client, from, to);
          await client.rename(from, to, how);
        });
      }
      return outcome.exitCode;
    });
  },
});

async function isDirectory(client: DfsClient, path: Uint8Array): Promise<boolean> {
  try {
    return (await client.stat(path, { follow: true })).type === "directory";
  } catch (error) {
    if (leadsNowhere(error)) return false;
    throw error;
  }
}

/** What a link leads to, if anything. */
async function behindLink(client: DfsClient, link: Uint8Array): Promise<Attributes | undefined> {
  try {
    return await client.stat(link, { follow: true });
  } catch (error) {
    if (leadsNowhere(error)) return undefined;
    throw error;
  }
}

function leadsNowhere(error: unknown): boolean {
  return (["notFound", "notDirectory", "loop"] as const).some((kind) => isDfsError(error, kind));
}

/**
 * Refuses what mv refuses. Of two names of one file rename(2) removes none and calls that done; a link that takes the place of
 * what it leads to would lead to itself, and the file would be lost.
 */
async function refuseSame(client: DfsClient, from: Uint8Array, to: Uint8Array): Promise<void> {
  const [source, target] = await Promise.all([
    client.stat(from, { follow: false }),
    statIfThere(client, to),
  ]);
  if (target === undefined) return;
  const behind = source.type === "symlink" ? await behindLink(client, from) : undefined;
  if (source.inode === target.inode || behind?.inode === target.inode) {
    throw new Reason("invalid", "both are the same file");
  }
}

/** `TARGET/` may be a new name for a directory only. */
async function newName(
  client: DfsClient,
  source: Uint8Array,
  target: Uint8Array,
): Promise<Uint8Array> {
  if (!endsInSlash(target)) return target;
  const { type } = await client.stat(withoutTrailingSlashes(source), { follow: false });
  if (type !== "directory") throw new Reason("notDirectory", "not a directory");
  return withoutTrailingSlashes(target);
}
