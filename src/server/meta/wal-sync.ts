/**
 * Makes the database's write-ahead log durable without blocking the event loop: one callback fdatasync of the `-wal` file
 * at a time, through a descriptor of its own.
 *
 * Invariants
 * - What was committed before `run` is called is durable when its callback is called without an error.
 * - The file that was synced is the one that SQLite writes to: after each sync the path is compared with the descriptor
 *   (device, inode), and when SQLite has begun a new file, that one is opened and synced before anybody is told.
 * - A failed sync is reported once and never tried again: the kernel may have dropped the pages that it could not write,
 *   and a second fdatasync would succeed without them.
 *
 * Opening and closing the `-wal` file by hand is safe: SQLite takes its POSIX locks on the database file and on `-shm`,
 * never on `-wal`. Nothing may open those two.
 */
import {
  closeSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  openSync,
  statSync,
  type BigIntStats,
} from "node:fs";
import { dirname } from "node:path";
import { assert, DfsError, messageOf } from "../../base/errors.ts";

export type SyncDone = (error: Error | undefined) => void;

/** The disk seam: makes what was written to the file behind `descriptor` durable, then calls back. */
export type SyncFile = (descriptor: number, done: SyncDone) => void;

/** What group commit needs: `WalSync`, or an engine of a simulator. */
export interface DurableMark {
  /** Makes all that has been committed durable, then calls back. One call at a time. */
  run(done: SyncDone): void;
  /** Bytes of the log. */
  size(): number;
  close(): void;
}

/** fdatasync(2) on Bun's thread pool. */
export const diskSync: SyncFile = (descriptor, done) => {
  fdatasync(descriptor, (error) => done(error ?? undefined));
};

export class WalSync implements DurableMark {
  private readonly path: string;
  private readonly syncFile: SyncFile;
  private descriptor: number;
  private opened: BigIntStats;
  private running = false;
  private failed = false;

  /**
   * `path` is the `-wal` file; it must exist, so write to the database first.
   * @throws DfsError `io` when it cannot be opened.
   */
  constructor(path: string, syncFile: SyncFile = diskSync) {
    this.path = path;
    this.syncFile = syncFile;
    this.descriptor = openLog(path);
    this.opened = fstatSync(this.descriptor, { bigint: true });
  }

  run(done: SyncDone): void {
    assert(!this.running && !this.failed, "a sync began while another ran or after one had failed");
    this.running = true;
    this.syncCurrent((error) => {
      this.running = false;
      this.failed = error !== undefined;
      done(error);
    });
  }

  size(): number {
    return fstatSync(this.descriptor).size;
  }

  close(): void {
    closeSync(this.descriptor);
  }

  private syncCurrent(done: SyncDone): void {
    this.syncFile(this.descriptor, (error) => {
      if (error !== undefined) return done(error);
      let replaced: boolean;
      try {
        replaced = this.reopenIfReplaced();
      } catch (failure) {
        return done(failure instanceof Error ? failure : new Error(messageOf(failure)));
      }
      if (replaced) this.syncCurrent(done);
      else done(undefined);
    });
  }

  /** True when the path led to another file than the descriptor; the descriptor is then that of the new one. */
  private reopenIfReplaced(): boolean {
    const now = statLog(this.path);
    if (now.ino === this.opened.ino && now.dev === this.opened.dev) return false;
    closeSync(this.descriptor);
    this.descriptor = openLog(this.path);
    this.opened = fstatSync(this.descriptor, { bigint: true });
    return true;
  }
}

/** Opens the log, and makes its name durable. */
function openLog(path: string): number {
  try {
    const descriptor = openSync(path, "r+");
    const directory = openSync(dirname(path), "r");
    fsyncSync(directory);
    closeSync(directory);
    return descriptor;
  } catch (error) {
    throw lost(path, error);
  }
}

function statLog(path: string): BigIntStats {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    throw lost(path, error);
  }
}

function lost(path: string, cause: unknown): DfsError {
  return new DfsError(
    "io",
    `cannot use the database's write-ahead log ${path}: ${messageOf(cause)}`,
    { cause },
  );
}
