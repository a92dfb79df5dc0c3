/**
 * How a metadata server judges silence, repairs and backs up, as options for `dfs meta` and `dfs up`. What is given is kept in
 * its database, and holds until something else is given.
 */
import { SERVICE_DEFAULTS } from "../../base/service-defaults.ts";
import type { ClusterStatus } from "../../client/api.ts";
import { value, type OptionValues } from "./command.ts";
import { rate, seconds } from "./values.ts";

export const serviceOptions = {
  leaseTimeout: value(
    "<seconds>",
    seconds,
    "a client silent for so long has gone (default: as before, at first 60)",
  ),
  downDelay: value(
    "<seconds>",
    seconds,
    "a data server silent for so long is down (default: as before, at first 5)",
  ),
  outDelay: value(
    "<seconds>",
    seconds,
    "a data server silent for so long is replaced (default: as before, at first 600)",
  ),
  repairRate: value(
    "<bytes>",
    rate,
    "bytes that repairs copy in a second, 0: no limit (default: as before, at first 100M)",
  ),
  backupInterval: value(
    "<seconds>",
    seconds,
    "between two backups onto data servers (default: as before, at first 3600)",
  ),
};

export type ServiceSettings = NonNullable<ClusterStatus["service"]>;

/** What was chosen; what was not is as before. */
export type ServiceWish = Partial<ServiceSettings>;

/** The same for programs, as rows of JSON and the cluster file have it. */
export interface ServiceRow {
  readonly leaseTimeoutSeconds: number;
  readonly downDelaySeconds: number;
  readonly outDelaySeconds: number;
  readonly repairBytesPerSecond: number;
  readonly backupIntervalSeconds: number;
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
  return FLAGS.flatMap(([flag, name, unit]) => {
    const wished = wish[name];
    return wished === undefined ? [] : [flag, String(wished / unit)];
  });
}

export function serviceRow(settings: ServiceSettings): ServiceRow {
  return {
    leaseTimeoutSeconds: settings.leaseTimeoutMs / 1000,
    downDelaySeconds: settings.downDelayMs / 1000,
    outDelaySeconds: settings.outDelayMs / 1000,
    repairBytesPerSecond: settings.repairBytesPerSecond,
    backupIntervalSeconds: settings.backupIntervalMs / 1000,
  };
}

export function settingsOfRow(row: ServiceRow): ServiceSettings {
  return {
    leaseTimeoutMs: row.leaseTimeoutSeconds * 1000,
    downDelayMs: row.downDelaySeconds * 1000,
    outDelayMs: row.outDelaySeconds * 1000,
    repairBytesPerSecond: row.repairBytesPerSecond,
    backupIntervalMs: row.backupIntervalSeconds * 1000,
  };
}

/** Those that are not the defaults, as flags: what a start has to be given to be the same. */
export function unusualFlags(settings: ServiceSettings): string[] {
  return serviceFlags(
    Object.fromEntries(
      Object.entries(settings).filter(
        ([name, value]) => SERVICE_DEFAULTS[name as keyof ServiceSettings] !== value,
      ),
    ),
  );
}

/** The part of a wish that a server with these settings does not do. */
export function unmet(wish: ServiceWish, settings: ServiceSettings | undefined): ServiceWish {
  const names = Object.keys(wish) as (keyof ServiceSettings)[];
  const missing = names.filter((name) => settings?.[name] !== wish[name]);
  return Object.fromEntries(missing.map((name) => [name, wish[name]]));
}

/** How each is called on the command line, and what one of its units there is here. */
const FLAGS: readonly (readonly [flag: string, name: keyof ServiceSettings, unit: number])[] = [
  ["--lease-timeout", "leaseTimeoutMs", 1000],
  ["--down-delay", "downDelayMs", 1000],
  ["--out-delay", "outDelayMs", 1000],
  ["--repair-rate", "repairBytesPerSecond", 1],
  ["--backup-interval", "backupIntervalMs", 1000],
];
