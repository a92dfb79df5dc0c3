/**
 * `dfs mount`: the cluster as a directory.
 */
import { resolve } from "node:path";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import { defaultLog, serveInBackground, type FailedMount } from "./mounting/background.ts";
import { localPath } from "./mounting/local-path.ts";
import { mountOptionsText, parseMountOptions, type MountOptions } from "./mounting/options.ts";
import { checkFuse, usableMountPoint } from "./mounting/preconditions.ts";
import { claimMountPoint } from "./mounting/registry.ts";
import type { Argument } from "./shared/arguments.ts";
import {
  defineCommand,
  environmentName,
  flag,
  value,
  type Command,
  type Context,
  type OptionSet,
} from "./shared/command.ts";
import {
  clientOptions,
  explainUnreachable,
  findMeta,
  jsonOption,
  type MetaAddress,
} from "./shared/connect.ts";
import { readKey } from "./shared/cluster-key.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { jsonRow, printable } from "./shared/text.ts";
import { address, text } from "./shared/values.ts";
import { readQuorumOption } from "./shared/votes.ts";

/** What a mount is served with. */
export interface MountStart {
  readonly mountPoint: string;
  /** What the kernel's table of mounts shows. */
  readonly source: string;
  /** Address of the metadata server. */
  readonly meta: string;
  readonly key: Uint8Array | undefined;
  readonly readQuorum: number | undefined;
  readonly firstContactTimeoutMs: number | undefined;
  readonly options: MountOptions;
  /** Where the log goes; undefined: standard error. */
  readonly log: string | undefined;
  readonly debug: boolean;
  /** Asks it to unmount, write back and end. */
  readonly signal: AbortSignal;
  readonly onReady: () => void;
}

/** Serves a mount until it is unmounted. @throws DfsError when it cannot be mounted, or not be served on. */
export type MountRunner = (start: MountStart) => Promise<void>;

/** Asked to end, a mount has so long to write back what there is. */
const CLEAN_UP_MS = 60_000;

const options = {
  options: value("<list>", text, "mount options, separated by commas; may be given several times", {
    short: "o",
    env: "DFS_MOUNT_OPTIONS",
    join: (before, now) => `${before},${now}`,
  }),
  foreground: flag("serve it in this process, until Ctrl-C or dfs umount"),
  log: value(
    "<file>",
    text,
    "append the log to it (default: ~/.local/state/dfs/mount-PATH.log; --foreground: standard error)",
  ),
  ...readQuorumOption,
  ...clientOptions,
  ...jsonOption,
  sloppy: flag("pass over unknown mount options, as mount(8) may ask", {
    short: "s",
    env: "DFS_MOUNT_SLOPPY",
  }),
  fake: flag("do all but mount, as mount(8) may ask", { short: "f", env: "DFS_MOUNT_FAKE" }),
  type: value("<type>", text, "from mount(8), without effect", {
    short: "t",
    env: "DFS_MOUNT_TYPE",
  }),
  skipMtab: flag("from mount(8), without effect", { short: "n", env: "DFS_MOUNT_SKIP_MTAB" }),
  verbose: flag("from mount(8), without effect", { short: "v", env: "DFS_MOUNT_VERBOSE" }),
};

type MountContext = Context<typeof options>;

