/**
 * `dfs up`: a local cluster in one command.
 */
import { join, resolve } from "node:path";
import { DfsError, isDfsError } from "../base/errors.ts";
import { MAX_SERVERS } from "../base/limits.ts";
import {
  checkedMountPoint,
  mountCluster,
  unmountCluster,
  type ClusterMount,
} from "./cluster/cluster-mounts.ts";
import { claimDirectory, lockCluster } from "./cluster/layout.ts";
import { NotStarted, type Launched } from "./cluster/launch.ts";
import { LocalCluster, type Service } from "./cluster/local-cluster.ts";
import { dfsCommand, PROJECT } from "./cluster/this-program.ts";
import type { Wish } from "./cluster/wish.ts";
import { defaultDirectory } from "./shared/cluster-file.ts";
import { bold } from "./shared/colours.ts";
import { defineCommand, environmentName, value, flag, type Context } from "./shared/command.ts";
import { generalOptions, jsonOption, keyOption, shellWord } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { interrupted } from "./shared/interruption.ts";
import { OutputClosed, OutputFailed } from "./shared/output.ts";
import {
  serviceOptions,
  serviceWishOf,
  settingsOfRow,
  unusualFlags,
} from "./shared/service-options.ts";
import { settingsOf, settingsOptions } from "./shared/settings-options.ts";
import { aligned } from "./shared/table.ts";
import { count, directory } from "./shared/values.ts";

/** Ending all servers takes this long at worst. */
const CLEAN_UP_MS = 40_000;
const MAX_PORT = 65_535;

const options = {
  dir: value(
    "<dir>",
    directory,
    "directory of the cluster (default: ~/.local/share/dfs, or dfs in XDG_DATA_HOME)",
  ),
  dataServers: value("<n>", count(1, MAX_SERVERS), "data servers (default: as before, at first 4)"),
  detach: flag("give the terminal back as soon as the cluster is ready", { short: "d" }),
  port: value(
    "<port>",
    count(1, MAX_PORT),
    "of the metadata server; data servers take the next ones (default: those of before, else free ones)",
  ),
  mount: value("<dir>", directory, "mount it on this directory, too"),
  ...settingsOptions,
  ...serviceOptions,
  ...keyOption,
  ...jsonOption,
  ...generalOptions,
};

/** Variables for flags that only servers have; a test compares this list with theirs. */
export const SERVER_VARIABLES = [
  "DFS_META",
  "DFS_META_DIR",
  "DFS_DATA_DIR",
  "DFS_LISTEN",
  "DFS_ACCEPT_OLDER",
  "DFS_WAIT",
  "DFS_NEW",
  "DFS_RECOVER",
  "DFS_ZONE",
  "DFS_TAGS",
  "DFS_ALLOW_FAULTS",
  "DFS_END_WITH_INPUT",
];

type UpContext = Context<typeof options>;

export const up = defineCommand({
  usage: "up [--dir DIR] [--data-servers N] [--mount DIR] [--detach] [--block-size N] ...",
  description: `
Starts a metadata server and data servers on this machine, waits until they are ready, and says how to go on. On its own
running cluster it starts only what is missing. Settings are decided at the first start; a directory with other settings,
or with something else in it, is refused. How the metadata server judges silence, repairs and backs up (--lease-timeout to
--backup-interval) is remembered too, and changed by giving it when that server is started again.
Ctrl-C stops all servers; the data stays, and the next dfs up finds it, on the same ports. A server that dies is told but
not started again by itself: dfs up in another terminal does that.
Its key is that of --key-file, which is remembered, else cluster.key in its directory, where dfs key new makes one; without
a key every user of this machine can use the cluster.
With --mount the cluster is a directory as well, until dfs umount or the end of the cluster; dfs mount does the same later.
The directory gets cluster.json (addresses, process ids and the path of the key, for scripts), meta, data-1 and so on, and
logs.`,
  options,
  operands: { least: 0, most: 0 },
  examples: [
    "dfs up",
    "dfs up --detach --data-servers 6",
    "dfs up --mount /mnt/dfs",
    "dfs up --dir /tmp/course --block-size 8",
  ],
  json: [
    "one row for each server when all are ready, and for the mount: service (meta, data-1, ..., mount),",
    "id (of a data server), address pid dir state (started, running: it ran already); of meta also leaseTimeoutSeconds",
    "downDelaySeconds outDelaySeconds repairBytesPerSecond backupIntervalSeconds",
  ],
  exits: [
    [0, "the cluster is ready (--detach), was running already, or was stopped from elsewhere"],
    [
      1,
      "a server did not start, or data servers refuse the metadata database, which is an older one",
    ],
    [2, "usage, also a directory that is not empty, or has other settings"],
    [3, "ready, but for a data server whose directory is lost, or not mounted"],
    [130, "stopped by Ctrl-C"],
  ],
  cleanUpMs: CLEAN_UP_MS,
  async run(context) {
    const wanted = resolve(context.options.dir ?? defaultDirectory(context.env));
    const mountPoint = await mountPointOf(context, wanted);
    const dir = claimDirectory(wanted);
    const services: Service[] = [];
    const lock = await lockCluster(dir, context.signal);
    let cluster: LocalCluster;
    let mount: ClusterMount | undefined;
    try {
      claimDirectory(dir);
      cluster = newCluster(context, dir, (service) => services.push(service));
      const forgo = dismissWhenInterrupted(context.signal, cluster);
      await cluster.start(wishOf(context));
      if (context.options.detach) forgo();
      if (mountPoint !== undefined) mount = await mounted(context, dir, mountPoint);
    } catch (error) {
      if (error instanceof NotStarted) return notStarted(context, error);
      if (!context.signal.aborted) throw error;
      throw interrupted(
        "what was started is stopped again",
        `to start the cluster: dfs up${whereOf(context, dir)}`,
      );
    } finally {
      lock.release();
    }
    services.sort((one, other) => (one.id ?? 0) - (other.id ?? 0));
    const staysUp = !context.options.detach && cluster.launched.length > 0;
    await tellAll(context, async () => {
      await tellServices(context, services, mount);
      await tellNext(context, dir, staysUp);
    });
    if (staysUp) await supervise(context, dir, cluster.launched);
    const isMounted = mountPoint === undefined || mount !== undefined;
    return cluster.failures > 0 || !isMounted ? EXIT.partly : EXIT.done;
  },
});

