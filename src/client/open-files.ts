/**
 * The regular files that this client holds open, by inode.
 */
import type { InodeId } from "../base/ids.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { OpenInode, type OpenInodeParts } from "./open-inode.ts";
import type { OpenFiles } from "./session.ts";

/** Makes the parts of a newly opened inode. `self` may be used once the parts are in place. */
export type MakeParts = (attributes: Attributes, self: () => OpenInode) => OpenInodeParts;

export class OpenFileTable implements OpenFiles {
  private readonly byInode = new Map<InodeId, OpenInode>();

  get isEmpty(): boolean {
    return this.byInode.size === 0;
  }

  inodes(): InodeId[] {
    return [...this.byInode.keys()];
  }

  lost(inode: InodeId): void {
    this.byInode.get(inode)?.markLost();
  }

  /** This client had locked the file, and its locks are gone. */
  locksLost(inode: InodeId): void {
    this.byInode.get(inode)?.markLocksLost();
  }

  reopened(inode: InodeId, epoch: number): void {
    this.byInode.get(inode)?.reopened(epoch);
  }

  get(inode: InodeId): OpenInode | undefined {
    return this.byInode.get(inode);
  }

  /** The service says that somebody has changed an inode; true when its content is another one than is known here. */
  heardOfChange(inode: InodeId, version: bigint): boolean {
    return this.byInode.get(inode)?.heardOfChange(version) ?? false;
  }

  /** What is known of where the bytes are may be out of date. */
  forgetMaps(): void {
    for (const open of this.byInode.values()) open.map.forget();
  }

  /** Begins to write back everything, because memory is short. */
  startFlush(): void {
    for (const open of this.byInode.values()) open.startFlush();
  }

  /** Counts one more handle on an inode that the service has just opened in the session of `epoch`. */
  enter(attributes: Attributes, epoch: number, makeParts: MakeParts): OpenInode {
    let open = this.byInode.get(attributes.inode);
    if (open === undefined) {
      const created: OpenInode = new OpenInode(
        attributes,
        epoch,
        makeParts(attributes, () => created),
      );
      open = created;
      this.byInode.set(attributes.inode, open);
    } else {
      open.learn(attributes);
      if (open.epoch !== epoch) open.opens = 0;
      open.epoch = epoch;
    }
    open.handles++;
    open.opens++;
    return open;
  }

  /** Counts one handle less; returns true when it was the last one. */
  leave(open: OpenInode): boolean {
    open.handles--;
    if (open.handles > 0) return false;
    this.byInode.delete(open.inode);
    return true;
  }
}
