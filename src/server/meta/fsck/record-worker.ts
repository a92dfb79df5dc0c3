/**
 * The thread that goes through the whole record for fsck, with a connection of its own; `record.ts` is the other side.
 */
import { Database } from "bun:sqlite";
import { messageOf } from "../../../base/errors.ts";
import { MAX_PATH_BYTES } from "../../../base/limits.ts";
import * as checks from "../store/sqlite/checks.ts";
import * as names from "../store/sqlite/names.ts";
import { clusterPrimitives } from "../store/sqlite/cluster.ts";
import { finalizeOnClose } from "../store/sqlite/store.ts";
import type { RecordAnswer, RecordAnswers, RecordOrder, RecordQuestion } from "./record.ts";

/** How long to wait for a checkpoint that holds the log for itself. */
const BUSY_TIMEOUT_MS = 10_000;

declare const self: Worker;

let opened: Database | undefined;

self.addEventListener("message", ({ data }: MessageEvent<RecordOrder>) => {
  if (data.kind === "close") {
    opened?.close();
    self.postMessage({ kind: "closed" } satisfies RecordAnswer);
    return;
  }
  self.postMessage(answer(data.path, data.question));
});

function answer(path: string, question: RecordQuestion): RecordAnswer {
  try {
    opened ??= open(path);
    return { kind: "answer", answer: answerTo(opened, question) };
  } catch (error) {
    return { kind: "failed", message: messageOf(error) };
  }
}

function answerTo(
  database: Database,
  question: RecordQuestion,
): RecordAnswers[keyof RecordAnswers] {
  switch (question.kind) {
    case "checks":
      return checks.checkRecord(database, question.inode);
    case "names":
      return names.faultyNames(database, question.inode);
    case "strays":
      return names.strays(database);
    case "leftovers":
      return names.leftovers(database);
    case "subtree": {
      const { inodes, blocks } = checks.subtree(database, question.inode);
      return { inodes: BigInt64Array.from(inodes), blocks: BigInt64Array.from(blocks) };
    }
    case "copies":
      return checks.countCopies(database, question.servers, question.blocks);
    case "repairs":
      return clusterPrimitives(database)["figures.repairs"]();
    case "lacking":
      return checks.lackingBlocks(database, question.after, question.replicas, question.limit);
    case "withoutCopy":
      return checks.blocksWithoutCopyOn(database, question.after, question.servers, question.limit);
    case "withoutCopyAmong":
      return checks.withoutCopyAmong(database, question.blocks, question.servers);
    case "locate":
      return locate(database, question.inodes, question.blocks);
  }
}

function locate(
  database: Database,
  inodes: readonly bigint[],
  blocks: readonly bigint[],
): RecordAnswers["locate"] {
  const places = checks.placesOf(database, blocks);
  const all = [...new Set([...inodes, ...places.map(({ inode }) => inode)])];
  return { places, paths: checks.pathsOf(database, all, MAX_PATH_BYTES) };
}

function open(path: string): Database {
  const database = new Database(path, { create: false, readwrite: true, safeIntegers: true });
  finalizeOnClose(database);
  database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  database.run("PRAGMA query_only = ON");
  return database;
}
