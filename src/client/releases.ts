/**
 * Gives up opens of inodes, many in one request, a moment after the files were closed.
 *
 * A release is sent once: sent again after a lost answer it could take away an open that was made meanwhile. One that
 * is lost keeps the inode until the session ends, which is safe. While there is no connection none is sent, so none gets lost.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { release } from "../protocol/messages/namespace.ts";
import type { Session } from "./session.ts";

/** A release is a transaction at the service: of files that are opened one after the other, many go into one. */
const DELAY_MS = 100;

/** Between looks for a connection. */
const DISCONNECTED_DELAY_MS = 500;

/** Releases that are sent without waiting for more. */
const BATCH = MAX_ENTRIES_PER_PAGE / 2;

export class Releases {
  private readonly session: Session;
  private readonly clock: Clock;
  private readonly logger: Logger;
  private waiting: InodeId[] = [];
  private epoch = 0;
  private timer: Timer | undefined;
  private sending: Promise<void> = Promise.resolve();

  constructor(session: Session, clock: Clock, logger: Logger) {
    this.session = session;
    this.clock = clock;
    this.logger = logger;
  }

  /** Gives up `count` opens of `inode` that were made in the session of `epoch`. */
  add(inode: InodeId, count: number, epoch: number): void {
    if (epoch !== this.session.epoch) return; // they ended with their session
    if (epoch !== this.epoch) this.waiting = [];
    this.epoch = epoch;
    for (let each = 0; each < count; each++) this.waiting.push(inode);
    if (this.waiting.length >= BATCH) this.send();
    else this.sendLater(DELAY_MS);
  }

  /** Sends what waits; returns when all has been answered or lost. */
  async flush(): Promise<void> {
    this.send();
    await this.sending;
  }

  private sendLater(delayMs: number): void {
    this.timer ??= this.clock.setTimer(delayMs, () => this.send(), { background: true });
  }

  private send(): void {
    this.timer?.cancel();
    this.timer = undefined;
    if (this.waiting.length > 0 && !this.session.connected) {
      return this.sendLater(DISCONNECTED_DELAY_MS);
    }
    while (this.waiting.length > 0) {
      const inodes = this.waiting.splice(0, MAX_ENTRIES_PER_PAGE);
      const { epoch } = this;
      this.sending = this.sending.then(() => this.sendPage(inodes, epoch));
    }
  }

  private async sendPage(inodes: InodeId[], epoch: number): Promise<void> {
    if (epoch !== this.session.epoch) return;
    try {
      await this.session.askOnce(release, { inodes });
    } catch (error) {
      this.logger.debug(`could not release ${inodes.length} open files: ${messageOf(error)}`);
    }
  }
}
