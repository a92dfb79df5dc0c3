/**
 * The thread that copies the database for a backup, with a connection of its own: over a large database that takes long.
 * `copy.ts` is the other side.
 *
 * VACUUM INTO reads one snapshot, so the copy is of one moment, whatever is committed meanwhile; SQLite's log cannot be
 * begun anew before it has ended. The copy is then checked as a whole, and its position is read from itself.
 */
import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { messageOf } from "../../../base/errors.ts";
import { LSN_COUNTER } from "../group-commit.ts";
import { finalizeOnClose } from "../store/sqlite/store.ts";
import type { CopyAnswer, CopyOrder } from "./copy.ts";

/** How long to wait for a checkpoint that holds the log for itself. */
const BUSY_TIMEOUT_MS = 10_000;

declare const self: Worker;

let source: Database | undefined;

self.addEventListener("message", ({ data }: MessageEvent<CopyOrder>) => {
  if (data.kind === "close") {
    source?.close();
    self.postMessage({ kind: "closed" } satisfies CopyAnswer);
    return;
  }
  self.postMessage(copy(data.path, data.target));
});

function copy(path: string, target: string): CopyAnswer {
  try {
    for (const suffix of ["", "-journal", "-wal", "-shm"]) {
      rmSync(target + suffix, { force: true });
    }
    source ??= open(path);
    source.run("VACUUM INTO ?", [target]);
    return { kind: "copied", ...look(target) };
  } catch (error) {
    return { kind: "failed", message: messageOf(error) };
  }
}

function look(target: string): Omit<Extract<CopyAnswer, { kind: "copied" }>, "kind"> {
  const copied = new Database(target, { readonly: true, safeIntegers: true });
  finalizeOnClose(copied);
  try {
    const found = copied
      .prepare<{ integrity_check: string }, []>("PRAGMA integrity_check(1)")
      .get()?.integrity_check;
    if (found !== "ok") throw new Error(`the database is damaged: ${found ?? "no answer"}`);
    const number = (sql: string, ...values: string[]): bigint =>
      copied.prepare<{ value: bigint }, string[]>(sql).get(...values)?.value ?? 0n;
    return {
      lsn: number("SELECT reserved AS value FROM counters WHERE name = ?", LSN_COUNTER),
      reign: number("SELECT reign AS value FROM reigns ORDER BY number DESC LIMIT 1"),
      files: Number(number("SELECT count(*) AS value FROM inodes WHERE type = 8")),
    };
  } finally {
    copied.close();
  }
}

function open(path: string): Database {
  const opened = new Database(path, { create: false, readwrite: true });
  opened.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  opened.run("PRAGMA wal_autocheckpoint = 0");
  return opened;
}
