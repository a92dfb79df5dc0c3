/**
 * Access times of files that were read here, told to the service many at once, a moment later and without waiting.
 *
 * A read must not cost a round trip, and an access time is worth little: one that gets lost is no harm. Until the service knows it,
 * this client shows it by itself.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { accessed } from "../protocol/messages/namespace.ts";
import type { Session } from "./session.ts";

const DELAY_MS = 1_000;

export class AccessTimes {
  private readonly session: Session;
  private readonly clock: Clock;
  private readonly logger: Logger;
  private readonly waiting = new Map<InodeId, bigint>();
  private timer: Timer | undefined;

  constructor(session: Session, clock: Clock, logger: Logger) {
    this.session = session;
    this.clock = clock;
    this.logger = logger;
  }

  /** True when there is nothing that the service has not been told. */
  get isEmpty(): boolean {
    return this.waiting.size === 0;
  }

  has(inode: InodeId): boolean {
    return this.waiting.has(inode);
  }

  add(inode: InodeId, atimeNs: bigint): void {
    this.waiting.set(inode, atimeNs);
    this.timer ??= this.clock.setTimer(DELAY_MS, () => void this.flush(), { background: true });
  }

  /** The access time of the inode is set: what was noted before is of no matter any more. */
  forget(inode: InodeId): void {
    this.waiting.delete(inode);
  }

  /** The attributes with the access time that the service has not been told yet. */
  seen(attributes: Attributes): Attributes {
    const atimeNs = this.waiting.get(attributes.inode);
    if (atimeNs === undefined || atimeNs <= attributes.atimeNs) return attributes;
    return { ...attributes, atimeNs };
  }

  /** Tells the service what it does not know; never fails. */
  async flush(): Promise<void> {
    this.timer?.cancel();
    this.timer = undefined;
    const told = [...this.waiting].map(([inode, atimeNs]) => ({ inode, atimeNs }));
    for (let at = 0; at < told.length; at += MAX_ENTRIES_PER_PAGE) {
      await this.tell(told.slice(at, at + MAX_ENTRIES_PER_PAGE));
    }
  }

  private async tell(
    accesses: { readonly inode: InodeId; readonly atimeNs: bigint }[],
  ): Promise<void> {
    try {
      await this.session.askOnce(accessed, { accesses });
    } catch (error) {
      this.logger.debug(`access times of ${accesses.length} files got lost: ${messageOf(error)}`);
    }
    for (const { inode, atimeNs } of accesses) {
      if (this.waiting.get(inode) === atimeNs) this.waiting.delete(inode);
    }
  }
}
