/**
 * Questions about the whole record, answered by a thread of their own: over millions of rows each takes seconds, which no
 * client should wait for. One is answered at a time; each sees one moment.
 */
import { DfsError, messageOf } from "../../../base/errors.ts";
import { DatabaseThread } from "../database-thread.ts";
import type { RepairCount } from "../store/primitives/cluster.ts";
import type { BlockPlace, RecordFinding } from "../store/sqlite/checks.ts";
import type { FaultyName, Stray } from "../store/sqlite/names.ts";

export type RecordQuestion =
  /** What is wrong with inodes, extents and blocks, below an inode or anywhere. */
  | { readonly kind: "checks"; readonly inode: bigint | undefined }
  /** Names that lead nowhere, or lie in no directory. */
  | { readonly kind: "names"; readonly inode: bigint | undefined }
  /** Inodes that should have a path and have none. */
  | { readonly kind: "strays" }
  /** Inodes without a name that nobody keeps. */
  | { readonly kind: "leftovers" }
  /** An inode and what is below it. */
  | { readonly kind: "subtree"; readonly inode: bigint }
  /** Copies to be checked on these servers, of these blocks or of all. */
  | {
      readonly kind: "copies";
      readonly servers: readonly number[];
      readonly blocks: readonly bigint[] | undefined;
    }
  /** What is on record for repair. */
  | { readonly kind: "repairs" }
  /** Live blocks with fewer copies than they should have. */
  | {
      readonly kind: "lacking";
      readonly after: bigint;
      readonly replicas: number;
      readonly limit: number;
    }
  /** Live blocks without a copy on any of these servers. */
  | {
      readonly kind: "withoutCopy";
      readonly after: bigint;
      readonly servers: readonly number[];
      readonly limit: number;
    }
  /** Of these blocks those that are live and without a copy on any of these servers. */
  | {
      readonly kind: "withoutCopyAmong";
      readonly blocks: readonly bigint[];
      readonly servers: readonly number[];
    }
  /** Files and paths that belong to inodes and blocks. */
  | {
      readonly kind: "locate";
      readonly inodes: readonly bigint[];
      readonly blocks: readonly bigint[];
    };

export interface RecordAnswers {
  readonly checks: readonly RecordFinding[];
  readonly names: readonly FaultyName[];
  readonly strays: readonly Stray[];
  readonly leftovers: readonly Stray[];
  readonly subtree: { readonly inodes: BigInt64Array; readonly blocks: BigInt64Array };
  readonly copies: { readonly copies: number; readonly bytes: number };
  readonly repairs: readonly RepairCount[];
  readonly lacking: readonly bigint[];
  readonly withoutCopy: readonly bigint[];
  readonly withoutCopyAmong: readonly bigint[];
  readonly locate: {
    readonly places: readonly BlockPlace[];
    readonly paths: ReadonlyMap<bigint, Uint8Array>;
  };
}

export type RecordOrder =
  | { readonly kind: "ask"; readonly path: string; readonly question: RecordQuestion }
  | { readonly kind: "close" };

export type RecordAnswer =
  | { readonly kind: "answer"; readonly answer: RecordAnswers[keyof RecordAnswers] }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "closed" };

/** The record of one run. The thread begins with the first question and ends with `close`. */
export class WholeRecord {
  private readonly path: string;
  private readonly thread = new DatabaseThread<RecordOrder, RecordAnswer>(
    new URL("./record-worker.ts", import.meta.url),
  );
  private last: Promise<unknown> = Promise.resolve();
  private closed = false;

  /** `path` is that of the database file. */
  constructor(path: string) {
    this.path = path;
  }

  /** @throws DfsError `internal` when it cannot be answered, `cancelled` when the run has ended. */
  ask<Kind extends RecordQuestion["kind"]>(
    question: RecordQuestion & { readonly kind: Kind },
  ): Promise<RecordAnswers[Kind]> {
    const answered = this.last.then(() => this.answer(question));
    this.last = answered.catch(() => undefined); // whoever asked is told; the next question goes on
    return answered as Promise<RecordAnswers[Kind]>;
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.last;
    await this.thread.close({ kind: "close" });
  }

  private async answer(question: RecordQuestion): Promise<unknown> {
    if (this.closed) throw new DfsError("cancelled", "this run of fsck has ended");
    let answer: RecordAnswer;
    try {
      answer = await this.thread.ask({ kind: "ask", path: this.path, question });
    } catch (error) {
      throw failed(messageOf(error));
    }
    if (answer.kind === "answer") return answer.answer;
    throw failed(answer.kind === "failed" ? answer.message : "the thread has ended");
  }
}

function failed(reason: string): DfsError {
  return new DfsError("internal", `cannot go through the metadata database: ${reason}`);
}
