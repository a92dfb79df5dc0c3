/**
 * The data server: one process that owns a directory and keeps blocks in it.
 *
 * The parts, from the outside in:
 *
 *     listen.ts           the address that clients and other data servers connect to
 *     handlers.ts         what is answered there, and to the metadata service
 *     backup-handlers.ts, backups.ts, backup-file.ts   backups of the metadata, which lie beside the blocks
 *     fault-handlers.ts   what is answered to those who want to break or stop it
 *     command-order.ts    which commands of the service are still valid
 *     replication.ts      copies of blocks that other servers hold (source-peers.ts), made when commanded
 *     many.ts             small blocks, many in one message
 *     verification.ts     what this server's own copies are worth
 *     membership.ts       the connection to the metadata service: kept for ever, with heartbeats
 *     join.ts             the questions and answers at its beginning
 *     rotten-reports.ts   what is told there of rotten copies
 *     directory.ts        who may begin or use a directory
 *     running.ts          all of this put together, started and ended
 *     identity.ts         who the server is, and what it has seen, in its directory
 *     ../../log           the blocks
 *
 * Start: take the directory, open the log, listen, join the metadata service, serve. When the service goes away, blocks
 * are served on; when it comes back with a database that is older than what was served, nothing is.
 */
import { realDisk } from "../../base/disk.ts";
import { systemClock, type Clock } from "../../base/clock.ts";
import { watchDirectory } from "../../base/directory-watch.ts";
import { DfsError, isDfsError } from "../../base/errors.ts";
import { lineLogger, type Logger } from "../../base/logger.ts";
import { standardErrorWriter } from "../../base/standard-error.ts";
import { guardOwnMemory } from "../../base/memory-guard.ts";
import { systemRandom } from "../../base/random.ts";
import { openDirectory } from "./directory.ts";
import type { DataServer, DataServerOptions, Ending } from "./options.ts";
import { Running } from "./running.ts";

export type { IdentityWish } from "./directory.ts";
export type { DataServer, DataServerOptions } from "./options.ts";

/** For the first contact with the metadata service. */
/** Starting the process and one more attempt come on top: together they stay below 5 s. */
const FIRST_CONTACT_TIMEOUT_MS = 3_500;

/**
 * Starts a data server; resolves when it serves.
 * @throws DfsError `usage` when the directory needs `--new` or `--recover`, or cannot be begun; `locked` when directory
 * or port is in use; `unreachable` or `timeout` when no metadata service answers; `wrongCluster`, `wrongPeer`,
 * `unauthorized` and others when it refuses this server; `io`, `unsupported` when the blocks cannot be opened;
 * `cancelled` when `signal` came first.
 */
export async function startDataServer(options: DataServerOptions): Promise<DataServer> {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  const disk = options.disk ?? realDisk;
  const logger = options.logger ?? stderrLogger(clock, false);
  const { dir, identity = "present", lock } = options;
  const directory = await openDirectory({ disk, dir, identity, random, lock });
  const running = new Running(
    {
      ...options,
      meta: typeof options.meta === "string" ? options.meta.split(",") : options.meta,
      firstContactTimeoutMs: options.firstContactTimeoutMs ?? FIRST_CONTACT_TIMEOUT_MS,
    },
    directory,
    { clock, random, disk, logger },
  );
  try {
    return await running.start(options.signal);
  } catch (error) {
    await running.stop();
    throw error;
  }
}

/** What `dfs data` starts the server with. */
export interface DataRunOptions extends Omit<DataServerOptions, "signal"> {
  /** Log everything. */
  readonly debug?: boolean;
  /** Asks the server to end in good order; left out: SIGTERM and SIGINT do. */
  readonly signal?: AbortSignal;
  readonly onReady?: (ready: { readonly address: string; readonly server: number }) => void;
}

/**
 * Runs a data server until it is asked to end.
 * @throws DfsError as `startDataServer`; `io` when its directory is gone: the process should then exit at once.
 */
export async function runDataServer(options: DataRunOptions): Promise<void> {
  const asked = new AbortController();
  const signal = AbortSignal.any([options.signal ?? signals(), asked.signal]);
  const ending: Ending = {
    stop: () => asked.abort(new DfsError("cancelled", "asked to end by a caller")),
    crash: () => void process.kill(process.pid, "SIGKILL"),
  };
  const logger = options.logger ?? stderrLogger(options.clock ?? systemClock, options.debug);
  let server: DataServer;
  try {
    server = await startDataServer({ ending, ...options, logger, signal });
  } catch (error) {
    if (signal.aborted && isDfsError(error, "cancelled")) return;
    throw error;
  }
  options.onReady?.({ address: server.address, server: server.server });
  const watch = watchDirectory(options.dir, options.clock ?? systemClock);
  const stopGuard = guardOwnMemory(options.clock ?? systemClock);
  const lost = await Promise.race([watch.lost, aborted(signal)]);
  watch.stop();
  stopGuard();
  if (lost !== undefined) {
    logger.error(lost.message);
    throw lost; // there is nothing left to put in order
  }
  logger.info("stopping");
  await server.stop();
  logger.info("stopped");
}

function stderrLogger(clock: Clock, debug: boolean | undefined): Logger {
  return lineLogger(clock, "data", standardErrorWriter(), debug === true ? "debug" : "info");
}

function signals(): AbortSignal {
  const controller = new AbortController();
  const end = (): void => controller.abort(new DfsError("cancelled", "asked to end by a signal"));
  process.once("SIGTERM", end);
  process.once("SIGINT", end);
  return controller.signal;
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}
