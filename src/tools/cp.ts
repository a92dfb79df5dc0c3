/**
 * `dfs cp`: copy files and trees inside the cluster.
 */
import type { DfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { directoryAt } from "./shared/links.ts";
import { Outcome } from "./shared/outcome.ts";
import { placeInside, remotePath } from "./shared/paths.ts";
import { interrupted } from "./shared/interruption.ts";
import { Progress, progressOption, type Total } from "./shared/progress.ts";
import { noRemoteDirectory } from "./shared/several.ts";
import { quoted } from "./shared/text.ts";
import { treeTotal } from "./shared/tree-total.ts";
import { walkTree } from "./shared/tree.ts";
import { Copier } from "./transfer/copier.ts";
import { contentOf } from "./transfer/end.ts";
import { tallyRow, TRANSFER_WIDTH } from "./transfer/jobs.ts";

const options = {
  recursive: flag("trees: directories, symbolic links and special files as such", { short: "r" }),
  preserve: flag("keep modes, times, hard links and attributes, and owners as superuser", {
    short: "p",
  }),
  archive: flag("as -r and -p together", { short: "a" }),
  noReplace: flag("leave out what is there already", { short: "n" }),
  force: flag("accepted for habit's sake: what can be replaced always is", { short: "f" }),
  verbose: flag("tell each copy", { short: "v" }),
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

export const cp = defineCommand({
  usage: "cp [-r] [-p] [-n] [-v] SOURCE... TARGET",
  description: `
Copies files inside the cluster, by the rules of cp: when TARGET is a directory, the sources go into it under their own names;
otherwise it is the new name. Several sources need a directory.
No content moves: a copy shares its blocks with its source until one of them is written to, so it takes no room, and its
time does not depend on its size. (Damage to all copies of a shared block is damage to both files.)
Each file appears whole or not at all; until then readers see the old one. A file that is replaced keeps its mode, owner
and attributes, unless -p; further names of it keep the old content. With -n files that are there stay, which is no error.
With -r symbolic links are copied as links, without they are followed. What cannot be copied is listed on standard error
while the rest goes on.`,
  options,
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs cp /report /report.old", "dfs cp -r -p /project /backup/"],
  json: [
    "one row at the end: files directories symlinks others hardLinks bytes failed seconds, all numbers;",
    "with -n skipped, too",
  ],
  exits: [
    [0, "all is copied"],
    [1, "nothing could be copied"],
    [3, "some of it is copied"],
    [4, "a source, or the directory to copy to, is missing"],
    [5, "cluster unreachable"],
    [130, "interrupted"],
  ],
  run(context) {
    const paths = context.args.map(remotePath);
    const target = paths.at(-1) ?? new Uint8Array();
    return withClient(context, (client) => copyAll(context, client, paths.slice(0, -1), target));
  },
});

async function copyAll(
  context: Context<typeof options>,
  client: DfsClient,
  sources: readonly Uint8Array[],
  target: Uint8Array,
): Promise<ExitCode> {
  const { messages, signal, out, options: chosen } = context;
  const directory = await directoryAt(client, target, sources.length);
  if (sources.length > 1 && directory === undefined) {
    throw await noRemoteDirectory(client, `copy ${sources.length} sources to`, target);
  }
  const wish = {
    recursive: chosen.recursive || chosen.archive,
    preserve: chosen.preserve || chosen.archive,
    noReplace: chosen.noReplace,
  };
  const findTotal = (): Promise<Total | undefined> =>
    treeTotal(client, sources, { signal, follow: !wish.recursive, countsDirectories: false });
  const progress = new Progress(messages, { style: chosen.progress, findTotal });
  const around = { client, signal, outcome: new Outcome(context), progress };
  const copier = new Copier(around, wish, chosen.verbose && !chosen.json ? out : undefined);
  const copies = sources.map((from) => ({
    from,
    to: directory === undefined ? target : placeInside(directory, from),
  }));
  try {
    await walkTree(copier.roots(copies), TRANSFER_WIDTH, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw interruptedCopy(progress, wish, directory !== undefined, sources[0]!);
  } finally {
    progress.end();
  }
  progress.stop("copied");
  if (chosen.json) {
    const { skipped } = copier.tally;
    await out.row({ ...tallyRow(copier.tally, around), ...(chosen.noReplace ? { skipped } : {}) });
  }
  return around.outcome.exitCode;
}

/** What Ctrl-C ends it with. A directory that was not there before has the content of `source`, as with `put -r`. */
function interruptedCopy(
  progress: Progress,
  { recursive }: { readonly recursive: boolean },
  isInto: boolean,
  source: Uint8Array,
): DfsError {
  const done =
    progress.files === 0 ? "nothing was copied" : `copied ${progress.summary()}, each whole`;
  const content = quoted(contentOf(source));
  const how = isInto || !recursive ? "" : `, with ${content} in place of ${quoted(source)},`;
  return interrupted(done, `give the same command again${how} to do it from the beginning`);
}
