/**
 * Changes of names, as a mount asks for them. When the caller gives up, nobody can say whether the change was made: the kernel
 * is told to ask again for the name.
 */
import { isDfsError } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { FileOwner, Inodes } from "../../client/api.ts";
import type { Place } from "../../client/inode-api.ts";
import type { Attributes, FileType } from "../../protocol/messages/common.ts";
import type { Caller } from "../file-system.ts";
import type { KernelView } from "./kernel-view.ts";

/** A file, device, fifo or socket that is to be made. */
export interface NewNode {
  readonly type: FileType;
  readonly mode: number;
  readonly rdev: number;
}

export class MountedNames {
  private readonly inodes: Inodes;
  private readonly kernel: KernelView;
  private readonly refuseReadOnly: () => void;

  constructor(inodes: Inodes, kernel: KernelView, refuseReadOnly: () => void) {
    this.inodes = inodes;
    this.kernel = kernel;
    this.refuseReadOnly = refuseReadOnly;
  }

  mkdir(
    parent: InodeId,
    name: Uint8Array,
    mode: number,
    caller: Caller,
    signal?: AbortSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    const owner = ownerOf(caller, mode);
    return this.adding(place, () => this.inodes.mkdir(place, owner, { signal }));
  }

  mknod(
    parent: InodeId,
    name: Uint8Array,
    { type, mode, rdev }: NewNode,
    caller: Caller,
    signal?: AbortSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    const owner = ownerOf(caller, mode);
    return this.adding(place, async () => {
      if (type !== "file") return this.inodes.mknod(place, type, rdev, owner, { signal });
      const { file } = await this.inodes.create(place, owner, true, { signal });
      const { attributes } = file;
      await file.close();
      return attributes;
    });
  }

  symlink(
    parent: InodeId,
    name: Uint8Array,
    target: Uint8Array,
    caller: Caller,
    signal?: AbortSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    return this.adding(place, () => this.inodes.symlink(place, target, caller, { signal }));
  }

  link(
    inode: InodeId,
    parent: InodeId,
    name: Uint8Array,
    signal?: AbortSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    return this.adding(place, () => this.inodes.link(inode, place, { signal }));
  }

  async unlink(parent: InodeId, name: Uint8Array, signal?: AbortSignal): Promise<void> {
    const place = { parent, name };
    await this.changing([place], () => this.inodes.unlink(place, { signal }));
    this.kernel.removed(parent, name);
  }

  async rmdir(parent: InodeId, name: Uint8Array, signal?: AbortSignal): Promise<void> {
    const place = { parent, name };
    await this.changing([place], () => this.inodes.rmdir(place, { signal }));
    this.kernel.removed(parent, name);
  }

  async rename(
    from: Place,
    to: Place,
    how: "replace" | "noReplace" | "exchange",
    signal?: AbortSignal,
  ): Promise<void> {
    await this.changing([from, to], () => this.inodes.rename(from, to, how, { signal }));
    this.kernel.namesChanged(from.parent);
    this.kernel.namesChanged(to.parent);
  }

  /** Carries out a change of names that the caller may give up. */
  async changing<T>(places: readonly Place[], change: () => Promise<T>): Promise<T> {
    this.refuseReadOnly();
    try {
      return await change();
    } catch (error) {
      if (isDfsError(error, "cancelled")) {
        for (const { parent, name } of places) this.kernel.entryChanged(parent, name);
      }
      throw error;
    }
  }

  private async adding(place: Place, add: () => Promise<Attributes>): Promise<Attributes> {
    return this.kernel.added(place.parent, await this.changing([place], add));
  }
}

/** The owner that a new file gets from who makes it. */
export function ownerOf({ uid, gid }: Caller, mode: number): FileOwner {
  return { mode: mode & 0o7777, uid, gid };
}
