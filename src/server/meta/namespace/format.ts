/** The namespace of a new cluster: a root directory and nothing in it. */
import { DfsError } from "../../../base/errors.ts";
import { ROOT_INODE } from "../../../base/ids.ts";
import { ask, type Operation } from "../store/store.ts";
import { NEW_DIRECTORY_NLINK } from "./inodes.ts";

/** Owner and permission bits of the root directory. */
export interface RootOwner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

const SUPERUSER: RootOwner = { mode: 0o755, uid: 0, gid: 0 };

/**
 * Makes the root directory, which is its own parent.
 * @throws DfsError `exists` when there is one.
 */
export function* formatNamespace(nowNs: bigint, owner: RootOwner = SUPERUSER): Operation<void> {
  if ((yield* ask("inode.get", ROOT_INODE)) !== undefined) {
    throw new DfsError("exists", "the metadata store has a root directory already");
  }
  yield* ask("inode.insert", {
    id: ROOT_INODE,
    type: "directory",
    mode: owner.mode,
    uid: owner.uid,
    gid: owner.gid,
    nlink: NEW_DIRECTORY_NLINK,
    size: 0,
    allocated: 0,
    rdev: 0,
    atimeNs: nowNs,
    mtimeNs: nowNs,
    ctimeNs: nowNs,
    version: 1n,
    base: 0,
    parent: ROOT_INODE,
  });
}
