/**
 * `dfs get`: fetch files and trees.
 */
import { DfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { interrupted, interruptedTelling, tellingInterruption } from "./shared/interruption.ts";
import { Outcome } from "./shared/outcome.ts";
import { endsInSlash, remotePath } from "./shared/paths.ts";
import { besideOutput, Progress, progressOption, type Total } from "./shared/progress.ts";
import { quoted } from "./shared/text.ts";
import { noDirectory } from "./shared/several.ts";
import { treeTotal } from "./shared/tree-total.ts";
import { walkTree, type Step } from "./shared/tree.ts";
import { checkReadQuorum, readQuorumOf, readQuorumOption, VoteTeller } from "./shared/votes.ts";
import { Downloader } from "./transfer/download.ts";
import { interruptedTransfer, tellEnd } from "./transfer/end.ts";
import { attempt, TRANSFER_WIDTH, type Surroundings, type TransferWish } from "./transfer/jobs.ts";
import { transferOptions, transferWish } from "./transfer/options.ts";
import { LocalDirectories } from "./transfer/local-directories.ts";
import { LocalTarget } from "./transfer/local-target.ts";

const options = {
  ...transferOptions,
  verbose: flag("tell for each block how its servers voted", { short: "v" }),
  ...readQuorumOption,
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

type GetContext = Context<typeof options>;

export const get = defineCommand({
  usage: "get [-r] [-p] [-v] [--exclude PATTERN] [--read-quorum Q] REMOTE... LOCAL",
  description: `
Fetches files from the cluster, by the rules of cp: when LOCAL is a directory, the sources go into it under their own
names; otherwise it is the new name. Several sources need a directory. LOCAL may be - for standard output.
Files get their name when they are whole, so an interrupted get leaves no half file. A file that is replaced keeps its
mode, and its owner where it may, unless -p; further names of it keep the old content.
Only bytes that were verified are written. With -r nothing is ever written outside LOCAL, whatever names and links the
cluster holds: links are fetched as links and never followed, neither those nor any found inside LOCAL.
With -r files keep the time of their last change, and one that is here already with the same length and the same time is
skipped. So a command that was interrupted goes on where it stopped when it is given again; with REMOTE/. in place of REMOTE
if LOCAL did not exist and has been made by it, as cp would have it. Without -r a file is always fetched. With --checksum it
is the content that decides, with or without -r; it is compared by checksums and not fetched.
--exclude has the rules of .gitignore, with paths below REMOTE; dfs put --help tells them.
With a read quorum Q, Q servers must answer for each block. What they say is compared with the block's checksum: one right
copy among wrong ones is enough, and the wrong ones are reported for repair. -v shows the votes on standard error: 1 right,
0 wrong, missing or out of reach, - not asked.
Devices need -p and the superuser. What cannot be fetched is listed on standard error while the rest goes on.`,
  options,
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: [
    "dfs get /report.pdf .",
    "dfs get -r -p /backup/project restored",
    "dfs get -r --exclude '*.o' --exclude /build/ --dry-run /backup/project restored",
    "dfs get /project.tar - | tar t",
    "dfs get -v --read-quorum 3 /report.pdf .",
  ],
  json: [
    "one row at the end: files directories symlinks others hardLinks bytes failed seconds skipped, all numbers;",
    "with --dry-run before it one for each thing: would (fetch), from, to (fromBase64, toBase64 when not UTF-8), type, bytes",
    "(no rows when LOCAL is -); with -v before it one row for each block read: path offset length id,",
    "servers (ids in placement order), votes (1, 0 or null), verdicts (right, rotten, missing, unreadable,",
    "unreachable, notAsked)",
  ],
  exits: [
    [0, "all is here"],
    [1, "nothing could be fetched"],
    [3, "some of it is here"],
    [4, "a file in the cluster, or the local directory to write in, is missing"],
    [5, "cluster unreachable"],
    [130, "interrupted"],
  ],
  run(context) {
    const sources = context.args.slice(0, -1).map(remotePath);
    const target = context.args.at(-1)!;
    if (target.bytes.length === 0)
      throw new DfsError("usage", "the name of the local file is empty");
    const isStdout = target.text === "-";
    if (isStdout && sources.length > 1) {
      throw new DfsError("usage", "only one file goes to standard output (-); see dfs cat");
    }
    if (isStdout && context.options.dryRun) {
      throw new DfsError("usage", "--dry-run and standard output (-) exclude each other");
    }
    const { json, verbose } = context.options;
    const votes = new VoteTeller(context.messages, json && !isStdout ? context.out : undefined);
    const work = async (client: DfsClient): Promise<ExitCode> => {
      checkReadQuorum(client);
      if (isStdout) return toStdout(context, client, sources[0]!);
      return run(context, client, sources, target.bytes, votes);
    };
    const onVotes = verbose ? { onVotes: votes.listen } : {};
    return withClient(context, work, { ...readQuorumOf(context.options), ...onVotes });
  },
});

async function run(
  context: GetContext,
  client: DfsClient,
  sources: readonly Uint8Array[],
  typed: Uint8Array,
  votes: VoteTeller,
): Promise<ExitCode> {
  const { messages, signal, options: chosen } = context;
  const wish = transferWish(chosen, context.out, "fetch");
  const findTotal = (): Promise<Total | undefined> =>
    treeTotal(client, sources, {
      signal,
      follow: !wish.recursive,
      countsDirectories: false,
      excludes: (inTree, isDirectory) => wish.exclusion.excludes(inTree, isDirectory),
    });
  const progress = new Progress(messages, {
    style: chosen.dryRun ? "none" : chosen.progress,
    findTotal,
  });
  const around: Surroundings = { client, signal, outcome: new Outcome(context), progress };
  const directories = new LocalDirectories();
  const downloader = new Downloader(around, wish, directories);
  const target = await LocalTarget.find(typed, directories);
  if (sources.length > 1 && !target.isDirectory) {
    const what = `cannot fetch ${sources.length} sources to ${quoted(typed)}`;
    throw noDirectory(what, await target.insteadOfDirectory(), `mkdir -p ${quoted(typed)}`);
  }
  try {
    const steps = rootSteps(sources, target, downloader, around, wish);
    await walkTree(steps, chosen.jobs ?? TRANSFER_WIDTH, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    const begun = { isInto: target.isDirectory, source: sources[0]! };
    throw interruptedTransfer("fetched", wish, begun, around, downloader.tally);
  } finally {
    progress.end();
    // After an interruption something may still be on its way; its temporary file is removed by way of its directory.
    if (!signal.aborted) directories.close();
  }
  await votes.finish();
  await tellEnd(context, "fetched", wish, around, downloader.tally);
  return around.outcome.exitCode;
}

async function* rootSteps(
  sources: readonly Uint8Array[],
  target: LocalTarget,
  downloader: Downloader,
  around: Surroundings,
  { recursive, rehearsal }: TransferWish,
): AsyncIterable<Step> {
  for (const from of sources) {
    const what = `cannot fetch ${quoted(from)} to ${quoted(target.path)}`;
    yield () =>
      attempt(around.outcome, what, async () => {
        const follow = !recursive || endsInSlash(from);
        const attributes = await around.client.stat(from, { follow });
        if (target.isStream && attributes.type === "file" && rehearsal === undefined) {
          await target.write(around.client, from, around);
          around.outcome.succeed();
          return undefined;
        }
        const to = await target.placeFor(from, attributes.type);
        return downloader.root({ from, to }, attributes);
      });
  }
}

async function toStdout(
  context: GetContext,
  client: DfsClient,
  source: Uint8Array,
): Promise<ExitCode> {
  const { messages, out, signal, options: chosen } = context;
  const outcome = new Outcome(context);
  const progress = new Progress(messages, { style: besideOutput(chosen.progress), things: "none" });
  let isWriting = false;
  const write = async (): Promise<void> => {
    const file = await client.open(source);
    progress.total = { bytes: file.attributes.size };
    try {
      for await (const chunk of file.stream({ signal })) {
        isWriting = true;
        await out.bytes(chunk);
        isWriting = false;
        progress.bytes += chunk.length;
      }
    } finally {
      await file.close();
    }
  };
  // While a reader does not take what it is handed, nobody can tell how much it has taken.
  const words = (): DfsError =>
    isWriting
      ? interruptedTelling("written")
      : interrupted(
          `wrote ${progress.summary()}, which is not all of it`,
          `dfs cat --offset ${progress.bytes} ${quoted(source)} writes the rest`,
        );
  try {
    await tellingInterruption(signal, words, () =>
      outcome.attempt(`cannot fetch ${quoted(source)}`, write),
    );
  } finally {
    progress.end();
  }
  return outcome.exitCode;
}
