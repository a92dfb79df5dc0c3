/**
 * What `dfs up` is asked for, and whether that goes together with the cluster that there is.
 */
import { DfsError } from "../../base/errors.ts";
import type { ClusterSettings } from "../shared/cluster-file.ts";
import type { ServiceWish } from "../shared/service-options.ts";
import { flagName } from "../shared/command.ts";

/** What `dfs up` was asked for; what is left out is as it was, or the default. */
export interface Wish {
  readonly settings: ClusterSettings;
  readonly dataServers?: number;
  /** Port of the metadata server; the data servers take the next ones. */
  readonly port?: number;
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
export function commonFlags(wish: Wish): string[] {
  return [
    ...(wish.keyFile === undefined ? [] : ["--key-file", wish.keyFile]),
    ...(wish.debug ? ["--debug"] : []),
  ];
}

/** Flags of `dfs meta` for the settings that were given. */
export function settingFlags(settings: ClusterSettings): string[] {
  return Object.entries(settings).flatMap(([key, value]) => [flagName(key), String(value)]);
}
