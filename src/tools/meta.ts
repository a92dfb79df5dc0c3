/**
 * `dfs meta`: run a metadata server in this process.
 */
import { DfsError } from "../base/errors.ts";
import { defineCommand, flag, value, type Command, type OptionSet } from "./shared/command.ts";
import type { ClusterSettings } from "./shared/cluster-file.ts";
import { readKey } from "./shared/cluster-key.ts";
import { generalOptions, jsonOption, keyOption } from "./shared/connect.ts";
import { endWithInput, endWithInputOption } from "./shared/end-with-input.ts";
import { EXIT } from "./shared/exit-codes.ts";
import {
  serviceOptions,
  serviceRow,
  serviceWishOf,
  type ServiceSettings,
  type ServiceWish,
} from "./shared/service-options.ts";
import { settingsOf, settingsOptions } from "./shared/settings-options.ts";
import { jsonRow } from "./shared/text.ts";
import { address, directory } from "./shared/values.ts";

/** What the server is started with. */
export interface MetaStart {
  readonly dir: string;
  readonly listen: string | undefined;
  readonly settings: ClusterSettings;
  readonly key: Uint8Array | undefined;
  readonly service: ServiceWish;
  /** Go on from an older copy of the database. */
  readonly acceptOlder: boolean;
  readonly debug: boolean;
  /** Asks it to end in good order. */
  readonly signal: AbortSignal;
  readonly onReady: (ready: {
    readonly address: string;
    readonly settings: Required<ClusterSettings>;
    readonly service: ServiceSettings;
  }) => void;
}

/** Runs a metadata server until it is asked to end. @throws DfsError when it cannot start or go on. */
export type MetaRunner = (start: MetaStart) => Promise<void>;

/** What a server has for putting things in order when it is asked to end. */
export const SERVER_CLEAN_UP_MS = 20_000;

const options = {
  dir: value("<dir>", directory, "the server's directory; a new one is made a cluster's", {
    env: "DFS_META_DIR",
  }),
  listen: value(
    "<address>",
    address,
    "HOST:PORT to listen on (default: that of before, else a free port of 127.0.0.1)",
  ),
  ...settingsOptions,
  ...serviceOptions,
  acceptOlder: flag(
    "go on from an older copy of the database, because the newer one is lost; for one start",
  ),
  ...endWithInputOption,
  ...keyOption,
  ...jsonOption,
  ...generalOptions,
};

export function metaCommand(run: MetaRunner): Command<OptionSet> {
  return defineCommand({
    usage: "meta --dir DIR [--listen HOST:PORT] [--block-size N] [--replicas N] ...",
    description: `
Runs a metadata server until it is asked to end (Ctrl-C, SIGTERM). An empty or missing directory becomes that of a new
cluster with the settings given; later they may be left out, and others than the cluster has are refused. How silence is
judged, repairs are made and backups kept up (--lease-timeout to --backup-interval) may be changed at each start, and is
remembered in the database.
It prints one line when it is ready; its log goes to standard error. Addresses that other machines can reach need a
cluster key.
Data servers refuse a database that is older than what they have seen. With --accept-older they go along with it, once:
sessions are ended, blocks stored later are left alone and listed by dfs meta quarantine. When the directory is lost, dfs
meta restore brings a backup back.`,
    options,
    operands: { least: 0, most: 0 },
    examples: ["dfs meta --dir /srv/dfs/meta --listen 127.0.0.1:7000"],
    json: [
      "one row when ready: ready (meta), address, pid, dir, settings, service (leaseTimeoutSeconds, downDelaySeconds,",
      "outDelaySeconds, repairBytesPerSecond, backupIntervalSeconds)",
    ],
    exits: [
      [1, "could not start (port or directory in use, database damaged), or could not go on"],
      [2, "usage, also settings that the cluster does not have"],
      [130, "ended by Ctrl-C, in good order"],
      [143, "ended by SIGTERM, in good order"],
    ],
    cleanUpMs: SERVER_CLEAN_UP_MS,
    async run(context) {
      const { options: chosen, out } = context;
      const { dir } = chosen;
      if (dir === undefined) {
        throw new DfsError(
          "usage",
          "cannot start a metadata server: its directory is missing\n" +
            "give one, such as: dfs meta --dir /srv/dfs/meta",
        );
      }
      if (chosen.endWithInput) endWithInput();
      await run({
        dir,
        listen: chosen.listen,
        settings: settingsOf(chosen),
        key: readKey(chosen.keyFile),
        service: serviceWishOf(chosen),
        acceptOlder: chosen.acceptOlder,
        debug: chosen.debug,
        signal: context.signal,
        onReady: ({ address: at, settings, service }) => {
          const { pid } = process;
          void out.announce(
            chosen.json
              ? jsonRow({
                  ready: "meta",
                  address: at,
                  pid,
                  dir,
                  settings,
                  service: serviceRow(service),
                })
              : `metadata server ready at ${at} (process ${pid}, ${dir})`,
          );
        },
      });
      return EXIT.done;
    },
  });
}
