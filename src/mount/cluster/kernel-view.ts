/**
 * What the kernel has been told and may still hold, and what has to be taken back from it: references to inodes, pages, names,
 * and what open directories have fetched ahead of it.
 */
import type { InodeId } from "../../base/ids.ts";
import type { ChangeListener } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import type { Invalidations } from "../file-system.ts";
import type { AbsentXattrs } from "./absent-xattrs.ts";
import type { HandleTable } from "./handles.ts";
import type { KnownDirectories } from "./known-directories.ts";
import type { DirectoryListing } from "./listing.ts";
import { NodeTable } from "./nodes.ts";

const NO_INVALIDATIONS: Invalidations = {
  inode: () => undefined,
  entry: () => undefined,
  all: () => undefined,
};

export class KernelView implements ChangeListener {
  readonly nodes = new NodeTable();
  invalidations = NO_INVALIDATIONS;
  private readonly directories: HandleTable<DirectoryListing>;
  private readonly absent: AbsentXattrs;
  private readonly known: KnownDirectories;
  /** Pages that the kernel is dropping. */
  private readonly dropping = new Map<InodeId, Promise<void>>();

  constructor(
    directories: HandleTable<DirectoryListing>,
    absent: AbsentXattrs,
    known: KnownDirectories,
  ) {
    this.directories = directories;
    this.absent = absent;
    this.known = known;
  }

  /** Resolves when the kernel has dropped what it was told to drop of this inode. */
  async dropped(inode: InodeId): Promise<void> {
    await this.dropping.get(inode);
  }

  // ---- By this mount: the kernel knows it already --------------------------------------------------------------------

  /** The kernel is given these attributes, and a reference. */
  referred(attributes: Attributes): Attributes {
    this.nodes.refer(attributes.inode);
    return attributes;
  }

  /** A name has come into a directory, and the kernel is given a reference to what it names. */
  added(parent: InodeId, attributes: Attributes): Attributes {
    this.namesChanged(parent);
    this.changedHere(attributes.inode);
    return this.referred(attributes);
  }

  removed(parent: InodeId, name: Uint8Array): void {
    for (const listing of this.directories.items()) {
      if (listing.inode === parent) listing.removed(name);
    }
  }

  /** Names of a directory mean something else. */
  namesChanged(directory: InodeId): void {
    for (const listing of this.directories.items()) {
      if (listing.inode === directory) listing.outdated();
    }
  }

  /** Attributes have been changed. */
  changedHere(inode: InodeId): void {
    for (const listing of this.directories.items()) listing.changed(inode);
  }

  // ---- By others -----------------------------------------------------------------------------------------------------

  contentChanged(inode: InodeId): void {
    this.absent.forget(inode);
    this.nodes.changedElsewhere(inode);
    this.changedHere(inode);
    if (!this.nodes.has(inode)) return;
    const dropped = this.invalidations.inode(inode, true);
    if (dropped === undefined) return;
    const done = dropped.finally(() => {
      if (this.dropping.get(inode) === done) this.dropping.delete(inode);
    });
    this.dropping.set(inode, done);
  }

  attributesChanged(inode: InodeId, version: bigint): void {
    this.absent.forget(inode);
    this.known.forget(inode);
    this.changedHere(inode);
    this.namesChanged(inode);
    if (!this.nodes.has(inode)) return;
    void this.invalidations.inode(inode, this.nodes.heardOfVersion(inode, version));
  }

  entryChanged(parent: InodeId, name: Uint8Array): void {
    this.known.forget(parent);
    this.namesChanged(parent);
    if (this.nodes.has(parent)) this.invalidations.entry(parent, name);
  }

  everythingChanged(): void {
    this.absent.forgetAll();
    this.known.forgetAll();
    this.nodes.forgetPages();
    for (const listing of this.directories.items()) listing.outdated();
    this.invalidations.all();
  }
}
