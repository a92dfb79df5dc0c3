/**
 * Serving a mount: connects a client, puts the file system on it and the driver in front, and ends all of it in order.
 *
 * It ends when somebody unmounts, or when it is asked to (`signal`): then it unmounts itself, writes back what there is, and
 * gives up its session, so that its locks and open files are free at once.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import type { CancelSignal } from "../base/cancellation.ts";
import { sleep, systemClock, type Clock } from "../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import { ROOT_INODE } from "../base/ids.ts";
import { lineLogger, type Logger } from "../base/logger.ts";
import { FOREVER_MS, type ClientWarning } from "../client/api.ts";
import { connectClient } from "../client/client.ts";
import { Outage } from "./cluster/outage.ts";
import { DfsFileSystem } from "./dfs-file-system.ts";
import type { Timeouts } from "./file-system.ts";
import { mountKernel, type KernelMount } from "./kernel/mount.ts";
import type { CacheMode } from "./kernel/protocol/negotiation.ts";

/** Asked to end, it serves programs that still use the mount for so long. */
const GRACE_MS = 2000;
/** The kernel goes by what it was told for so long, unless options say otherwise. */
const CACHE_TIMES: Readonly<Record<CacheMode, number | undefined>> = {
  none: 0,
  auto: undefined, // what the file system thinks best
  always: 60_000,
};

/** What a mount is served with: the `MountOptions` of the command, and where the cluster is. */
export interface MountRunOptions {
  readonly mountPoint: string;
  /** What the kernel's table of mounts shows. */
  readonly source: string;
  /** Address of the metadata server. */
  readonly meta: string;
  readonly key: Uint8Array | undefined;
  readonly readQuorum: number | undefined;
  readonly firstContactTimeoutMs: number | undefined;
  readonly options: {
    readonly readOnly: boolean;
    readonly accessTimes: "noatime" | "relatime" | "strictatime";
    readonly allowOther?: boolean;
    readonly soft: boolean;
    readonly timeoMs: number;
    readonly attributesMs?: number;
    readonly entryMs?: number;
    readonly negativeMs?: number;
    readonly cache: CacheMode;
    readonly devices: boolean;
    readonly setuid: boolean;
    readonly programs: boolean;
  };
  /** Where the log goes; undefined: standard error. */
  readonly log: string | undefined;
  readonly debug: boolean;
  /** Asks it to unmount, write back and end. */
  readonly signal: CancelSignal;
  readonly onReady: () => void;
}

/**
 * Serves a mount until it is unmounted or asked to end.
 * @throws DfsError `unreachable`, `timeout`, `unauthorized` and others of a first contact; those of `mountKernel`; `io` when
 * what programs wrote last could not be stored.
 */
export async function runMount(options: MountRunOptions): Promise<void> {
  const clock = systemClock;
  const log = openLog(clock, options);
  try {
    await serve(options, clock, log.logger);
  } catch (error) {
    if (options.log !== undefined) log.logger.error(messageOf(error));
    throw error;
  } finally {
    log.close();
  }
}

async function serve(options: MountRunOptions, clock: Clock, logger: Logger): Promise<void> {
  const { mountPoint, meta, signal } = options;
  const fileSystem = await connectFileSystem(options, clock, logger);
  let mount: KernelMount;
  try {
    mount = await mountOn(options, fileSystem, logger);
  } catch (error) {
    await fileSystem.stop();
    throw error;
  }
  logger.info("mounted", { mountPoint, meta, pid: process.pid });
  options.onReady();
  const end = await Promise.race([mount.ended, aborted(signal)]);
  if (end === "aborted") await leave(mount, fileSystem, clock, logger);
  else if (end.reason === "failed") throw failed(mountPoint, end.error);
  else logger.info(end.reason, { mountPoint });
}

