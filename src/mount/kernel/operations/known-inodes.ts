/**
 * The inodes that the kernel knows: how many references it was given and has not returned, needed to tell it that everything may
 * be out of date; and which version of the content the attributes were of that it was told last, needed to tell it at an `open`
 * that they are out of date.
 */
import type { InodeId } from "../../../base/ids.ts";
import type { Attributes } from "../../../protocol/messages/common.ts";
import { InodeTable, NOWHERE } from "../../inode-table.ts";

export class KnownInodes {
  private readonly table = new InodeTable();

  /** The kernel is given a reference, with these attributes. */
  add({ inode, version }: Attributes): void {
    const slot = this.table.enter(inode);
    this.table.refer(slot, 1);
    this.table.setVersion(slot, version);
  }

  /** The kernel is told these attributes. */
  told({ inode, version }: Attributes): void {
    const slot = this.table.find(inode);
    if (slot !== NOWHERE) this.table.setVersion(slot, version);
  }

  /** True unless the attributes that the kernel was told last are of another content. */
  isCurrent({ inode, version }: Attributes): boolean {
    const slot = this.table.find(inode);
    return slot === NOWHERE || this.table.versionAt(slot) === version;
  }

  remove(inode: InodeId, references: bigint): void {
    const slot = this.table.find(inode);
    if (slot === NOWHERE) return;
    this.table.refer(slot, -Number(references));
    if (this.table.referencesAt(slot) <= 0) this.table.removeAt(slot);
  }

  all(): Iterable<InodeId> {
    return this.table.all();
  }
}
