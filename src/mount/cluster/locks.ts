/**
 * Locks, as a mount asks for them: who gets one sees what was written under it before, on whatever mount that was.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import { messageOf } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { DfsClient } from "../../client/api.ts";
import type { Lock } from "../file-system.ts";
import type { KernelView } from "./kernel-view.ts";

export class MountedLocks {
  private readonly client: Pick<DfsClient, "inodes" | "locks">;
  private readonly kernel: Pick<KernelView, "dropped">;
  private readonly logger: Logger;

  constructor(
    client: Pick<DfsClient, "inodes" | "locks">,
    kernel: Pick<KernelView, "dropped">,
    logger: Logger,
  ) {
    this.client = client;
    this.kernel = kernel;
    this.logger = logger;
  }

  get(inode: InodeId, lock: Lock): Promise<Lock | undefined> {
    return this.client.locks.get(inode, lock);
  }

  /** Who gets a lock sees what its last holder has written. */
  async set(inode: InodeId, lock: Lock, wait: boolean, signal?: CancelSignal): Promise<void> {
    if (lock.type === "none") await this.handOver(inode);
    await this.client.locks.set(inode, lock, wait, { signal });
    if (lock.type === "none") return;
    await this.client.inodes.getattr(inode); // what it brings to light is dropped from the kernel
    await this.kernel.dropped(inode);
  }

  async release(inode: InodeId, kind: Lock["kind"], owner: bigint): Promise<void> {
    await this.handOver(inode);
    await this.client.locks.release(inode, kind, owner);
  }

  /** What was written under a lock is committed before the lock goes. A failure is kept: the next flush tells it. */
  private async handOver(inode: InodeId): Promise<void> {
    try {
      await this.client.inodes.flush(inode);
    } catch (error) {
      this.logger.warn(`inode ${inode} is unlocked before it could be stored: ${messageOf(error)}`);
    }
  }
}
