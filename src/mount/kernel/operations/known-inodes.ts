/**
 * The inodes that the kernel knows: how many references it was given and has not returned, needed to tell it that everything may
 * be out of date; and which version of the content the attributes were of that it was told last, needed to tell it at an `open`
 * that they are out of date.
 */
import type { InodeId } from "../../../base/ids.ts";
import type { Attributes } from "../../../protocol/messages/common.ts";

interface Known {
  references: number;
  version: bigint;
}

export class KnownInodes {
  private readonly inodes = new Map<InodeId, Known>();

  /** The kernel is given a reference, with these attributes. */
  add({ inode, version }: Attributes): void {
    const known = this.inodes.get(inode);
    if (known === undefined) this.inodes.set(inode, { references: 1, version });
    else {
      known.references++;
      known.version = version;
    }
  }

  /** The kernel is told these attributes. */
  told({ inode, version }: Attributes): void {
    const known = this.inodes.get(inode);
    if (known !== undefined) known.version = version;
  }

  /** True unless the attributes that the kernel was told last are of another content. */
  isCurrent({ inode, version }: Attributes): boolean {
    const known = this.inodes.get(inode);
    return known === undefined || known.version === version;
  }

  remove(inode: InodeId, references: bigint): void {
    const known = this.inodes.get(inode);
    if (known === undefined) return;
    known.references -= Number(references);
    if (known.references <= 0) this.inodes.delete(inode);
  }

  all(): Iterable<InodeId> {
    return this.inodes.keys();
  }
}