export function mountCommand(run: MountRunner): Command<OptionSet> {
  return defineCommand({
    usage: "mount [SOURCE] MOUNTPOINT [-o LIST] [--foreground]",
    description: `
Mounts the cluster on a directory and returns when it can be used; a process in the background serves it. SOURCE is
HOST:PORT of the metadata server, or dfs#HOST:PORT; without it the cluster is found as by other commands. What a killed
process left on the directory is taken away first.
Mount options; of those that exclude each other the last one wins:
  ro, rw                              read only, or not
  hard, soft, timeo=S                 while the cluster is away: wait (Ctrl-C ends it), or fail after S seconds (60)
  noatime, relatime, strictatime      when reading changes the access time; relatime at first
  allow_other, default_permissions    let other users in, as root's mounts do; have the kernel check permissions, as all do
  cache=none|auto|always              what the kernel keeps of contents: nothing; what is still right when a file is
                                      opened; or everything until another client's change is told
  attr_timeout=S, entry_timeout=S, negative_timeout=S, actimeo=S (all of them)
                                      how long the kernel goes by attributes, names, and missing names
  nodev, nosuid, noexec, dev, suid, exec   as everywhere
  key_file=FILE, log=FILE, read_quorum=N   as the flags, for fstab
Those that only concern mount(8) or systemd (noauto, nofail, _netdev, x-...) are passed over.
By an ordinary user it needs fusermount3 and is that user's alone.`,
    options,
    operands: { least: 1, most: 2 },
    examples: [
      "dfs mount /mnt/dfs",
      "dfs mount 10.0.0.1:7000 /mnt/dfs -o ro,soft,timeo=10",
      "dfs mount --foreground /mnt/dfs",
    ],
    json: [
      "one row: ready (mount), mountPoint, meta (the metadata server's address), pid (of the serving process);",
      "or failed (the kind of error), message",
    ],
    exits: [
      [0, "it is mounted (--foreground: it has been unmounted)"],
      [1, "it could not be mounted, or a dfs is mounted there already"],
      [2, "usage, also unknown mount options"],
      [4, "no such directory"],
      [5, "cluster unreachable"],
      [130, "Ctrl-C; with --foreground it has been unmounted"],
    ],
    cleanUpMs: CLEAN_UP_MS,
    async run(context) {
      try {
        const wish = await wishOf(context);
        if (context.options.fake) return EXIT.done;
        return await (context.options.foreground
          ? serve(context, wish, run)
          : background(context, wish));
      } catch (error) {
        if (context.options.json) await tellFailure(context, error);
        throw error;
      }
    },
  });
}

/** What the command line comes to. */
interface Wish {
  readonly mountPoint: string;
  readonly source: string;
  readonly meta: MetaAddress;
  readonly options: MountOptions;
  readonly keyFile: string | undefined;
  readonly log: string | undefined;
  readonly readQuorum: number | undefined;
}

async function wishOf(context: MountContext): Promise<Wish> {
  const { args, options: chosen, messages } = context;
  const mountOptions = parseMountOptions([chosen.options ?? ""], { sloppy: chosen.sloppy });
  const last = args.at(-1);
  if (last === undefined) throw new DfsError("usage", "no directory to mount on is named");
  const source = args.length > 1 ? sourceAddress(args[0]) : undefined;
  const meta = source === undefined ? findMeta(context) : withSource(context, source);
  checkFuse();
  const typed = localPath(last);
  const mountPoint = await usableMountPoint(typed, () =>
    messages.note(`took away from ${typed} what a process that has died had mounted there`),
  );
  const log = logOf(chosen.log ?? mountOptions.log, mountPoint);
  const keyFile = keyFileOf(context, mountOptions, meta);
  readKey(keyFile); // refused now, and not by a process in the background
  return {
    mountPoint,
    source: args.length > 1 ? (args[0]?.text ?? meta.address) : meta.address,
    meta,
    options: mountOptions,
    keyFile: keyFile === undefined ? undefined : resolve(keyFile),
    log,
    readQuorum: chosen.readQuorum ?? mountOptions.readQuorum,
  };
}

/** What was typed comes first, then what is in fstab, the local cluster's own, and the environment. */
function keyFileOf(
  { options: chosen, typed }: MountContext,
  mountOptions: MountOptions,
  meta: MetaAddress,
): string | undefined {
  if (typed.has("keyFile")) return chosen.keyFile;
  return mountOptions.keyFile ?? meta.keyFile ?? chosen.keyFile;
}

/** @throws DfsError `usage` when the process would wait for itself to write its log. */
function logOf(log: string | undefined, mountPoint: string): string | undefined {
  if (log === undefined) return undefined;
  const path = resolve(log);
  if (!path.startsWith(`${mountPoint}/`)) return path;
  throw new DfsError("usage", `cannot write the log ${path}: it would be in its own mount`);
}

