/** From a directory to what is in it. */
import { DfsError } from "../../../base/errors.ts";
import type { InodeId } from "../../../base/ids.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import type { OperationContext } from "./context.ts";
import { changeEntries, newInode, type Birth } from "./inodes.ts";
import { isDot, isDotDot } from "./names.ts";

/** The inode that a checked name leads to, `.` and `..` among them; undefined when there is none. */
export function* childOf(parent: Inode, name: Uint8Array): Operation<Inode | undefined> {
  if (isDot(name)) return parent;
  if (isDotDot(name)) return yield* ask("inode.get", parent.parent);
  const target = yield* ask("dentry.get", parent.id, name);
  return target === undefined ? undefined : yield* namedInode(target.inode);
}

/** The inode of a directory entry, which must exist. */
export function* namedInode(id: InodeId): Operation<Inode> {
  const inode = yield* ask("inode.get", id);
  if (inode === undefined) {
    throw new DfsError(
      "io",
      `the metadata is damaged: a name leads to inode ${id}, which does not exist`,
    );
  }
  return inode;
}

/** An inode that has been made, and the directory of its name as it is since then. */
export interface Child {
  readonly inode: Inode;
  readonly directory: Inode;
}

/** Inserts an inode with its first name and changes the parent. The name must be free. */
export function* addChild(
  context: OperationContext,
  parent: Inode,
  name: Uint8Array,
  birth: Birth,
): Operation<Child> {
  const inode = newInode(context, birth);
  yield* ask("inode.insert", inode);
  yield* ask("dentry.put", parent.id, name, { inode: inode.id, type: inode.type });
  const subdirectories = inode.type === "directory" ? 1 : 0;
  const directory = yield* changeEntries(context, parent, subdirectories);
  return { inode, directory };
}
