/**
 * `dfs put`: store files and trees.
 */
import { lstat, readdir } from "node:fs/promises";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import type { Argument } from "./shared/arguments.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { Outcome } from "./shared/outcome.ts";
import { endsInSlash, placeInside, remotePath, withoutTrailingSlashes } from "./shared/paths.ts";
import { Progress } from "./shared/progress.ts";
import { quoted } from "./shared/text.ts";
import { walkTree } from "./shared/tree.ts";
import { tallyRow, TRANSFER_WIDTH } from "./transfer/jobs.ts";
import { Uploader, type Upload } from "./transfer/upload.ts";

const options = {
  recursive: flag("trees: directories, symbolic links and fifos as such", { short: "r" }),
  preserve: flag("keep modes, times, hard links, user.* attributes, and owners as superuser", {
    short: "p",
  }),
  ...clientOptions,
  ...jsonOption,
};

type PutContext = Context<typeof options>;

export const put = defineCommand({
  usage: "put [-r] [-p] LOCAL... REMOTE",
  description: `
Stores local files in the cluster, by the rules of cp: when REMOTE is a directory, the sources go into it under their own
names; otherwise it is the new name. Several sources need a directory. LOCAL may be - for standard input.
Each file appears whole or not at all, also when the command is interrupted: until then readers see the old one. A file
that is replaced keeps its mode, owner and attributes, unless -p. Holes of sparse files are kept.
With -r symbolic links are stored as links. Devices need -p and the superuser. What cannot be stored is listed on
standard error while the rest goes on.`,
  options,
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: [
    "dfs put report.pdf /",
    "dfs put -r -p project /backup/",
    "tar c project | dfs put - /project.tar",
  ],
  json: [
    "one row at the end: files directories symlinks others hardLinks bytes failed seconds, all numbers",
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
  const { recursive, preserve } = context.options;
  const isInto = await isDirectory(client, target);
  if (sources.length > 1 && !isInto) {
    throw new DfsError(
      "notDirectory",
      `cannot store ${sources.length} sources as ${quoted(target)}: it is no directory in the cluster\n` +
        `make it with: dfs mkdir -p ${quoted(target)}`,
    );
  }
  const around = {
    client,
    signal,
    outcome: new Outcome(messages),
    progress: new Progress(messages),
  };
  const uploader = new Uploader(around, { recursive, preserve });
  try {
    if (sources.some(isStdin)) {
      if (isInto || endsInSlash(target)) throw noNameForStdin(target);
      await uploader.stream(Bun.stdin.stream(), target);
    } else {
      const uploads = sources.map((source) => uploadOf(source, target, isInto));
      if (around.progress.wantsTotal) void measure(uploads, around.progress, signal);
      await walkTree(uploader.roots(uploads), TRANSFER_WIDTH);
    }
  } finally {
    around.progress.stop("stored");
  }
  if (context.options.json) await context.out.row(tallyRow(uploader.tally, around));
  return around.outcome.exitCode ?? EXIT.done;
}

async function isDirectory(client: DfsClient, path: Uint8Array): Promise<boolean> {
  try {
    return (await client.stat(path, { follow: true })).type === "directory";
  } catch (error) {
    if (isDfsError(error, "notFound")) return false;
    throw error;
  }
}

function uploadOf(source: Argument, target: Uint8Array, isInto: boolean): Upload {
  return { from: source.bytes, to: isInto ? placeInside(target, source.bytes) : target };
}

function noNameForStdin(target: Uint8Array): DfsError {
  return new DfsError(
    "isDirectory",
    `cannot store standard input as ${quoted(target)}: that is a directory\n` +
      "give a file name, such as: dfs put - /directory/name",
  );
}

/** Finds out how much there is to store, for the progress bar only; what cannot be looked at is left out. */
async function measure(
  uploads: readonly Upload[],
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const stack = uploads.map((upload) => Buffer.from(withoutTrailingSlashes(upload.from)));
  let total = 0;
  for (let path = stack.pop(); path !== undefined && !signal.aborted; path = stack.pop()) {
    try {
      const stats = await lstat(path);
      if (stats.isFile()) total += stats.size;
      if (!stats.isDirectory()) continue;
      for (const name of await readdir(path, { encoding: "buffer" })) {
        stack.push(Buffer.concat([path, Buffer.from("/"), name]));
      }
    } catch {
      continue; // the transfer itself will tell
    }
  }
  progress.totalBytes = total;
}
