/**
 * `dfs get`: fetch files and trees.
 */
import { DfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { Outcome } from "./shared/outcome.ts";
import { endsInSlash, joined, remotePath } from "./shared/paths.ts";
import { Progress } from "./shared/progress.ts";
import { quoted } from "./shared/text.ts";
import { walkTree, type Step } from "./shared/tree.ts";
import { checkReadQuorum, readQuorumOf, readQuorumOption, VoteTeller } from "./shared/votes.ts";
import { Downloader } from "./transfer/download.ts";
import { attempt, tallyRow, TRANSFER_WIDTH, type Surroundings } from "./transfer/jobs.ts";
import { LocalDirectories } from "./transfer/local-directories.ts";
import { LocalTarget } from "./transfer/local-target.ts";

const options = {
  recursive: flag("trees: directories, symbolic links and fifos as such", { short: "r" }),
  preserve: flag("keep modes, times, hard links, user.* attributes, and owners as superuser", {
    short: "p",
  }),
  verbose: flag("tell for each block how its servers voted", { short: "v" }),
  ...readQuorumOption,
  ...clientOptions,
  ...jsonOption,
};

type GetContext = Context<typeof options>;

export const get = defineCommand({
  usage: "get [-r] [-p] [-v] [--read-quorum Q] REMOTE... LOCAL",
  description: `
Fetches files from the cluster, by the rules of cp: when LOCAL is a directory, the sources go into it under their own
names; otherwise it is the new name. Several sources need a directory. LOCAL may be - for standard output.
Files are written under a temporary name and renamed when they are whole, so an interrupted get leaves no half file.
Only bytes that were verified are written. With -r nothing is ever written outside LOCAL, whatever names and links the
cluster holds: links are fetched as links and never followed, neither those nor any found inside LOCAL.
With a read quorum Q, Q servers must answer for each block. What they say is compared with the block's checksum: one right
copy among wrong ones is enough, and the wrong ones are reported for repair. -v shows the votes on standard error: 1 right,
0 wrong, missing or out of reach, - not asked.
Devices need -p and the superuser. What cannot be fetched is listed on standard error while the rest goes on.`,
  options,
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: [
    "dfs get /report.pdf .",
    "dfs get -r -p /backup/project restored",
    "dfs get /project.tar - | tar t",
    "dfs get -v --read-quorum 3 /report.pdf .",
  ],
  json: [
    "one row at the end: files directories symlinks others hardLinks bytes failed seconds, all numbers",
    "(not when LOCAL is -); with -v before it one row for each block read: path offset length id,",
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
  const around: Surroundings = {
    client,
    signal,
    outcome: new Outcome(messages),
    progress: new Progress(messages),
  };
  const directories = new LocalDirectories();
  const downloader = new Downloader(around, chosen, directories);
  const target = await LocalTarget.find(typed, directories);
  if (sources.length > 1 && !target.isDirectory) {
    throw new DfsError(
      "notDirectory",
      `cannot fetch ${sources.length} sources to ${quoted(typed)}: it is no local directory`,
    );
  }
  try {
    if (around.progress.wantsTotal) void measure(client, sources, around, chosen.recursive);
    const steps = rootSteps(sources, target, downloader, around, chosen.recursive);
    await walkTree(steps, TRANSFER_WIDTH);
  } finally {
    around.progress.stop("fetched");
    directories.close();
  }
  await votes.finish();
  if (chosen.json) await context.out.row(tallyRow(downloader.tally, around));
  return around.outcome.exitCode;
}

async function* rootSteps(
  sources: readonly Uint8Array[],
  target: LocalTarget,
  downloader: Downloader,
  around: Surroundings,
  recursive: boolean,
): AsyncIterable<Step> {
  for (const from of sources) {
    const what = `cannot fetch ${quoted(from)} to ${quoted(target.path)}`;
    yield () =>
      attempt(around.outcome, what, async () => {
        const follow = !recursive || endsInSlash(from);
        const attributes = await around.client.stat(from, { follow });
        if (target.isStream && attributes.type === "file") {
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
  const outcome = new Outcome(context.messages);
  await outcome.attempt(`cannot fetch ${quoted(source)}`, async () => {
    const file = await client.open(source);
    try {
      for await (const chunk of file.stream({ signal: context.signal })) {
        await context.out.bytes(chunk);
      }
    } finally {
      await file.close();
    }
  });
  return outcome.exitCode;
}

/** Finds out how much there is to fetch, for the progress bar only; what cannot be looked at is left out. */
async function measure(
  client: DfsClient,
  sources: readonly Uint8Array[],
  { progress, signal }: Surroundings,
  recursive: boolean,
): Promise<void> {
  const stack: Uint8Array[] = [];
  let total = 0;
  try {
    for (const path of sources) {
      const attributes = await client.stat(path, { follow: !recursive });
      if (attributes.type === "directory") stack.push(path);
      else total += attributes.size;
    }
    for (let path = stack.pop(); path !== undefined && !signal.aborted; path = stack.pop()) {
      for await (const entry of client.readdir(path)) {
        if (entry.type === "directory") stack.push(joined(path, entry.name));
        else if (entry.type === "file") total += entry.attributes.size;
      }
    }
  } catch {
    return; // the transfer itself will tell
  }
  progress.totalBytes = total;
}