async function mountPointOf(
  { options: chosen, messages }: UpContext,
  dir: string,
): Promise<string | undefined> {
  const { mount } = chosen;
  if (mount === undefined) return undefined;
  return checkedMountPoint(mount, dir, () =>
    messages.note(`took away from ${mount} what a process that has died had mounted there`),
  );
}

/** The servers run: that one of their uses fails does not end them. */
async function mounted(
  context: UpContext,
  dir: string,
  mountPoint: string,
): Promise<ClusterMount | undefined> {
  const { env, messages, signal } = context;
  try {
    return await mountCluster(dir, mountPoint, { env: withoutFlags(env), signal });
  } catch (error) {
    if (signal.aborted || !isDfsError(error)) throw error;
    messages.error(error.message);
    return undefined;
  }
}

function newCluster(
  context: UpContext,
  dir: string,
  onService: (service: Service) => void,
): LocalCluster {
  const { messages, signal } = context;
  return new LocalCluster(
    dir,
    { onService, onWarning: (text) => messages.warning(text) },
    { signal, env: withoutFlags(context.env) },
  );
}

function wishOf({ options: chosen }: UpContext): Wish {
  return {
    settings: settingsOf(chosen),
    service: serviceWishOf(chosen),
    debug: chosen.debug,
    ...(chosen.dataServers === undefined ? {} : { dataServers: chosen.dataServers }),
    ...(chosen.port === undefined ? {} : { port: chosen.port }),
    ...(chosen.keyFile === undefined ? {} : { keyFile: resolve(chosen.keyFile) }),
  };
}

/** The environment for servers: what is meant as a flag of `up` must not become one of theirs. */
export function withoutFlags(env: UpContext["env"]): UpContext["env"] {
  const names = new Set([
    ...Object.entries(options).map(([key, option]) => environmentName(key, option)),
    ...SERVER_VARIABLES,
  ]);
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(name)));
}

function notStarted({ messages }: UpContext, error: NotStarted): ExitCode {
  messages.error(error.message);
  if (error.logLines.length > 0) {
    messages.raw(error.logLines.map((line) => `  | ${line}`).join("\n"));
  }
  return error.exitCode === EXIT.usage ? EXIT.usage : EXIT.failed;
}

/** The cluster runs, whether anybody can read that or not: in the foreground it is served on, and Ctrl-C stops it. */
async function tellAll(
  { options: chosen, messages }: UpContext,
  tell: () => Promise<void>,
): Promise<void> {
  try {
    await tell();
  } catch (error) {
    if (error instanceof OutputFailed) {
      const words = `${error.message}\nthe cluster is ready all the same: dfs server list shows it`;
      if (chosen.detach) throw new DfsError("io", words, { cause: error });
      messages.warning(words);
    } else if (chosen.detach || !(error instanceof OutputClosed)) throw error;
  }
}

