/**
 * `dfs meta restore`: bring the metadata back from the backups on data servers.
 */
import { backupName } from "../base/backup.ts";
import { DfsError } from "../base/errors.ts";
import type { BackupManifest, BackupState } from "../protocol/messages/backup.ts";
import { clusterIdOf } from "../protocol/messages/common.ts";
import {
  defineCommand,
  flag,
  value,
  type Command,
  type Context,
  type OptionSet,
} from "./shared/command.ts";
import { readKey } from "./shared/cluster-key.ts";
import { generalOptions, jsonOption, keyOption, shellWord } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { counted, durationText, isoTime, localTime, sizeText } from "./shared/format.ts";
import type { Output } from "./shared/output.ts";
import { interrupted, interruptedTelling, tellingInterruption } from "./shared/interruption.ts";
import { Progress, progressOption } from "./shared/progress.ts";
import { addresses, directory } from "./shared/values.ts";

/** A backup on data servers. */
export interface FoundBackup {
  readonly manifest: BackupManifest;
  readonly ageMs: number;
  readonly holders: readonly {
    readonly server: number | undefined;
    readonly address: string;
    readonly state: BackupState;
  }[];
}

export interface Survey {
  /** Data servers, `host:port`. */
  readonly from: readonly string[];
  readonly key: Uint8Array | undefined;
  readonly signal: AbortSignal;
  readonly onWarning: (message: string) => void;
}

/** The work itself, which is the metadata server's. */
export interface Restorer {
  /** The backups on data servers, the newest first. */
  list(survey: Survey): Promise<readonly FoundBackup[]>;
  /** Brings one back, the newest when none is named; `newer` counts those that are newer. */
  restore(
    into: Survey & {
      readonly dir: string;
      readonly backup: bigint | undefined;
      /** Told how much of the backup is here. */
      readonly onProgress: (doneBytes: number, totalBytes: number) => void;
    },
  ): Promise<FoundBackup & { readonly newer: number }>;
}

const options = {
  dir: value("<dir>", directory, "the new directory of the metadata server: missing or empty", {
    env: "DFS_META_DIR",
  }),
  from: value("<addresses>", addresses, "data servers, HOST:PORT[,HOST:PORT]: some, better all"),
  list: flag("only list the backups, having each read whole where it lies"),
  backup: value("<number>", backupNumber, "restore this one, not the newest; --list shows numbers"),
  ...progressOption,
  ...keyOption,
  ...jsonOption,
  ...generalOptions,
};

export function metaRestoreCommand(load: () => Promise<Restorer>): Command<OptionSet> {
  return defineCommand({
    usage: "meta restore --dir DIR --from HOST:PORT[,HOST:PORT] [--list] [--backup NUMBER]",
    description: `
Brings the metadata back when the metadata server's directory is lost: fetches the newest backup from the data servers,
verifies it, and makes DIR a metadata server's directory again. Nothing is ever restored over something. The data servers
need not be connected to anything: start those that are stopped with dfs data --dir DIR --meta HOST:PORT --wait.
What was changed after the backup is not in it. Files stored later are missing; their blocks stay on the data servers and
are listed by dfs meta quarantine, nothing deletes them. Files deleted or overwritten later are back as they were, as far
as their blocks are still there; reading what is gone is an error.`,
    options,
    operands: { least: 0, most: 0 },
    examples: [
      "dfs meta restore --list --from 10.0.0.2:7001,10.0.0.3:7001",
      "dfs meta restore --dir /srv/dfs/meta-2 --from 10.0.0.2:7001,10.0.0.3:7001",
      "dfs meta --dir /srv/dfs/meta-2 --listen 10.0.0.1:7000    # then start it where it was",
    ],
    json: [
      "one row; with --list one for each backup, the newest first",
      "backup            its number, 16 hexadecimal digits",
      "cluster           id",
      "created           UTC",
      "ageSeconds",
      "reign lsn         the position that it shows; 64-bit numbers as text",
      "bytes files       its length, and the files in it",
      "address           where the metadata server listened that made it",
      "holders           list of server (id or null), address, state (whole, damaged; unchecked without --list)",
      "dir newer         not with --list: the directory; backups that are newer, and were not taken",
    ],
    exits: [
      [0, "restored, or listed"],
      [1, "no backup can be read as it was written, or the servers are of different clusters"],
      [2, "usage, also a directory that is not empty"],
      [4, "the data servers hold no backup, or not this one"],
      [5, "no data server answers"],
    ],
    async run(context) {
      const { dir, from, list, backup, json, keyFile } = context.options;
      if (from === undefined) throw missing("the data servers (--from)");
      if (!list && dir === undefined) throw missing("the directory (--dir)");
      const survey: Survey = {
        from: from.split(","),
        key: readKey(keyFile),
        signal: context.signal,
        onWarning: (message) => context.messages.warning(message),
      };
      const restorer = await load();
      const { out } = context;
      if (list || dir === undefined) {
        const found = await tellingInterruption(
          survey.signal,
          () => interruptedTelling("listed"),
          () => restorer.list(survey),
        );
        for (const each of found) {
          if (json) await out.row(jsonRow(each));
          else await out.line(listLine(each));
        }
        return EXIT.done;
      }
      const restored = await fetchWatched(context, (onProgress) =>
        restorer.restore({ ...survey, dir, backup, onProgress }),
      );
      if (json) await out.row({ ...jsonRow(restored), dir, newer: restored.newer });
      else await tell(out, restored, dir);
      return EXIT.done;
    },
  });
}

