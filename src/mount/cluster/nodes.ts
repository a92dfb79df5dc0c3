/**
 * The inodes that the kernel knows: how often it was told of each, and which content its pages are of.
 *
 * An inode is in the table as long as the kernel has references to it or a handle is open. Nothing hangs on the table but what
 * the kernel is told; losing an entry would cost a page read once more.
 */
import { ROOT_INODE, type InodeId } from "../../base/ids.ts";
import { InodeTable, NOWHERE } from "../inode-table.ts";

/** A file that has been opened since the kernel has heard of it. */
interface Opened {
  /** Open handles. */
  handles: number;
  /** Version of the content that the kernel may have pages of; undefined when it has none, or they are out of date. */
  pages: bigint | undefined;
}

export class NodeTable {
  private readonly references = new InodeTable();
  private readonly opens = new Map<InodeId, Opened>();

  /** The kernel knows the root without having been told of it. */
  constructor() {
    this.refer(ROOT_INODE);
  }

  has(inode: InodeId): boolean {
    return this.references.find(inode) !== NOWHERE || this.opens.has(inode);
  }

  /** The kernel was given one more reference. */
  refer(inode: InodeId): void {
    this.references.refer(this.references.enter(inode), 1);
  }

  /** The kernel has given back references. */
  forget(inode: InodeId, references: bigint): void {
    const slot = this.references.find(inode);
    if (slot === NOWHERE) return;
    this.references.refer(slot, -Number(references));
    if (this.references.referencesAt(slot) > 0) return;
    this.references.removeAt(slot);
    this.dropUnused(inode);
  }

  /** A handle on a file is opened, whose content has this version now; true when the pages that there are may stay. */
  opened(inode: InodeId, version: bigint): boolean {
    const node = this.opens.get(inode) ?? { handles: 0, pages: undefined };
    this.opens.set(inode, node);
    // While it is open, `changedElsewhere` tells of every version that is not this mount's own doing.
    const keep = node.pages !== undefined && (node.handles > 0 || node.pages === version);
    node.handles++;
    node.pages = version;
    return keep;
  }

  /** A handle is given up; this mount knows the content to have this version. */
  released(inode: InodeId, version: bigint): void {
    const node = this.opens.get(inode);
    if (node === undefined) return;
    node.handles--;
    if (node.pages !== undefined) node.pages = version;
    this.dropUnused(inode);
  }

  /** Somebody else has changed the content. */
  changedElsewhere(inode: InodeId): void {
    const node = this.opens.get(inode);
    if (node !== undefined) node.pages = undefined;
  }

  /**
   * The content has this version now. True when the kernel may have pages of another one; of a file that is open here
   * `changedElsewhere` tells that.
   */
  heardOfVersion(inode: InodeId, version: bigint): boolean {
    if (!this.has(inode)) return false;
    const node = this.opens.get(inode);
    if (node === undefined) return true;
    if (node.handles > 0 || node.pages === version) return false;
    node.pages = undefined;
    return true;
  }

  /** All pages may be out of date. */
  forgetPages(): void {
    for (const node of this.opens.values()) node.pages = undefined;
  }

  private dropUnused(inode: InodeId): void {
    const isReferred = this.references.find(inode) !== NOWHERE;
    if (!isReferred && this.opens.get(inode)?.handles === 0) this.opens.delete(inode);
  }
}
