/**
 * The inodes that the kernel knows, with the number of references that it was given and has not returned. Needed to tell it
 * that everything may be out of date.
 */
import type { InodeId } from "../../../base/ids.ts";

export class KnownInodes {
  private readonly references = new Map<InodeId, number>();

  add(inode: InodeId): void {
    this.references.set(inode, (this.references.get(inode) ?? 0) + 1);
  }

  remove(inode: InodeId, references: bigint): void {
    const left = (this.references.get(inode) ?? 0) - Number(references);
    if (left > 0) this.references.set(inode, left);
    else this.references.delete(inode);
  }

  all(): Iterable<InodeId> {
    return this.references.keys();
  }
}
