/**
 * What `dfs up` is asked for, and whether that goes together with the cluster that there is.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { ClusterFile, ClusterSettings } from "../shared/cluster-file.ts";
import { ownKeyFile, readKey } from "../shared/cluster-key.ts";
import type { ServiceWish } from "../shared/service-options.ts";
import { flagName } from "../shared/command.ts";

/** What `dfs up` was asked for; what is left out is as it was, or the default. */
export interface Wish {
  readonly settings: ClusterSettings;
  readonly dataServers?: number;
  /** Port of the metadata server; the data servers take the next ones. */
  readonly port?: number;
  /** Absolute path of the file with the cluster key. */
  readonly keyFile?: string;
  /** For a metadata server that is started now. */
  readonly service: ServiceWish;
  readonly debug: boolean;
}

/** @throws DfsError `usage` when the cluster has other settings than are wished for, naming both. */
export function checkSettings(wish: ClusterSettings, present: ClusterSettings, dir: string): void {
  for (const [key, wished] of Object.entries(wish)) {
    const has = present[key as keyof ClusterSettings];
    if (has === undefined || has === wished) continue;
    throw new DfsError(
      "usage",
      `cannot start with ${flagName(key)} ${wished}: the cluster in ${dir} has ${has}\n` +
        "leave the flag out, or start another cluster in a directory of its own with --dir",
    );
  }
}

/** Flags for both kinds of servers. */
export function commonFlags(wish: Wish, keyFile: string | undefined): string[] {
  return [
    ...(keyFile === undefined ? [] : ["--key-file", keyFile]),
    ...(wish.debug ? ["--debug"] : []),
  ];
}

/**
 * The file with the key of the cluster in `dir`: the one wished for, or that which it has.
 * @throws DfsError `usage` when it is running with another one, or with none; as `readKey` when the file is of no use.
 */
export function keyFileFor(
  wish: Wish,
  dir: string,
  present: ClusterFile,
  isRunning: boolean,
): string | undefined {
  const keyFile = wish.keyFile ?? present.keyFile ?? (isRunning ? undefined : ownKeyFile(dir));
  const isKnown = present.meta !== undefined; // a cluster file that was made anew has forgotten its key
  if (isRunning && isKnown && keyFile !== present.keyFile) {
    const now = present.keyFile === undefined ? "without a key" : `with the key ${present.keyFile}`;
    throw new DfsError(
      "usage",
      `cannot use the key ${keyFile}: the cluster in ${dir} is running ${now}\n` +
        "a cluster takes a new key when all of it is stopped and started: dfs down, then dfs up",
    );
  }
  try {
    readKey(keyFile);
  } catch (error) {
    const isRemembered = wish.keyFile === undefined && isDfsError(error, "notFound");
    if (!isRemembered) throw error;
    throw new DfsError(
      "notFound",
      `${error.message}\nthe cluster in ${dir} was started with it: put the file back, or name another with --key-file; without\n` +
        "a key again: take the line keyFile out of cluster.json there",
      { cause: error },
    );
  }
  return keyFile;
}

/** Flags of `dfs meta` for the settings that were given. */
export function settingFlags(settings: ClusterSettings): string[] {
  return Object.entries(settings).flatMap(([key, value]) => [flagName(key), String(value)]);
}