async function connectFileSystem(
  { meta, key, readQuorum, firstContactTimeoutMs, mountPoint, options }: MountRunOptions,
  clock: Clock,
  logger: Logger,
): Promise<DfsFileSystem> {
  const outage = new Outage();
  const onWarning = ({ kind }: ClientWarning): void => {
    if (kind === "metaUnreachable") outage.begin();
    if (kind === "metaReachable") outage.end();
  };
  const patienceMs = options.soft ? options.timeoMs : FOREVER_MS;
  const client = await connectClient(
    {
      metaAddress: meta,
      label: `dfs mount ${mountPoint}, pid ${process.pid}`,
      retryTimeoutMs: patienceMs,
      readRetryTimeoutMs: patienceMs,
      onWarning,
      ...(firstContactTimeoutMs === undefined ? {} : { firstContactTimeoutMs }),
      ...(key === undefined ? {} : { key }),
      ...(readQuorum === undefined ? {} : { readQuorum }),
    },
    { clock, logger },
  );
  const { readOnly, accessTimes } = options;
  const timeouts = timeoutsOf(options);
  const fileSystem = new DfsFileSystem(client, {
    clock,
    logger,
    readOnly,
    accessTimes,
    outage,
    timeouts,
  });
  try {
    // What df asks for must be there when the cluster is away later.
    await Promise.all([fileSystem.statfs(), fileSystem.getattr(ROOT_INODE, undefined)]);
  } catch (error) {
    await fileSystem.stop();
    throw error;
  }
  return fileSystem;
}

function timeoutsOf({ cache, ...options }: MountRunOptions["options"]): Partial<Timeouts> {
  const { attributesMs, entryMs, negativeMs } = options;
  const all = CACHE_TIMES[cache];
  const chosen = {
    attributesMs: attributesMs ?? all,
    entryMs: entryMs ?? all,
    negativeMs: negativeMs ?? all,
  };
  const isSet = ([, value]: [string, number | undefined]): boolean => value !== undefined;
  return Object.fromEntries(Object.entries(chosen).filter(isSet));
}

function mountOn(
  { mountPoint, source, options }: MountRunOptions,
  fileSystem: DfsFileSystem,
  logger: Logger,
): Promise<KernelMount> {
  const isRoot = process.getuid?.() === 0;
  return mountKernel({
    mountPoint,
    fileSystem,
    logger,
    fsname: source,
    cache: options.cache,
    readOnly: options.readOnly,
    allowOther: options.allowOther ?? isRoot,
    defaultPermissions: true, // nobody else checks them
    suid: options.setuid,
    dev: options.devices,
    noexec: !options.programs,
    accessTimes: options.accessTimes,
  });
}

/** Unmounts, or hides the mount when it is in use, and writes back what there is. */
async function leave(
  mount: KernelMount,
  fileSystem: DfsFileSystem,
  clock: Clock,
  logger: Logger,
): Promise<void> {
  const { mountPoint } = mount;
  logger.info("asked to end", { mountPoint });
  try {
    await mount.unmount();
  } catch (error) {
    if (isDfsError(error, "notFound")) logger.debug("it is unmounted already");
    else await hide(mount, logger);
  }
  const end = await Promise.race([mount.ended, sleep(clock, GRACE_MS)]);
  if (end === undefined) {
    logger.warn("programs that still use the mount get errors from now on", { mountPoint });
    await fileSystem.stop();
  } else if (end.reason === "failed") throw failed(mountPoint, end.error);
  logger.info("unmounted", { mountPoint });
}

async function hide(mount: KernelMount, logger: Logger): Promise<void> {
  try {
    await mount.unmount({ lazy: true });
  } catch (error) {
    logger.warn(`cannot unmount ${mount.mountPoint}: ${messageOf(error)}`);
  }
}

function failed(mountPoint: string, cause: unknown): DfsError {
  if (cause instanceof DfsError) return cause;
  return new DfsError("io", `the mount on ${mountPoint} has failed: ${messageOf(cause)}`, {
    cause,
  });
}

function aborted(signal: CancelSignal): Promise<"aborted"> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("aborted");
    else signal.addEventListener("abort", () => resolve("aborted"), { once: true });
  });
}

function openLog(
  clock: Clock,
  { log, debug }: MountRunOptions,
): { readonly logger: Logger; readonly close: () => void } {
  const fd = log === undefined ? 2 : openSync(log, "a", 0o600);
  const write = (line: string): void => {
    try {
      writeSync(fd, line);
    } catch {
      return; // a full disk, or a terminal that is gone: serving goes on, and there is nowhere to say it
    }
  };
  return {
    logger: lineLogger(clock, "mount", write, debug ? "debug" : "info"),
    close: () => {
      if (fd !== 2) closeSync(fd);
    },
  };
}