/** Runs a restore while it is shown how much of the backup is here. */
async function fetchWatched<T>(
  { messages, signal, options: chosen }: Context<typeof options>,
  restore: (onProgress: (doneBytes: number, totalBytes: number) => void) => Promise<T>,
): Promise<T> {
  const progress = new Progress(messages, { style: chosen.progress, things: "none" });
  const words = (): DfsError =>
    interrupted(
      `fetched ${progress.summary()}; nothing is restored`,
      "give the same command again to do it from the beginning",
    );
  const onProgress = (doneBytes: number, totalBytes: number): void => {
    progress.bytes = doneBytes;
    progress.total = { bytes: totalBytes };
  };
  try {
    return await tellingInterruption(signal, words, () => restore(onProgress));
  } finally {
    progress.end();
  }
}

function backupNumber(text: string): bigint {
  if (/^[0-9a-f]{16}$/.test(text)) return BigInt(`0x${text}`);
  throw new DfsError("usage", "expected 16 hexadecimal digits, as --list shows them");
}

function missing(what: string): DfsError {
  return new DfsError(
    "usage",
    `cannot restore: ${what} must be given\n` +
      "for example: dfs meta restore --dir /srv/dfs/meta-2 --from 10.0.0.2:7001,10.0.0.3:7001",
  );
}

async function tell(
  out: Output,
  restored: FoundBackup & { readonly newer: number },
  dir: string,
): Promise<void> {
  const { manifest, ageMs, newer } = restored;
  const older =
    newer === 0
      ? ""
      : ` (not the newest: ${counted(newer, "backup")} of later ${newer === 1 ? "is" : "are"} there)`;
  const listen = manifest.address === "" ? "" : ` --listen ${manifest.address}`;
  await out.line(
    `restored cluster ${clusterIdOf(manifest.cluster)} as it was at ${localTime(manifest.createdNs)}, ` +
      `${durationText(ageMs)} ago: ${counted(manifest.files, "file")}, ${sizeText(manifest.length)}, ` +
      `position ${manifest.lsn}${older}`,
  );
  await out.line("What was changed since then is not in it, and nobody can tell what that was:");
  await out.line(
    "  - files stored since are missing; their blocks are kept: dfs meta quarantine lists them",
  );
  await out.line(
    "  - files deleted or overwritten since are back; what is gone of them is an error when read",
  );
  await out.line(
    "  - data servers that joined since keep their ids; the next new one gets an id in the thousands",
  );
  await out.line(`start it with: dfs meta --dir ${shellWord(dir)}${listen}`);
}

function listLine({ manifest, ageMs, holders }: FoundBackup): string {
  const where = holders
    .map(({ server, address, state }) => {
      const note = state === "whole" ? "" : ` (${state})`;
      return `${server ?? address}${note}`;
    })
    .join(", ");
  return (
    `${backupName(manifest.backup)}  ${localTime(manifest.createdNs)}  ${durationText(ageMs)} old, ` +
    `${counted(manifest.files, "file")}, ${sizeText(manifest.length)}, position ${manifest.lsn}; ` +
    `on data server${holders.length === 1 ? "" : "s"} ${where}`
  );
}

function jsonRow({ manifest, ageMs, holders }: FoundBackup): object {
  return {
    backup: backupName(manifest.backup),
    cluster: clusterIdOf(manifest.cluster),
    created: isoTime(manifest.createdNs),
    ageSeconds: Math.floor(ageMs / 1000),
    reign: manifest.reign.toString(),
    lsn: manifest.lsn.toString(),
    bytes: manifest.length,
    files: manifest.files,
    address: manifest.address,
    holders: holders.map(({ server, address, state }) => ({
      server: server ?? null,
      address,
      state,
    })),
  };
}
