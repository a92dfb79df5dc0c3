/**
 * The API's face of operations by inode number: requests to the service, in step with the files that are open here.
 */
import type { InodeId } from "../base/ids.ts";
import type { DirectoryPage } from "../protocol/directory-page.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";
import type { FileOwner, OpenFile, SetAttributes } from "./api.ts";
import type { FileOpener } from "./file-opener.ts";
import type { CallOptions, ChangeListener, Inodes, NameChangeOptions, Place } from "./inode-api.ts";
import type { InodeRequests } from "./inode-requests.ts";
import type { Watcher } from "./watcher.ts";

export class InodeOperations implements Inodes {
  private readonly requests: InodeRequests;
  private readonly opener: FileOpener;
  private readonly watcher: Watcher;

  constructor(requests: InodeRequests, opener: FileOpener, watcher: Watcher) {
    this.requests = requests;
    this.opener = opener;
    this.watcher = watcher;
  }

  async lookup(place: Place, options?: CallOptions): Promise<Attributes> {
    return this.opener.heard(await this.requests.lookup(place, options));
  }

  async getattr(inode: InodeId, options?: CallOptions): Promise<Attributes> {
    return this.opener.heard(await this.requests.getattr(inode, options));
  }

  setattr(inode: InodeId, change: SetAttributes, options?: CallOptions): Promise<Attributes> {
    return this.opener.setattr(inode, change, options);
  }

  mkdir(place: Place, owner: FileOwner, options?: NameChangeOptions): Promise<Attributes> {
    return this.requests.mkdir(place, owner, options);
  }

  mknod(
    place: Place,
    type: FileType,
    rdev: number,
    owner: FileOwner,
    options?: NameChangeOptions,
  ): Promise<Attributes> {
    return this.requests.mknod(place, type, rdev, owner, options);
  }

  symlink(
    place: Place,
    target: Uint8Array,
    owner: { readonly uid: number; readonly gid: number },
    options?: NameChangeOptions,
  ): Promise<Attributes> {
    return this.requests.symlink(place, target, owner, options);
  }

  async link(inode: InodeId, place: Place, options?: NameChangeOptions): Promise<Attributes> {
    return this.opener.heard(await this.requests.link(inode, place, options));
  }

  async unlink(place: Place, options?: NameChangeOptions): Promise<void> {
    const orphan = await this.requests.unlink(place, options);
    if (orphan !== undefined) this.opener.orphaned(orphan);
  }

  rmdir(place: Place, options?: NameChangeOptions): Promise<void> {
    return this.requests.rmdir(place, options);
  }

  async rename(
    from: Place,
    to: Place,
    how: "replace" | "noReplace" | "exchange",
    options?: CallOptions,
  ): Promise<void> {
    const orphan = await this.requests.rename(from, to, how, options);
    if (orphan !== undefined) this.opener.orphaned(orphan);
  }

  readlink(inode: InodeId, options?: CallOptions): Promise<Uint8Array> {
    return this.requests.readlink(inode, options);
  }

  async readdir(
    directory: InodeId,
    after: Uint8Array | undefined,
    limit: number,
    options?: CallOptions,
  ): Promise<DirectoryPage> {
    const page = await this.requests.readdir(directory, after, limit, options);
    this.opener.heardOfPage(page);
    return page;
  }

  xattrGet(inode: InodeId, name: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    return this.requests.xattrGet(inode, name, options);
  }

  xattrSet(
    inode: InodeId,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
    options?: CallOptions,
  ): Promise<void> {
    return this.requests.xattrSet(inode, name, value, how, options);
  }

  xattrList(inode: InodeId, options?: CallOptions): Promise<Uint8Array[]> {
    return this.requests.xattrList(inode, options);
  }

  xattrRemove(inode: InodeId, name: Uint8Array, options?: CallOptions): Promise<void> {
    return this.requests.xattrRemove(inode, name, options);
  }

  listen(listener: ChangeListener): void {
    this.opener.onForeignChange = (inode) => listener.contentChanged(inode);
    this.watcher.listener = listener;
  }

  watch(cacheMs: number): Promise<void> {
    return this.watcher.watch(cacheMs);
  }

  accessed(inode: InodeId, atimeNs: bigint): void {
    this.opener.accesses.add(inode, atimeNs);
  }

  flush(inode: InodeId, options?: CallOptions): Promise<void> {
    return this.opener.flush(inode, options);
  }

  open(inode: InodeId, options?: CallOptions): Promise<OpenFile> {
    return this.opener.openInode(inode, options);
  }

  create(
    place: Place,
    owner: FileOwner,
    exclusive: boolean,
    options?: NameChangeOptions,
  ): Promise<{ readonly file: OpenFile; readonly created: boolean }> {
    return this.opener.createInode(place, owner, exclusive, options);
  }
}
