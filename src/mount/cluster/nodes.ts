/**
 * The inodes that the kernel knows: how often it was told of each, and which content its pages are of.
 *
 * An inode is in the table as long as the kernel has references to it or a handle is open. Nothing hangs on the table but what
 * the kernel is told; losing an entry would cost a page read once more.
 */
import { ROOT_INODE, type InodeId } from "../../base/ids.ts";

interface Node {
  references: bigint;
  /** Open handles. */
  handles: number;
  /** Version of the content that the kernel may have pages of; undefined when it has none, or they are out of date. */
  pages: bigint | undefined;
}

export class NodeTable {
  private readonly nodes = new Map<InodeId, Node>();

  /** The kernel knows the root without having been told of it. */
  constructor() {
    this.refer(ROOT_INODE);
  }

  /** Inodes in the table. */
  get size(): number {
    return this.nodes.size;
  }

  has(inode: InodeId): boolean {
    return this.nodes.has(inode);
  }

  /** The kernel was given one more reference. */
  refer(inode: InodeId): void {
    this.node(inode).references += 1n;
  }

  /** The kernel has given back references. */
  forget(inode: InodeId, references: bigint): void {
    const node = this.nodes.get(inode);
    if (node === undefined) return;
    node.references = references > node.references ? 0n : node.references - references;
    this.dropUnused(inode, node);
  }

  /** A handle on a file is opened, whose content has this version now; true when the pages that there are may stay. */
  opened(inode: InodeId, version: bigint): boolean {
    const node = this.node(inode);
    // While it is open, `changedElsewhere` tells of every version that is not this mount's own doing.
    const keep = node.pages !== undefined && (node.handles > 0 || node.pages === version);
    node.handles++;
    node.pages = version;
    return keep;
  }

  /** A handle is given up; this mount knows the content to have this version. */
  released(inode: InodeId, version: bigint): void {
    const node = this.nodes.get(inode);
    if (node === undefined) return;
    node.handles--;
    if (node.pages !== undefined) node.pages = version;
    this.dropUnused(inode, node);
  }

  /** Somebody else has changed the content. */
  changedElsewhere(inode: InodeId): void {
    const node = this.nodes.get(inode);
    if (node !== undefined) node.pages = undefined;
  }

  /**
   * The content has this version now. True when the kernel may have pages of another one; of a file that is open here
   * `changedElsewhere` tells that.
   */
  heardOfVersion(inode: InodeId, version: bigint): boolean {
    const node = this.nodes.get(inode);
    if (node === undefined || node.handles > 0 || node.pages === version) return false;
    node.pages = undefined;
    return true;
  }

  /** All pages may be out of date. */
  forgetPages(): void {
    for (const node of this.nodes.values()) node.pages = undefined;
  }

  private node(inode: InodeId): Node {
    let node = this.nodes.get(inode);
    if (node === undefined) {
      node = { references: 0n, handles: 0, pages: undefined };
      this.nodes.set(inode, node);
    }
    return node;
  }

  private dropUnused(inode: InodeId, node: Node): void {
    if (node.references === 0n && node.handles === 0) this.nodes.delete(inode);
  }
}
