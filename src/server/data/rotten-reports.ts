/**
 * Tells the metadata service which copies this server has found rotten, so that it has them repaired.
 *
 * - A block is remembered until the service has answered. Those that could not be told for want of a connection are told
 *   after the next registration.
 * - What was rotten before a registration the service learns without this: such blocks are not in the server's list, with
 *   which it compares its record then. So forgetting is safe: what comes beyond MAX_WAITING is left to that, or to the next
 *   scrub, which tells each rotten block again.
 * - The service may know nothing of a block yet, because its file is being written; that is why a scrub tells it again.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { BlockId } from "../../base/ids.ts";
import { MAX_ROTTEN_PER_MESSAGE } from "../../base/limits.ts";
import type { Logger } from "../../base/logger.ts";
import { memberRotten } from "../../protocol/messages/member.ts";
import type { Peer } from "../../protocol/peer.ts";

/** Blocks that wait to be told, at most. */
const MAX_WAITING = 64 * MAX_ROTTEN_PER_MESSAGE;

const TIMEOUT_MS = 30_000;

/** After an attempt that failed, when the connection is still there. */
const RETRY_MS = 10_000;

export class RottenReports {
  private readonly clock: Clock;
  private readonly logger: Logger;
  private readonly waiting = new Set<BlockId>();
  private peer: Peer | undefined;
  private sending = false;
  /** Until it is tried again. */
  private pause: Timer | undefined;
  private overflowing = false;

  constructor(clock: Clock, logger: Logger) {
    this.clock = clock;
    this.logger = logger;
  }

  /** A copy has been found rotten. */
  add(block: BlockId): void {
    if (this.waiting.size < MAX_WAITING) {
      this.waiting.add(block);
      this.send();
    } else if (!this.overflowing) {
      this.overflowing = true;
      this.logger.warn(
        `${MAX_WAITING} rotten copies wait to be told to the metadata service; more are left to the next scrub`,
      );
    }
  }

  /** This server has registered over this connection. */
  registered(peer: Peer): void {
    this.peer = peer;
    this.endPause();
    this.send();
  }

  private send(): void {
    const { peer } = this;
    if (this.sending || this.pause !== undefined) return;
    if (this.waiting.size === 0 || peer?.open !== true) return;
    this.sending = true;
    void this.sendAll(peer).then((told) => {
      this.sending = false;
      if (!told && peer === this.peer && peer.open) this.beginPause();
      else this.send(); // what has come meanwhile, or over the connection that has
    });
  }

  private beginPause(): void {
    const again = (): void => {
      this.pause = undefined;
      this.send();
    };
    this.pause = this.clock.setTimer(RETRY_MS, again, { background: true });
  }

  private endPause(): void {
    this.pause?.cancel();
    this.pause = undefined;
  }

  /** Returns false when something could not be told; it still waits then. */
  private async sendAll(peer: Peer): Promise<boolean> {
    await Promise.resolve(); // what is found in the same turn goes with the first message
    try {
      while (this.waiting.size > 0) {
        const blocks = [...this.waiting.values().take(MAX_ROTTEN_PER_MESSAGE)];
        await peer.request(memberRotten, { blocks }, { timeoutMs: TIMEOUT_MS });
        for (const block of blocks) this.waiting.delete(block);
        this.overflowing = false;
      }
      return true;
    } catch (error) {
      this.logger.warn(
        `cannot tell the metadata service of rotten copies yet, it is tried again: ${messageOf(error)}`,
        { copies: this.waiting.size },
      );
      return false;
    }
  }
}
