/**
 * How a metadata server judges silence, repairs and backs up, as options for `dfs meta` and `dfs up`. They hold for one run of
 * the server and are no settings of the cluster.
 */
import { value, type OptionValues } from "./command.ts";
import { rate, seconds } from "./values.ts";

export const serviceOptions = {
  leaseTimeout: value("<seconds>", seconds, "a client silent for so long has gone (default: 60)"),
  downDelay: value("<seconds>", seconds, "a data server silent for so long is down (default: 5)"),
  outDelay: value(
    "<seconds>",
    seconds,
    "a data server silent for so long is replaced by others (default: 600)",
  ),
  repairRate: value(
    "<bytes>",
    rate,
    "bytes that repairs copy in a second, 0: no limit (default: 100M)",
  ),
  backupInterval: value(
    "<seconds>",
    seconds,
    "between two backups onto data servers, when something changes (default: 3600)",
  ),
};

/** What was chosen; what was not is left to the server. */
export interface ServiceWish {
  /** A session that is silent for so long ends. */
  readonly leaseTimeoutMs?: number;
  /** From losing a data server to calling it down. */
  readonly downDelayMs?: number;
  readonly outDelayMs?: number;
  readonly repairBytesPerSecond?: number;
  /** Between two backups of the database. */
  readonly backupIntervalMs?: number;
}

/** The options that were given. */
export function serviceWishOf(options: OptionValues<typeof serviceOptions>): ServiceWish {
  const { leaseTimeout, downDelay, outDelay, repairRate, backupInterval } = options;
  return {
    ...(leaseTimeout === undefined ? {} : { leaseTimeoutMs: leaseTimeout }),
    ...(downDelay === undefined ? {} : { downDelayMs: downDelay }),
    ...(outDelay === undefined ? {} : { outDelayMs: outDelay }),
    ...(repairRate === undefined ? {} : { repairBytesPerSecond: repairRate }),
    ...(backupInterval === undefined ? {} : { backupIntervalMs: backupInterval }),
  };
}

/** The same as flags of `dfs meta`. */
export function serviceFlags(wish: ServiceWish): string[] {
  const inSeconds = (flag: string, milliseconds: number | undefined): string[] =>
    milliseconds === undefined ? [] : [flag, String(milliseconds / 1000)];
  const { repairBytesPerSecond } = wish;
  return [
    ...inSeconds("--lease-timeout", wish.leaseTimeoutMs),
    ...inSeconds("--down-delay", wish.downDelayMs),
    ...inSeconds("--out-delay", wish.outDelayMs),
    ...(repairBytesPerSecond === undefined ? [] : ["--repair-rate", String(repairBytesPerSecond)]),
    ...inSeconds("--backup-interval", wish.backupIntervalMs),
  ];
}
