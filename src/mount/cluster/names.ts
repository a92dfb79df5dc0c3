/**
 * Changes of names, as a mount asks for them. When the caller gives up, nobody can say whether the change was made: the kernel
 * is told to ask again for the name.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import { isDfsError } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { FileOwner, Inodes } from "../../client/api.ts";
import type { NameChangeOptions, Place } from "../../client/inode-api.ts";
import type { Attributes, FileType } from "../../protocol/messages/common.ts";
import type { Caller } from "../file-system.ts";
import type { KernelView } from "./kernel-view.ts";
import type { KnownDirectories, NameChange } from "./known-directories.ts";

/** A file, device, fifo or socket that is to be made. */
export interface NewNode {
  readonly type: FileType;
  readonly mode: number;
  readonly rdev: number;
}

export class MountedNames {
  private readonly inodes: Inodes;
  private readonly kernel: KernelView;
  private readonly known: KnownDirectories;
  private readonly refuseReadOnly: () => void;

  constructor(
    inodes: Inodes,
    kernel: KernelView,
    known: KnownDirectories,
    refuseReadOnly: () => void,
  ) {
    this.inodes = inodes;
    this.kernel = kernel;
    this.known = known;
    this.refuseReadOnly = refuseReadOnly;
  }

  async mkdir(
    parent: InodeId,
    name: Uint8Array,
    mode: number,
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    const owner = ownerOf(caller, mode);
    const moment = this.known.moment();
    const made = await this.adding(place, signal, (options) =>
      this.inodes.mkdir(place, owner, options),
    );
    this.known.made(made, moment);
    return made;
  }

  mknod(
    parent: InodeId,
    name: Uint8Array,
    { type, mode, rdev }: NewNode,
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    const owner = ownerOf(caller, mode);
    return this.adding(place, signal, async (options) => {
      if (type !== "file") return this.inodes.mknod(place, type, rdev, owner, options);
      const { file } = await this.inodes.create(place, owner, true, options);
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
    signal?: CancelSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    return this.adding(place, signal, (options) =>
      this.inodes.symlink(place, target, caller, options),
    );
  }

  link(
    inode: InodeId,
    parent: InodeId,
    name: Uint8Array,
    signal?: CancelSignal,
  ): Promise<Attributes> {
    const place = { parent, name };
    return this.adding(place, signal, (options) => this.inodes.link(inode, place, options));
  }

  async unlink(parent: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<void> {
    const place = { parent, name };
    await this.changing(place, { removed: name }, signal, (options) =>
      this.inodes.unlink(place, options),
    );
    this.kernel.removed(parent, name);
  }

  async rmdir(parent: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<void> {
    const place = { parent, name };
    await this.changing(place, { removed: name }, signal, async (options) => {
      await this.inodes.rmdir(place, options);
      this.known.forgetAllAttributes(); // the directory may be open, and has no name any more
    });
    this.kernel.removed(parent, name);
  }

  async rename(
    from: Place,
    to: Place,
    how: "replace" | "noReplace" | "exchange",
    signal?: CancelSignal,
  ): Promise<void> {
    this.refuseReadOnly();
    try {
      await this.inodes.rename(from, to, how, { signal });
    } catch (error) {
      this.noteUnsure(error, [from, to]);
      throw error;
    } finally {
      this.known.forget(from.parent);
      this.known.forget(to.parent);
      this.known.forgetAllAttributes(); // what was moved, or replaced, may be a directory
    }
    this.kernel.namesChanged(from.parent);
    this.kernel.namesChanged(to.parent);
  }

  /** Carries out a change of a name that the caller may give up, and remembers what it tells of the directory. */
  async changing<T>(
    place: Place,
    change: NameChange,
    signal: CancelSignal | undefined,
    carryOut: (options: NameChangeOptions) => Promise<T>,
  ): Promise<T> {
    this.refuseReadOnly();
    const moment = this.known.moment();
    let told: Attributes | undefined;
    const onDirectory = (directory: Attributes): void => void (told = directory);
    try {
      return await carryOut({ signal, onDirectory });
    } catch (error) {
      this.noteUnsure(error, [place]);
      throw error;
    } finally {
      if (told === undefined) this.known.forget(place.parent);
      else this.known.changed(told, change, moment);
    }
  }

  /** When the caller has given up, nobody knows what the names mean now. */
  private noteUnsure(error: unknown, places: readonly Place[]): void {
    if (!isDfsError(error, "cancelled")) return;
    for (const { parent, name } of places) this.kernel.entryChanged(parent, name);
  }

  private async adding(
    place: Place,
    signal: CancelSignal | undefined,
    add: (options: NameChangeOptions) => Promise<Attributes>,
  ): Promise<Attributes> {
    const { parent, name } = place;
    return this.kernel.added(parent, await this.changing(place, { added: name }, signal, add));
  }
}

/** The owner that a new file gets from who makes it. */
export function ownerOf({ uid, gid }: Caller, mode: number): FileOwner {
  return { mode: mode & 0o7777, uid, gid };
}
