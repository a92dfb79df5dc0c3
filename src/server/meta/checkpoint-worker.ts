/**
 * The thread that copies the write-ahead log into the database file, with a connection of its own, so that the service's
 * event loop never waits for it. `checkpoint.ts` is the other side.
 *
 * SQLite syncs the log before it copies and the database file after; each order takes as long as the disk does.
 */
import { Database } from "bun:sqlite";
import { messageOf, systemCodeOf } from "../../base/errors.ts";
import type { CheckpointAnswer, CheckpointOrder } from "./checkpoint.ts";

/** How long a truncating checkpoint waits for whoever still reads the log. Meanwhile changes wait as well. */
const BUSY_TIMEOUT_MS = 100;

interface Counts {
  readonly busy: number;
  readonly log: number;
  readonly checkpointed: number;
}

declare const self: Worker;

let database: Database | undefined;

self.addEventListener("message", ({ data }: MessageEvent<CheckpointOrder>) => {
  if (data.kind === "close") {
    database?.close();
    self.postMessage({ kind: "closed" } satisfies CheckpointAnswer);
    return;
  }
  self.postMessage(checkpoint(data.path, data.mode));
});

function checkpoint(path: string, mode: "PASSIVE" | "TRUNCATE"): CheckpointAnswer {
  try {
    database ??= open(path);
    const counts = database.query<Counts, []>(`PRAGMA wal_checkpoint(${mode})`).get();
    return { kind: "done", complete: counts?.busy === 0 && counts.log === counts.checkpointed };
  } catch (error) {
    return { kind: "failed", message: messageOf(error), code: systemCodeOf(error) ?? "" };
  }
}

function open(path: string): Database {
  const opened = new Database(path, { create: false, readwrite: true });
  opened.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  opened.run("PRAGMA synchronous = NORMAL");
  opened.run("PRAGMA wal_autocheckpoint = 0");
  return opened;
}
