/**
 * `dfs mv`: rename or move files and directories. Data stays where it is: only names change.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
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
      const outcome = new Outcome(context.messages);
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
          await client.rename(withoutTrailingSlashes(source), to, how);
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
    if (isDfsError(error, "notFound") || isDfsError(error, "notDirectory")) return false;
    throw error;
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
