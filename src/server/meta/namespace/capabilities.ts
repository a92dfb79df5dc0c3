/**
 * The capabilities of a program file, an extended attribute of Linux. They are for the content and the owner that they were given
 * to: whoever changes one of these takes them away. Programs rely on that, and a mount's kernel leaves it to the file system.
 */
import type { InodeId } from "../../../base/ids.ts";
import { ask, type Operation } from "../store/store.ts";

const CAPABILITY = new TextEncoder().encode("security.capability");

/** The content or the owner of the inode is another one. */
export function* dropCapabilities(inode: InodeId): Operation<void> {
  yield* ask("xattr.delete", inode, CAPABILITY);
}
