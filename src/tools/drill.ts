/**
 * `dfs drill`: a rehearsal. Faults are made on purpose, and what has to come of them is looked at.
 */
import { DfsError } from "../base/errors.ts";
import { MAX_SERVERS } from "../base/limits.ts";
import { systemRandom, seededRandom } from "../base/random.ts";
import { ScratchCluster } from "./drilling/cluster.ts";
import { Connections } from "./drilling/connections.ts";
import { FAULTS, allFaults, namedFaults } from "./drilling/faults.ts";
import { DrillFiles } from "./drilling/files.ts";
import { removeLeftovers } from "./drilling/leftovers.ts";
import { isAsExpected, jsonFault, jsonSummary, reportLines } from "./drilling/report.ts";
import { playDrill, type DrillRow } from "./drilling/run.ts";
import { clearDirectory, makeDirectory } from "./drilling/scratch.ts";
import type { Fault } from "./drilling/stage.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, findKey, findMeta, jsonOption, shellWord } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { interrupted, unlessAborted } from "./shared/interruption.ts";
import { ownOwner } from "./shared/ownership.ts";
import { remotePath } from "./shared/paths.ts";
import { Progress, progressOption } from "./shared/progress.ts";
import { quoted } from "./shared/text.ts";
import { count, size, text, words } from "./shared/values.ts";
import { withoutFlags } from "./up.ts";

const SEEDS = 2 ** 32;
const DEFAULT_SERVERS = 4;
const LEAST_SERVERS = 3;
const DEFAULT_BYTES = 1024 * 1024;
/** Killing the servers, or removing the files from a live cluster. */
const CLEAN_UP_MS = 20_000;
/** What is under way when the drill is interrupted is waited for so long. */
const SETTLE_MS = 3_000;
const OWN_ROOT = Buffer.from("/drill");
const DIRECTORY_MODE = 0o755;

