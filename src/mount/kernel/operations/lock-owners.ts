/**
 * Who may hold POSIX locks on which inode. Every close(2) gives up the locks of its process, and most processes have none: this
 * spares the file system the question.
 */
import type { InodeId } from "../../../base/ids.ts";

export class PosixLockOwners {
  private readonly owners = new Map<InodeId, Set<bigint>>();

  add(inode: InodeId, owner: bigint): void {
    const owners = this.owners.get(inode);
    if (owners === undefined) this.owners.set(inode, new Set([owner]));
    else owners.add(owner);
  }

  /** True when the owner may have had locks; it is forgotten. */
  remove(inode: InodeId, owner: bigint): boolean {
    const owners = this.owners.get(inode);
    const had = owners?.delete(owner) ?? false;
    if (owners?.size === 0) this.owners.delete(inode);
    return had;
  }
}
