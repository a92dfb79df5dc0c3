/** Every operation of the metadata service's namespace and content logic, in one place to import from. */
export { getattr, setattr } from "./attributes.ts";
export { commit } from "./content/commit.ts";
export { explain, type StateOf } from "./content/explain.ts";
export {
  deadBlocks,
  forgetBlock,
  forgetReplica,
  judgeBlock,
  type DeadBlock,
  type Verdict,
} from "./content/garbage.ts";
export { map } from "./content/map.ts";
export { nameless, place, put } from "./content/place.ts";
export { forgetReservation, orphans, reserve, type Orphans } from "./content/reservations.ts";
export type { Body, Done, IdSource, Moment, OperationContext } from "./context.ts";
export { create, mknod } from "./create.ts";
export { lookup, mkdir, readdir, rmdir } from "./directories.ts";
export { formatNamespace, type RootOwner } from "./format.ts";
export { link, unlink } from "./links.ts";
export { executeOnce, forgetReplies, liveSession } from "./once.ts";
export { open, release, reopen } from "./opens.ts";
export { reclaimStep, type ReclaimProgress } from "./removal.ts";
export { rename } from "./rename.ts";
export { resolve } from "./resolve.ts";
export { endSession } from "./sessions.ts";
export { readlink, symlink } from "./symlinks.ts";
export { xattrGet, xattrList, xattrRemove, xattrSet } from "./xattr.ts";