/** `HOST:PORT` or `dfs#HOST:PORT`, as it stands in fstab. */
function sourceAddress(source: Argument | undefined): string {
  const name = source?.text ?? "";
  try {
    return address(name.replace(/^dfs#/, ""));
  } catch (error) {
    throw new DfsError("usage", `cannot mount ${printable(name)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function withSource({ typed }: MountContext, source: string): MetaAddress {
  const other = (["meta", "dir"] as const).find((key) => typed.has(key));
  if (other !== undefined) {
    throw new DfsError("usage", `the cluster is named twice: ${source} and --${other}`);
  }
  return { address: source, source: "the command line", running: true };
}

async function serve(
  { options: chosen, env, signal, out }: MountContext,
  wish: Wish,
  run: MountRunner,
): Promise<ExitCode> {
  const { mountPoint, source, meta, log, readQuorum } = wish;
  const key = readKey(wish.keyFile);
  process.chdir("/"); // the directory that it was started in stays free
  const claim = claimMountPoint({
    mountPoint,
    meta: meta.address,
    ...(meta.dir === undefined ? {} : { dir: resolve(meta.dir) }),
    ...(log === undefined ? {} : { log }),
  });
  try {
    await run({
      mountPoint,
      source,
      meta: meta.address,
      key,
      readQuorum,
      firstContactTimeoutMs: chosen.timeout,
      options: wish.options,
      log,
      debug: chosen.debug,
      signal,
      onReady: () => {
        const { pid } = process;
        const ready = { ready: "mount", mountPoint, meta: meta.address, pid };
        void out.announce(chosen.json ? jsonRow(ready) : readyText(mountPoint, meta.address, pid));
      },
    });
  } catch (error) {
    throw explainUnreachable(meta, env, error);
  } finally {
    claim.release();
  }
  return EXIT.done;
}

async function background(context: MountContext, wish: Wish): Promise<ExitCode> {
  const { options: chosen, env, signal, out, messages } = context;
  const log = wish.log ?? defaultLog(wish.mountPoint, env);
  const ready = await serveInBackground({
    args: argumentsFor(context, wish, log),
    log,
    env: withoutFlags(env),
    signal,
  });
  if (chosen.json) await out.row(ready);
  else messages.note(readyText(ready.mountPoint, ready.meta, ready.pid));
  return EXIT.done;
}

/** The command line of the process that serves: what this one's comes to, without anything relative. */
function argumentsFor({ options: chosen }: MountContext, wish: Wish, log: string): string[] {
  const { meta, keyFile, readQuorum, options: mountOptions } = wish;
  const { keyFile: _key, log: _log, readQuorum: _quorum, ...list } = mountOptions;
  const isNamed = wish.source !== meta.address || meta.dir === undefined;
  return [
    "mount",
    "--foreground",
    "--json",
    "--options",
    mountOptionsText(list),
    "--log",
    log,
    ...(keyFile === undefined ? [] : ["--key-file", keyFile]),
    ...(readQuorum === undefined ? [] : ["--read-quorum", String(readQuorum)]),
    ...(chosen.timeout === undefined ? [] : ["--timeout", String(chosen.timeout / 1000)]),
    ...(chosen.debug ? ["--debug"] : []),
    ...(isNamed ? [] : ["--dir", resolve(meta.dir)]),
    "--",
    ...(isNamed ? [wish.source] : []),
    wish.mountPoint,
  ];
}

/** The environment of that process: everything that a flag says is on its command line. */
function withoutFlags(env: MountContext["env"]): MountContext["env"] {
  const names = new Set(
    Object.entries(options).map(([key, option]) => environmentName(key, option)),
  );
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(name)));
}

function readyText(mountPoint: string, meta: string, pid: number): string {
  return `the dfs of ${meta} is mounted on ${mountPoint} (process ${pid})`;
}

async function tellFailure({ out }: MountContext, error: unknown): Promise<void> {
  const failed = isDfsError(error) ? error.kind : "internal";
  await out.announce(jsonRow({ failed, message: messageOf(error) } satisfies FailedMount));
}
