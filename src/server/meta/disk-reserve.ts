/**
 * Room on the disk of the metadata database that is kept for what has to go on when that disk is full: sessions, without which
 * nobody can read, and removing, with which one makes room.
 *
 * It is a file, `reserve`, whose blocks are allocated. When the database finds its disk full the file is deleted; from then on
 * only vital changes are made, in the room that it leaves. As soon as there is room for twice as much it is made again, and
 * everything goes on. On a disk too full to make it there is none, and vital changes fail as others do.
 */
import { closeSync, openSync, rmSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemCodeOf } from "../../base/errors.ts";
import { loadLibc } from "../../base/libc.ts";
import type { Logger } from "../../base/logger.ts";

const RESERVE_FILE = "reserve";

const MOST_BYTES = 32 * 1024 * 1024;
/** Of a small disk no more than this part. */
const PART = 16;
const UNIT_BYTES = 4096;

const libc = loadLibc({ posix_fallocate: { args: ["i32", "i64", "i64"], returns: "i32" } });

/** What group commit asks of it. */
export interface Reserve {
  /** True while the disk is full: only vital changes may be made. */
  refuses(): boolean;
  /** The disk has turned out to be full. True when that has made room for vital changes. */
  spend(): boolean;
}

/** How the disk is, for people. */
export interface DiskCondition {
  /** Changes that are not vital are refused, or have found no room and would find none now. */
  readonly full: boolean;
  readonly freeBytes: number;
  /** So much has to be free for changes to go on. */
  readonly neededBytes: number;
}

export class DiskReserve implements Reserve {
  private readonly dir: string;
  private readonly path: string;
  private readonly logger: Logger;
  private isSpent = false;
  /** A change has found no room, and there was no reserve to spend. */
  private hasFailed = false;

  constructor(dir: string, logger: Logger) {
    this.dir = dir;
    this.path = join(dir, RESERVE_FILE);
    this.logger = logger;
  }

  /** Keeps the room, if there is any. To be called when the database is open, so that this does not stand in its way. */
  prepare(): void {
    if (this.isSpent || this.isKept()) return;
    if (!this.allocate()) this.logger.warn(`there is no room for the reserve in ${this.path}`);
  }

  /** At a start: on a disk that is full not even the lock could be written. */
  relieve(): void {
    if (this.freeBytes() < this.wantedBytes() / 2) this.release();
  }

  refuses(): boolean {
    return this.isSpent && !this.isRestored();
  }

  spend(): boolean {
    const hasMadeRoom = this.release();
    this.hasFailed = !this.isSpent;
    return hasMadeRoom;
  }

  condition(): DiskCondition {
    const full = (this.isSpent || this.hasFailed) && !this.isRestored();
    return { full, freeBytes: this.freeBytes(), neededBytes: this.neededBytes() };
  }

  /** Makes the reserve again when there is room for that, and as much beside it. */
  private isRestored(): boolean {
    if (this.freeBytes() < this.neededBytes() || !this.allocate()) return false;
    this.isSpent = false;
    this.hasFailed = false;
    this.logger.info("there is room again on the disk of the metadata database");
    return true;
  }

  private release(): boolean {
    if (this.isSpent || !this.isKept()) return false;
    rmSync(this.path, { force: true });
    this.isSpent = true;
    this.logger.warn(
      "the disk of the metadata database is full: reading and removing go on, in the room of the reserve; other changes " +
        "are refused until there is room",
    );
    return true;
  }

  private isKept(): boolean {
    const stats = statSync(this.path, { throwIfNoEntry: false });
    return stats !== undefined && stats.size > 0;
  }

  private freeBytes(): number {
    const { bsize, bavail } = statfsSync(this.dir);
    return bsize * bavail;
  }

  private wantedBytes(): number {
    const { bsize, blocks } = statfsSync(this.dir);
    const part = Math.floor((bsize * blocks) / PART / UNIT_BYTES) * UNIT_BYTES;
    return Math.max(UNIT_BYTES, Math.min(MOST_BYTES, part));
  }

  private neededBytes(): number {
    return 2 * this.wantedBytes();
  }

  /** False when there is no room for it. */
  private allocate(): boolean {
    let failed: boolean;
    try {
      const descriptor = openSync(this.path, "w", 0o600);
      try {
        failed = libc.posix_fallocate(descriptor, 0, this.wantedBytes()) !== 0;
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      if (systemCodeOf(error) === undefined) throw error;
      failed = true;
    }
    if (failed) rmSync(this.path, { force: true });
    return !failed;
  }
}
