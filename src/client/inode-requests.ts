/**
 * Requests about inodes and names in directories, with the fields that the messages want.
 */
import type { InodeId } from "../base/ids.ts";
import { readdirPage, type DirectoryPage } from "../protocol/directory-page.ts";
import type { Attributes, FileType } from "../protocol/messages/common.ts";
import { clone, punch } from "../protocol/messages/content.ts";
import * as messages from "../protocol/messages/namespace.ts";
import type { FileOwner, SetAttributes } from "./api.ts";
import type { CallOptions, NameChangeOptions, Place } from "./inode-api.ts";
import type { Session } from "./session.ts";

export class InodeRequests {
  private readonly session: Session;

  constructor(session: Session) {
    this.session = session;
  }

  async lookup(place: Place, options?: CallOptions): Promise<Attributes> {
    return (await this.session.ask(messages.lookup, place, options)).attributes;
  }

  async getattr(inode: InodeId, options?: CallOptions): Promise<Attributes> {
    return (await this.session.ask(messages.getattr, { inode }, options)).attributes;
  }

  async setattr(inode: InodeId, change: SetAttributes, options?: CallOptions): Promise<Attributes> {
    const { mode = null, uid = null, gid = null, size = null, atimeNs, mtimeNs } = change;
    const body = {
      inode,
      mode,
      uid,
      gid,
      size,
      atimeNs: typeof atimeNs === "bigint" ? atimeNs : null,
      mtimeNs: typeof mtimeNs === "bigint" ? mtimeNs : null,
      atimeNow: atimeNs === "now",
      mtimeNow: mtimeNs === "now",
    };
    return (await this.session.change(messages.setattr, body, options)).attributes;
  }

  /** A part of the range, from its start; `done` says how long that is. */
  async punch(
    inode: InodeId,
    range: { readonly offset: number; readonly length: number },
    minSize: number,
    options?: CallOptions,
  ): Promise<{ readonly attributes: Attributes; readonly done: number }> {
    return this.session.change(punch, { inode, ...range, minSize }, options);
  }

  /** As `punch`; `done` is 0 at the end of the source. */
  async clone(
    source: { readonly inode: InodeId; readonly offset: number },
    target: { readonly inode: InodeId; readonly offset: number },
    length: number,
    options?: CallOptions,
  ): Promise<{ readonly attributes: Attributes; readonly done: number }> {
    const from = { source: source.inode, sourceOffset: source.offset };
    return this.session.change(clone, { ...from, ...target, length }, options);
  }

  async mkdir(
    { parent, name }: Place,
    { mode, uid, gid }: FileOwner,
    options?: NameChangeOptions,
  ): Promise<Attributes> {
    const body = { parent, name, mode, uid, gid };
    return toldOf(await this.session.change(messages.mkdir, body, options), options).attributes;
  }

  async mknod(
    { parent, name }: Place,
    type: FileType,
    rdev: number,
    { mode, uid, gid }: FileOwner,
    options?: NameChangeOptions,
  ): Promise<Attributes> {
    const body = { parent, name, mode, uid, gid, type, rdev };
    return toldOf(await this.session.change(messages.mknod, body, options), options).attributes;
  }

  async symlink(
    { parent, name }: Place,
    target: Uint8Array,
    { uid, gid }: { readonly uid: number; readonly gid: number },
    options?: NameChangeOptions,
  ): Promise<Attributes> {
    const body = { parent, name, uid, gid, target };
    return toldOf(await this.session.change(messages.symlink, body, options), options).attributes;
  }

  async link(
    inode: InodeId,
    { parent, name }: Place,
    options?: NameChangeOptions,
  ): Promise<Attributes> {
    return toldOf(
      await this.session.change(messages.link, { inode, parent, name }, options),
      options,
    ).attributes;
  }

  /** Returns the inode when it has no name any more and is open here and nowhere else. */
  async unlink({ parent, name }: Place, options?: NameChangeOptions): Promise<InodeId | undefined> {
    const changed = await this.session.change(messages.unlink, { parent, name }, options);
    return toldOf(changed, options).orphan ?? undefined;
  }

  async rmdir({ parent, name }: Place, options?: NameChangeOptions): Promise<void> {
    toldOf(await this.session.change(messages.rmdir, { parent, name }, options), options);
  }

  /** Returns the inode that was replaced, when it has no name any more and is open here and nowhere else. */
  async rename(
    { parent, name }: Place,
    to: Place,
    how: "replace" | "noReplace" | "exchange",
    options?: CallOptions,
  ): Promise<InodeId | undefined> {
    const body = { parent, name, newParent: to.parent, newName: to.name, how };
    const { orphan } = await this.session.change(messages.rename, body, options);
    return orphan ?? undefined;
  }

  async readlink(inode: InodeId, options?: CallOptions): Promise<Uint8Array> {
    return (await this.session.ask(messages.readlink, { inode }, options)).target;
  }

  readdir(
    directory: InodeId,
    after: Uint8Array | undefined,
    limit: number,
    options?: CallOptions,
  ): Promise<DirectoryPage> {
    const request = { directory, after: after ?? null, limit, withAttributes: true };
    return this.session.ask(readdirPage, request, options);
  }

  async xattrGet(inode: InodeId, name: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    return (await this.session.ask(messages.xattrGet, { inode, name }, options)).value;
  }

  async xattrList(inode: InodeId, options?: CallOptions): Promise<Uint8Array[]> {
    return (await this.session.ask(messages.xattrList, { inode }, options)).names;
  }

  async xattrSet(
    inode: InodeId,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
    options?: CallOptions,
  ): Promise<void> {
    await this.session.change(messages.xattrSet, { inode, name, value, how }, options);
  }

  async xattrRemove(inode: InodeId, name: Uint8Array, options?: CallOptions): Promise<void> {
    await this.session.change(messages.xattrRemove, { inode, name }, options);
  }
}

/** The reply to a change of a name, after the caller has been told of the directory. */
export function toldOf<Reply extends { readonly directory: Attributes | null }>(
  reply: Reply,
  options: NameChangeOptions | undefined,
): Reply {
  if (reply.directory !== null) options?.onDirectory?.(reply.directory);
  return reply;
}