const options = {
  faults: value(
    "<list>",
    words,
    "faults to play, separated by commas, in this order (default: all, in an order that the seed decides)",
  ),
  seed: value(
    "<n>",
    count(0, SEEDS - 1),
    "decides sizes, contents, order, and what is hit (default: a random one, printed)",
  ),
  size: value("<bytes>", size, "of the files to begin with, about so much in all (default: 1M)"),
  servers: value(
    "<n>",
    count(LEAST_SERVERS, MAX_SERVERS),
    "data servers of the drill's own cluster (default: 4)",
  ),
  keep: flag("leave the drill's cluster running, for a look"),
  scratch: value(
    "<dir>",
    text,
    "play on a live cluster instead, in this directory of it: only faults of copies, no server is touched",
  ),
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

type DrillContext = Context<typeof options>;

export const drill = defineCommand({
  usage: "drill [--faults LIST] [--seed N] [--size BYTES] [--servers N] [--keep] | --scratch DIR",
  description: `
A rehearsal of what may go wrong. It starts a cluster of its own in a temporary directory, stores files, and then makes
faults, real ones: servers are killed with SIGKILL, disks deleted, copies damaged. After each it reads everything and compares
it with what was written, lets the cluster heal, and waits until every block has three copies that were read and are right.
Wrong bytes are never as expected; what cannot be read must be an error that names file and offset. Nothing is left behind.
With --scratch DIR it plays on a live cluster: with copies of files of its own in a new directory inside DIR, which it removes
again. Nothing else is touched. The data servers have to allow faults (--allow-faults; those of dfs up do).
The faults:
${FAULTS.map(({ name, summary }) => `  ${name.padEnd(14)} ${summary}`).join("\n")}`,
  options,
  operands: { least: 0, most: 0 },
  examples: [
    "dfs drill",
    "dfs drill --seed 4711    # the same faults on the same files once more",
    "dfs drill --faults crash-2,disk,meta-disk --servers 6 --size 100M",
    "dfs drill --scratch /tmp --faults rot-1,lose-2",
  ],
  json: [
    "one row for each fault, when it has been played, then one with the summary:",
    'fault             its name; "in the end" for the fsck that closes the drill',
    "expected observed in words",
    "asExpected        true or false",
    "problems          list: what was not as expected, in words",
    "healedSeconds     from when healing began until all blocks had their verified copies; null when they never had",
    "summary           in the last row: seed, faults, asExpected, files, bytes, seconds",
  ],
  exits: [
    [0, "all as expected"],
    [1, "something was not as expected, or could not be played"],
    [2, "usage"],
    [5, "cluster unreachable (--scratch)"],
    [130, "stopped by Ctrl-C; nothing is left behind"],
  ],
  cleanUpMs: CLEAN_UP_MS,
  async run(context) {
    checkChoices(context);
    const seed = context.options.seed ?? systemRandom.below(SEEDS);
    const faults = faultsOf(context, seed);
    if (!context.options.json) {
      await context.out.line(`seed ${seed}; the same once more: ${sameCommand(context, seed)}`);
      await context.out.flush();
    }
    const { scratch, progress: style } = context.options;
    const things = ["fault", "faults"] as const;
    const progress = new Progress(context.messages, { style, things, hasBytes: false });
    progress.total = { things: faults.length };
    const plan = { faults, seed, progress };
    try {
      return await (scratch === undefined
        ? inOwnCluster(context, plan)
        : inLiveCluster(context, scratch, plan));
    } catch (error) {
      if (!context.signal.aborted) throw error;
      throw interrupted(
        `played ${progress.summary()}, and nothing is left behind`,
        `the same once more: ${sameCommand(context, seed)}`,
      );
    } finally {
      progress.end();
    }
  },
});

/** The command that plays the same drill. */
function sameCommand({ options: chosen }: DrillContext, seed: number): string {
  const { faults, size: bytes, servers, scratch } = chosen;
  return [
    "dfs drill",
    ...(scratch === undefined ? [] : [`--scratch ${shellWord(scratch)}`]),
    ...(faults === undefined ? [] : [`--faults ${faults.join(",")}`]),
    ...(bytes === undefined ? [] : [`--size ${bytes}`]),
    ...(servers === undefined ? [] : [`--servers ${servers}`]),
    `--seed ${seed}`,
  ].join(" ");
}

function checkChoices({ options: chosen, typed }: DrillContext): void {
  if (chosen.scratch === undefined) {
    for (const key of ["meta", "dir"]) {
      if (!typed.has(key)) continue;
      throw new DfsError(
        "usage",
        `--${key} names a live cluster, and a drill on one needs --scratch DIR\n` +
          "without both, the drill has a cluster of its own",
      );
    }
  } else if (typed.has("servers") || typed.has("keep")) {
    throw new DfsError("usage", "--scratch excludes --servers and --keep: the cluster is there");
  }
}

function faultsOf({ options: chosen }: DrillContext, seed: number): Fault[] {
  const ownServers = chosen.scratch === undefined ? (chosen.servers ?? DEFAULT_SERVERS) : undefined;
  const place = { ownServers };
  if (chosen.faults === undefined) return allFaults(place, seededRandom(seed));
  const faults = namedFaults(chosen.faults, place);
  if (faults.length > 0) return faults;
  throw new DfsError("usage", "--faults names no fault");
}

interface Plan {
  readonly faults: readonly Fault[];
  readonly seed: number;
  readonly progress: Progress;
}

interface Drilling extends Plan {
  readonly own: ScratchCluster | undefined;
  readonly root: Uint8Array;
  readonly connections: Connections;
}

async function inOwnCluster(context: DrillContext, plan: Plan): Promise<ExitCode> {
  const { options: chosen, signal } = context;
  await removeLeftovers();
  const own = new ScratchCluster(chosen.servers ?? DEFAULT_SERVERS, {
    signal,
    env: withoutFlags(context.env),
    tied: !chosen.keep,
  });
  let isKept = false;
  try {
    plan.progress.remark = "starting a cluster";
    await own.startMissing();
    isKept = chosen.keep;
    const connections = connectionsOf(context, undefined, () => own.meta);
    await connections.with((client) => client.mkdir(OWN_ROOT, ownOwner(DIRECTORY_MODE)));
    return await play(context, { ...plan, own, root: OWN_ROOT, connections });
  } finally {
    plan.progress.end();
    if (isKept) {
      own.keep();
      tellKept(context, own.dir);
    } else {
      await own.remove();
    }
  }
}

function tellKept({ messages }: DrillContext, dir: string): void {
  const where = `--dir ${shellWord(dir)}`;
  messages.note(
    `the cluster goes on: dfs status ${where}\n` +
      `its files are in /drill; to end it: dfs down ${where} && rm -r ${shellWord(dir)}`,
  );
}

async function inLiveCluster(
  context: DrillContext,
  scratch: string,
  plan: Plan,
): Promise<ExitCode> {
  const meta = findMeta(context);
  const connections = connectionsOf(context, findKey(context, meta), () => meta.address);
  const parent = remotePath({ text: scratch, bytes: Buffer.from(scratch) });
  const made = await connections.with((client) => makeDirectory(client, parent));
  const { path } = made;
  const onExit = (): void =>
    context.messages.warning(
      `${quoted(path)} is left in the cluster\nto remove it: dfs rm -r ${quoted(path)}`,
    );
  process.once("exit", onExit);
  try {
    return await play(context, { ...plan, own: undefined, root: path, connections });
  } finally {
    plan.progress.end();
    await connections.with((client) => clearDirectory(client, made));
    process.off("exit", onExit);
  }
}

function connectionsOf(
  { options: chosen }: DrillContext,
  key: Uint8Array | undefined,
  address: () => string,
): Connections {
  return new Connections(address, {
    label: `dfs drill, pid ${process.pid}`,
    ...(key === undefined ? {} : { key }),
    ...(chosen.timeout === undefined
      ? {}
      : { firstContactTimeoutMs: chosen.timeout, retryTimeoutMs: chosen.timeout }),
  });
}

/** Plays the drill and reports. When it is interrupted, what goes on in the cluster has ended when this returns. */
async function play(context: DrillContext, drilling: Drilling): Promise<ExitCode> {
  const { signal } = context;
  const { connections } = drilling;
  const onAbort = (): void => void connections.close();
  signal.addEventListener("abort", onAbort, { once: true });
  const work = report(context, drilling);
  try {
    return await unlessAborted(signal, work);
  } finally {
    signal.removeEventListener("abort", onAbort);
    await Promise.race([work.catch(() => undefined), Bun.sleep(SETTLE_MS)]);
  }
}

async function report(context: DrillContext, drilling: Drilling): Promise<ExitCode> {
  const { options: chosen, out, signal } = context;
  const { faults, seed, own, root, connections, progress } = drilling;
  const startMs = performance.now();
  const rows: DrillRow[] = [];
  const blockSize = await connections.with((client) => Promise.resolve(client.blockSize));
  const files = new DrillFiles({ root, blockSize });
  await playDrill(
    { own, files, signal, connections },
    {
      faults,
      seed,
      totalBytes: chosen.size ?? DEFAULT_BYTES,
      onStep: (step) => void (progress.remark = step),
      onRow: async (row) => {
        rows.push(row);
        progress.files++;
        if (!chosen.json) return;
        await out.row(jsonFault(row));
        await out.flush();
      },
    },
  );
  progress.end();
  const end = { rows, files, elapsedMs: performance.now() - startMs, seed };
  if (chosen.json) await out.row(jsonSummary(end));
  else for (const line of reportLines(end)) await out.line(line);
  return rows.every(isAsExpected) ? EXIT.done : EXIT.failed;
}
