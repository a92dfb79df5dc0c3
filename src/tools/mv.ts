/**
 * `dfs mv`: rename or move files and directories. Data stays where it is: only names change.
 */
import { isDfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { Reason } from "./shared/errors.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, withClient } from "./shared/connect.ts";
import { JustMade } from "./shared/just-made.ts";
import { directoryAt, leadsNowhere } from "./shared/links.ts";
import { Outcome } from "./shared/outcome.ts";
import {
  baseName,
  endsInSlash,
  isNameless,
  joined,
  remotePath,
  withoutTrailingSlashes,
} from "./shared/paths.ts";
import { noRemoteDirectory } from "./shared/several.ts";
import { escaped, quoted } from "./shared/text.ts";
import { statIfThere } from "./transfer/stored-already.ts";

export const mv = defineCommand({
  usage: "mv [-n] [-v] SOURCE... TARGET",
  description: `
Renames SOURCE to TARGET, replacing a file of that name in one step. When TARGET is a directory, the sources move into
it. With -n what has a name that is taken stays where it is, which is no error. Blocks are not moved: placement was decided
when a file was created.`,
  options: {
    noReplace: flag("leave alone what would replace something", { short: "n" }),
    force: flag("accepted for habit's sake: what can be replaced is, without -n", { short: "f" }),
    verbose: flag("tell each move", { short: "v" }),
    ...clientOptions,
  },
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs mv /draft.txt /final.txt", "dfs mv /a /b /archive/"],
  exits: [
    [0, "all were moved, but for what -n leaves"],
    [1, "not moved"],
    [3, "some could not be moved"],
    [4, "a source, or the directory to move to, is missing"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const paths = context.args.map(remotePath);
    const target = paths.at(-1) ?? new Uint8Array();
    const sources = paths.slice(0, -1);
    const { noReplace, verbose } = context.options;
    return withClient(context, async (client) => {
      const outcome = new Outcome(context);
      const directory = await directoryAt(client, target, sources.length);
      if (sources.length > 1 && directory === undefined) {
        throw await noRemoteDirectory(client, `move ${sources.length} sources to`, target);
      }
      const made = new JustMade();
      for (const source of sources) {
        await outcome.attempt(`cannot move ${quoted(source)} to ${quoted(target)}`, async () => {
          if (isNameless(source)) throw new Reason("invalid", "this has no name of its own");
          const from = withoutTrailingSlashes(source);
          // `NAME/` is a directory's name, also that of one behind a link; the link itself is not what is meant.
          if (endsInSlash(source)) await refuseAllButDirectory(client, from);
          const to =
            directory === undefined
              ? await newName(client, source, target)
              : joined(directory, baseName(source));
          const [moved, present] = await Promise.all([
            client.stat(from, { follow: false }),
            statIfThere(client, to),
          ]);
          if (present !== undefined) {
            if (noReplace) return;
            await refuseSame(client, from, moved, present);
          }
          if (moved.type !== "directory") made.refuse(to); // one replaces an empty one alone
          if (!(await renamed(client, from, to, noReplace))) return;
          made.add(to);
          if (verbose) await context.out.line(`${escaped(from)} -> ${escaped(to)}`);
        });
      }
      return outcome.exitCode;
    });
  },
});

/** What a link leads to, if anything. */
async function behindLink(client: DfsClient, link: Uint8Array): Promise<Attributes | undefined> {
  try {
    return await client.stat(link, { follow: true });
  } catch (error) {
    if (leadsNowhere(error)) return undefined;
    throw error;
  }
}

/**
 * Refuses what mv refuses. Of two names of one file rename(2) removes none and calls that done; a link that takes the place of
 * what it leads to would lead to itself, and the file would be lost.
 */
async function refuseSame(
  client: DfsClient,
  from: Uint8Array,
  moved: Attributes,
  present: Attributes,
): Promise<void> {
  const behind = moved.type === "symlink" ? await behindLink(client, from) : undefined;
  if (moved.inode === present.inode || behind?.inode === present.inode) {
    throw new Reason("invalid", "both are the same file");
  }
}

/** False when nothing is to be replaced and the name has just been taken. */
async function renamed(
  client: DfsClient,
  from: Uint8Array,
  to: Uint8Array,
  noReplace: boolean,
): Promise<boolean> {
  try {
    await client.rename(from, to, noReplace ? "noReplace" : "replace");
    return true;
  } catch (error) {
    if (noReplace && isDfsError(error, "exists")) return false;
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
  await refuseAllButDirectory(client, withoutTrailingSlashes(source));
  return withoutTrailingSlashes(target);
}

async function refuseAllButDirectory(client: DfsClient, path: Uint8Array): Promise<void> {
  const { type } = await client.stat(path, { follow: false });
  if (type !== "directory") throw new Reason("notDirectory", "not a directory");
}
