/**
 * How far a backup is: bytes written, of the copy of the database on this machine and of what data servers have taken.
 *
 * While the copy is made, how long it will be is not known: the database's file stands for it. It is longer, rather than
 * shorter, so that the total falls in the end.
 */
import { stat } from "node:fs/promises";
import { systemCodeOf } from "../../../base/errors.ts";

export interface BackupFigures {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export class BackupProgress {
  private readonly databasePath: string;
  private readonly draftPath: string;
  /** Length of the copy, once it is made. */
  private length: number | undefined;
  private copies = 0;
  private sentBytes = 0;

  constructor(databasePath: string, draftPath: string) {
    this.databasePath = databasePath;
    this.draftPath = draftPath;
  }

  /** So many servers are to get it. */
  wanted(copies: number): void {
    this.copies = copies;
  }

  /** The copy is made, and so long. */
  copied(length: number): void {
    this.length = length;
  }

  /** A data server has taken so many bytes; of one that gives up after all, they count back. */
  sent(bytes: number): void {
    this.sentBytes += bytes;
  }

  async figures(): Promise<BackupFigures> {
    const length = this.length ?? (await sizeOf(this.databasePath));
    const here = this.length ?? Math.min(length, await sizeOf(this.draftPath));
    return { doneBytes: here + this.sentBytes, totalBytes: length * (1 + this.copies) };
  }
}

/** Bytes of a file; 0 when it is not there yet, or not any more. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return 0;
    throw error;
  }
}