async function tellServices(
  { options: chosen, out }: UpContext,
  services: readonly Service[],
  mount: ClusterMount | undefined,
): Promise<void> {
  if (chosen.json) {
    for (const { name, id, address, pid, dir, ranBefore, goesBy } of services) {
      const state = ranBefore ? "running" : "started";
      await out.row({
        service: name,
        ...(id === undefined ? {} : { id }),
        address,
        pid,
        dir,
        state,
        ...goesBy,
      });
    }
    if (mount === undefined) return;
    const { mountPoint, pid, ranBefore } = mount;
    const address = services.find((service) => service.id === undefined)?.address;
    const state = ranBefore ? "running" : "started";
    await out.row({ service: "mount", address, pid, dir: mountPoint, state });
    return;
  }
  if (chosen.quiet) return;
  const rows = services.map((service) => [
    service.id === undefined ? "metadata server" : `data server ${service.id}`,
    service.address,
    `process ${service.pid}`,
    service.ranBefore ? "was running" : "started",
    service.dir,
  ]);
  if (mount !== undefined) {
    const { mountPoint, pid, ranBefore } = mount;
    rows.push(["mount", "", `process ${pid}`, ranBefore ? "was running" : "started", mountPoint]);
  }
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  for (const row of rows) await out.line(aligned([], widths, row));
  const goesBy = services.find((service) => service.goesBy !== undefined)?.goesBy;
  const flags = goesBy === undefined ? [] : unusualFlags(settingsOfRow(goesBy));
  if (flags.length > 0) await out.line(`the metadata server goes by ${flags.join(" ")}`);
}

/** Three commands to try, with the paths that they need here. */
async function tellNext(context: UpContext, dir: string, staysUp: boolean): Promise<void> {
  const { options: chosen, out, env } = context;
  if (!chosen.json && !chosen.quiet) {
    const where = whereOf(context, dir);
    const dfs = dfsCommand(env);
    const file = shellWord(join(PROJECT, "README.md"));
    await out.line("");
    await out.line(`The cluster is ready. Try${staysUp ? " in another terminal" : ""}:`);
    await out.line(bold(`  ${dfs} put${where} ${file} /`));
    await out.line(bold(`  ${dfs} ls -l${where} /`));
    await out.line(bold(`  ${dfs} explain${where} /README.md`));
    const end = staysUp ? "Ctrl-C stops it" : `${dfs} down${where} stops it`;
    await out.line(`${end}; the data stays.`);
  }
  await out.flush();
}

/** ` --dir DIR` where that must be said. */
function whereOf({ env }: UpContext, dir: string): string {
  return dir === resolve(defaultDirectory(env)) ? "" : ` --dir ${shellWord(dir)}`;
}

/**
 * Ctrl-C ends the servers that were started here; pressed twice it waits for none of them, but all are asked to end: nobody
 * would know of one that went on. Returns what calls it off.
 */
function dismissWhenInterrupted(signal: AbortSignal, cluster: LocalCluster): () => void {
  const onExit = (): void => {
    if (signal.aborted) cluster.dismissLaunched();
  };
  process.once("exit", onExit);
  return () => void process.off("exit", onExit);
}

/** Tells when a server dies, until all have ended; Ctrl-C ends them. */
async function supervise(
  context: UpContext,
  dir: string,
  launched: readonly Launched[],
): Promise<void> {
  const { messages, signal } = context;
  const ended = launched.map((each) =>
    whenEnded(each, (how) => {
      if (!signal.aborted)
        messages.note(`${each.name} (process ${each.ready.pid}) has ended${how}`);
    }),
  );
  const { promise: aborted, resolve: onAbort } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => onAbort(), { once: true });
  if (signal.aborted) onAbort();
  await Promise.race([Promise.all(ended), aborted]);
  if (!signal.aborted) {
    messages.note("all servers that were started here have ended");
    return;
  }
  messages.note("stopping the cluster; its data stays");
  const lock = await lockCluster(dir, new AbortController().signal);
  try {
    const onBusy = (at: string): void =>
      messages.warning(`${at} is in use: programs there get errors from now on`);
    await unmountCluster(dir, new AbortController().signal, onBusy);
    await newCluster(context, dir, () => undefined).stop();
  } finally {
    lock.release();
  }
}

function whenEnded({ child }: Launched, tell: (how: string) => void): Promise<void> {
  const { promise, resolve: done } = Promise.withResolvers<void>();
  const onEnd = (code: number | null, byName: NodeJS.Signals | null): void => {
    const isOrderly = code === 0 || code === 143;
    tell(byName !== null ? ` by ${byName}` : isOrderly ? "" : ` with exit code ${code}`);
    done();
  };
  child.ref();
  if (child.exitCode !== null || child.signalCode !== null) onEnd(child.exitCode, child.signalCode);
  else child.once("exit", onEnd);
  return promise;
}
