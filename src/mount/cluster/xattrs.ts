/**
 * Extended attributes, as a mount asks for them.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { Inodes } from "../../client/api.ts";
import type { AbsentXattrs } from "./absent-xattrs.ts";

const SYSTEM = new TextEncoder().encode("system.");
const CAPABILITY = new TextEncoder().encode("security.capability");

/** One for all: `ls -l` gets to know it for each name, and errors are large. */
const ABSENT = new DfsError("noAttribute", "no such attribute");

export class MountedXattrs {
  private readonly inodes: Inodes;
  private readonly absent: AbsentXattrs;

  constructor(inodes: Inodes, absent: AbsentXattrs) {
    this.inodes = inodes;
    this.absent = absent;
  }

  /** @throws DfsError `noAttribute`, also when that is only remembered; `notSupported`. */
  async get(inode: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<Uint8Array> {
    refuseSystemAttribute(name);
    if (this.absent.has(inode, name)) throw ABSENT;
    const { moment } = this.absent;
    try {
      return await this.inodes.xattrGet(inode, name, { signal });
    } catch (error) {
      if (isDfsError(error, "noAttribute")) this.absent.learn(inode, name, moment);
      throw error;
    }
  }

  async set(
    inode: InodeId,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace",
    signal?: CancelSignal,
  ): Promise<void> {
    refuseSystemAttribute(name);
    // They go with a change of the content: what was written before must not be committed after.
    if (Buffer.compare(name, CAPABILITY) === 0) await this.inodes.flush(inode, { signal });
    try {
      await this.inodes.xattrSet(inode, name, value, how, { signal });
    } finally {
      this.absent.forget(inode); // also what was asked for while it was being set
    }
  }

  async remove(inode: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<void> {
    refuseSystemAttribute(name);
    await this.inodes.xattrRemove(inode, name, { signal });
  }
}

/** ACLs and their like, of which dfs knows nothing: stored as attributes they would be believed and not obeyed. */
function refuseSystemAttribute(name: Uint8Array): void {
  if (SYSTEM.some((byte, index) => name[index] !== byte)) return;
  throw new DfsError("notSupported", "attributes of the system (ACLs) are not kept here");
}
