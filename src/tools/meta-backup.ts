/**
 * `dfs meta backup`: have the metadata backed up onto data servers now.
 */
import { backupName } from "../base/backup.ts";
import type { DfsError } from "../base/errors.ts";
import type { BackupOutcome, DfsClient } from "../client/api.ts";
import { defineCommand, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { counted, isoTime, sizeText } from "./shared/format.ts";
import { interrupted, tellingInterruption } from "./shared/interruption.ts";
import { Progress, progressOption } from "./shared/progress.ts";

const options = { ...progressOption, ...clientOptions, ...jsonOption };

export const metaBackup = defineCommand({
  usage: "meta backup",
  description: `
Copies the metadata database, as it is at this moment, onto three data servers (onto all when there are fewer). The metadata
service does the same by itself every hour; dfs status tells when it did last. dfs meta restore brings a backup back.`,
  options,
  operands: { least: 0, most: 0 },
  examples: ["dfs meta backup", "dfs meta backup --json"],
  json: [
    "backup            its number, 16 hexadecimal digits",
    "created           UTC",
    "reign lsn         the position that it shows; 64-bit numbers as text",
    "bytes files       its length, and the files in it",
    "servers           ids of the data servers that hold it, a list",
    "wanted            how many should",
    "failures          list of server, reason: those that were asked and did not take it",
  ],
  exits: [
    [0, "it is on as many data servers as it should be"],
    [1, "no data server took it"],
    [3, "it is on some data servers, on fewer than it should be"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    return withClient(context, async (client) => {
      const { backup, manifest, servers, wanted, failures } = await backUp(context, client);
      for (const { server, reason } of failures) {
        context.messages.warning(`data server ${server} did not take the backup: ${reason}`);
      }
      const name = backupName(backup);
      const { out } = context;
      if (context.options.json) {
        await out.row({
          backup: name,
          created: manifest === null ? null : isoTime(manifest.createdNs),
          reign: manifest?.reign.toString() ?? null,
          lsn: manifest?.lsn.toString() ?? null,
          bytes: manifest?.length ?? null,
          files: manifest?.files ?? null,
          servers,
          wanted,
          failures,
        });
      } else {
        const what =
          manifest === null
            ? ""
            : ` (${counted(manifest.files, "file")}, ${sizeText(manifest.length)}, position ${manifest.lsn})`;
        await out.line(
          `backup ${name}${what} is on data server${servers.length === 1 ? "" : "s"} ${servers.join(", ")}`,
        );
      }
      if (servers.length >= wanted) return EXIT.done;
      context.messages.warning(`the backup is on ${servers.length} data servers, not on ${wanted}`);
      return EXIT.partly;
    });
  },
});

/** Has the service make a backup, and shows how far it is: in bytes of the copy that it makes, and of those on data servers. */
async function backUp(
  { messages, signal, options: chosen }: Context<typeof options>,
  client: DfsClient,
): Promise<BackupOutcome> {
  const progress = new Progress(messages, { style: chosen.progress, things: "none" });
  progress.remark = "backing the metadata up";
  const onProgress = ({ doneBytes, totalBytes }: BackupOutcome): void => {
    if (doneBytes === null || totalBytes === null) return; // an older service does not count
    progress.bytes = doneBytes;
    progress.total = { bytes: totalBytes };
  };
  const words = (): DfsError => {
    const seen = progress.bytes === 0 ? "" : `written ${progress.summary()}; `;
    return interrupted(
      `${seen}the metadata service goes on with the backup by itself`,
      "dfs status tells when the last one was made",
    );
  };
  try {
    const outcome = await tellingInterruption(signal, words, () =>
      client.backUpMetadata(onProgress),
    );
    onProgress(outcome);
    progress.stop("wrote");
    return outcome;
  } finally {
    progress.end();
  }
}
