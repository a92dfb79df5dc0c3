/**
 * `dfs put`: store files and trees.
 */
import { lstat, readdir } from "node:fs/promises";
import { DfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import type { Argument } from "./shared/arguments.ts";
import { defineCommand, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { directoryAt } from "./shared/links.ts";
import { Outcome } from "./shared/outcome.ts";
import type { Exclusion } from "./shared/exclude.ts";
import {
  endsInSlash,
  joined,
  placeInside,
  remotePath,
  withoutTrailingSlashes,
} from "./shared/paths.ts";
import { Progress, progressOption, type Total } from "./shared/progress.ts";
import { noRemoteDirectory } from "./shared/several.ts";
import { quoted } from "./shared/text.ts";
import { walkTree } from "./shared/tree.ts";
import { interruptedTransfer, tellEnd } from "./transfer/end.ts";
import { TRANSFER_WIDTH } from "./transfer/jobs.ts";
import { transferOptions, transferWish } from "./transfer/options.ts";
import { Uploader, type Upload } from "./transfer/upload.ts";

const options = {
  ...transferOptions,
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

type PutContext = Context<typeof options>;

export const put = defineCommand({
  usage: "put [-r] [-p] [--exclude PATTERN] LOCAL... REMOTE",
  description: `
Stores local files in the cluster, by the rules of cp: when REMOTE is a directory, the sources go into it under their own
names; otherwise it is the new name. Several sources need a directory. LOCAL may be - for standard input.
Each file appears whole or not at all, also when the command is interrupted: until then readers see the old one. A file
that is replaced keeps its mode, owner and attributes, unless -p; further names of it keep the old content. Holes
of sparse files are kept.
With -r symbolic links are stored as links. Devices need -p and the superuser. What cannot be stored is listed on
standard error while the rest goes on. Of a file that changes while it is read there is a warning.
With -r files keep the time of their last change, and one that is there already with the same length and the same time is
skipped. So a command that was interrupted goes on where it stopped when it is given again; with LOCAL/. in place of LOCAL
if REMOTE did not exist and has been made by it, as cp would have it. Without -r a file is always stored. With --checksum it
is the content that decides, with or without -r; it is compared by checksums and not sent.
--exclude has the rules of .gitignore: a pattern without a slash is compared with names at any depth, one with a slash at
its beginning or inside with the path below LOCAL; * and ? stop at slashes, ** does not; a slash at the end: directories
only; ! in front takes in again what an earlier pattern left out. LOCAL itself is never left out.`,
  options,
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: [
    "dfs put report.pdf /",
    "dfs put -r -p project /backup/",
    "dfs put -r --exclude '*.o' --exclude /build/ --dry-run project /backup/",
    "tar c project | dfs put - /project.tar",
  ],
  json: [
    "one row at the end: files directories symlinks others hardLinks bytes failed seconds skipped, all numbers;",
    "with --dry-run before it one for each thing: would (store), from, to (fromBase64, toBase64 when not UTF-8), type, bytes",
  ],
  exits: [
    [0, "all is stored"],
    [1, "nothing could be stored"],
    [3, "some of it is stored"],
    [4, "a local file, or the directory to store in, is missing"],
    [5, "cluster unreachable"],
    [130, "interrupted"],
  ],
  run(context) {
    const sources = context.args.slice(0, -1);
    const target = remotePath(context.args.at(-1)!);
    if (sources.some(isStdin) && sources.length > 1) {
      throw new DfsError(
        "usage",
        "standard input (-) cannot be stored together with other sources",
      );
    }
    if (sources.some((source) => source.bytes.length === 0)) {
      throw new DfsError("usage", "the name of a local file is empty");
    }
    return withClient(context, (client) => run(context, client, sources, target));
  },
});

function isStdin(source: Argument): boolean {
  return source.text === "-";
}

async function run(
  context: PutContext,
  client: DfsClient,
  sources: readonly Argument[],
  target: Uint8Array,
): Promise<ExitCode> {
  const { messages, signal } = context;
  const directory = await directoryAt(client, target, sources.length);
  const isInto = directory !== undefined;
  if (sources.length > 1 && !isInto) {
    throw await noRemoteDirectory(client, `store ${sources.length} sources as`, target);
  }
  const style = context.options.dryRun ? "none" : context.options.progress;
  const uploads: Upload[] = [];
  const wish = transferWish(context.options, context.out, "store");
  const findTotal = (): Promise<Total | undefined> => totalOf(uploads, wish.exclusion, signal);
  const progress = new Progress(messages, { style, findTotal });
  const around = { client, signal, outcome: new Outcome(context), progress };
  const uploader = new Uploader(around, wish);
  try {
    if (sources.some(isStdin)) {
      if (isInto || endsInSlash(target)) throw noNameForStdin(target);
      await uploader.stream(Bun.stdin.stream(), target);
    } else {
      uploads.push(...sources.map((source) => uploadOf(source, target, directory)));
      const width = context.options.jobs ?? TRANSFER_WIDTH;
      await walkTree(uploader.roots(uploads), width, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    const begun = { isInto, source: sources[0]!.bytes };
    throw interruptedTransfer("stored", wish, begun, around, uploader.tally);
  } finally {
    progress.end();
  }
  await tellEnd(context, "stored", wish, around, uploader.tally);
  return around.outcome.exitCode ?? EXIT.done;
}

function uploadOf(source: Argument, target: Uint8Array, directory: Uint8Array | undefined): Upload {
  const { bytes: from } = source;
  return { from, to: directory === undefined ? target : placeInside(directory, from) };
}

function noNameForStdin(target: Uint8Array): DfsError {
  return new DfsError(
    "isDirectory",
    `cannot store standard input as ${quoted(target)}: that is a directory\n` +
      "give a file name, such as: dfs put - /directory/name",
  );
}

/** How much there is to store; what cannot be looked at is left out. Undefined when interrupted. */
async function totalOf(
  uploads: readonly Upload[],
  exclusion: Exclusion,
  signal: AbortSignal,
): Promise<Total | undefined> {
  const stack: { path: Uint8Array; inTree: Uint8Array }[] = uploads.map(({ from }) => ({
    path: withoutTrailingSlashes(from),
    inTree: new Uint8Array(),
  }));
  let things = 0;
  let bytes = 0;
  for (let next = stack.pop(); next !== undefined && !signal.aborted; next = stack.pop()) {
    const { path, inTree } = next;
    try {
      const stats = await lstat(Buffer.from(path));
      if (exclusion.excludes(inTree, stats.isDirectory())) continue;
      if (stats.isFile()) bytes += stats.size;
      if (!stats.isDirectory()) things++;
      else {
        for (const name of await readdir(Buffer.from(path), { encoding: "buffer" })) {
          stack.push({ path: joined(path, name), inTree: joined(inTree, name) });
        }
      }
    } catch {
      continue; // the transfer itself will tell
    }
  }
  return signal.aborted ? undefined : { things, bytes };
}
