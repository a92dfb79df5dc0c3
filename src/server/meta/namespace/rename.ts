/**
 * rename(2) and renameat2(2). The order of the checks is that of Linux, so that a mount and the metadata service name
 * the same error where several apply.
 *
 * A rename never touches content: placement hangs on the inode's base, not on its path.
 */
import { DfsError } from "../../../base/errors.ts";
import type { InodeId } from "../../../base/ids.ts";
import { MAX_PARTS_WALKED } from "../../../base/limits.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { DentryTarget, Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { namedInode } from "./children.ts";
import type { Body, Done, OperationContext } from "./context.ts";
import { requireEmpty } from "./directories.ts";
import { changeEntries, namedDirectory, nextCtime } from "./inodes.ts";
import { checkName, isDot, isDotDot, nameMissing, nameTaken, shownName } from "./names.ts";
import { dropLinkOf } from "./removal.ts";

type RenameBody = Body<typeof messages.rename>;

/** Both ends of a rename. `to` is the same object as `from` when both are one directory. */
interface Ends {
  readonly from: Inode;
  readonly name: Uint8Array;
  readonly source: DentryTarget;
  readonly to: Inode;
  readonly newName: Uint8Array;
}

/**
 * @throws DfsError `notFound`, `exists` (noReplace), `invalid` (into its own descendant; `.` and `..`), `isDirectory`,
 * `notDirectory`, `notEmpty`, `tooManyLinks`, `nameTooLong`.
 */
export function* rename(
  context: OperationContext,
  body: RenameBody,
): Operation<Done<typeof messages.rename>> {
  checkNames(body);
  const from = yield* namedDirectory(body.parent);
  const to = body.newParent === body.parent ? from : yield* namedDirectory(body.newParent);
  const source = yield* ask("dentry.get", from.id, body.name);
  if (source === undefined) throw nameMissing(body.name);
  const target = yield* ask("dentry.get", to.id, body.newName);
  if (target === undefined && body.how === "exchange") throw nameMissing(body.newName);
  if (target !== undefined && body.how === "noReplace") throw nameTaken(body.newName);
  const ends: Ends = { from, name: body.name, source, to, newName: body.newName };
  yield* refuseCycle(ends, target, body.how);
  if (target?.inode === source.inode) return { orphan: null };
  if (target !== undefined && body.how !== "exchange") {
    return { orphan: yield* replace(context, ends, target) };
  }
  if (target === undefined) yield* moveName(context, ends);
  else yield* exchange(context, ends, target);
  return { orphan: null };
}

/** Returns the replaced inode when it is the caller's alone from now on (`dropLinkOf`). */
function* replace(
  context: OperationContext,
  ends: Ends,
  target: DentryTarget,
): Operation<InodeId | null> {
  if (ends.source.type === "directory" && target.type !== "directory") {
    throw new DfsError(
      "notDirectory",
      `cannot rename the directory ${shownName(ends.name)} over ${shownName(ends.newName)}: it is not a directory`,
    );
  }
  if (ends.source.type !== "directory" && target.type === "directory") {
    throw new DfsError(
      "isDirectory",
      `cannot rename ${shownName(ends.name)} over ${shownName(ends.newName)}: it is a directory`,
    );
  }
  const replaced = yield* namedInode(target.inode);
  if (replaced.type === "directory") yield* requireEmpty(replaced, ends.newName);
  yield* moveName(context, ends, replaced);
  return yield* dropLinkOf(context, replaced);
}

/** Moves the name; `replaced` is the inode that had the new one. */
function* moveName(context: OperationContext, ends: Ends, replaced?: Inode): Operation<void> {
  yield* ask("dentry.delete", ends.from.id, ends.name);
  yield* ask("dentry.put", ends.to.id, ends.newName, ends.source);
  const moved = ends.source.type === "directory" ? 1 : 0;
  const dropped = replaced?.type === "directory" ? 1 : 0;
  yield* changeParents(context, ends, -moved, moved - dropped);
  yield* settle(context, ends.source, ends.to);
}

function* exchange(context: OperationContext, ends: Ends, target: DentryTarget): Operation<void> {
  yield* ask("dentry.put", ends.from.id, ends.name, target);
  yield* ask("dentry.put", ends.to.id, ends.newName, ends.source);
  const there = ends.source.type === "directory" ? 1 : 0;
  const back = target.type === "directory" ? 1 : 0;
  yield* changeParents(context, ends, back - there, there - back);
  yield* settle(context, ends.source, ends.to);
  yield* settle(context, target, ends.from);
}

/** Writes both parents, each with the change in the number of its subdirectories. */
function* changeParents(
  context: OperationContext,
  ends: Ends,
  fromDelta: number,
  toDelta: number,
): Operation<void> {
  if (ends.from === ends.to) {
    yield* changeEntries(context, ends.from, fromDelta + toDelta);
    return;
  }
  yield* changeEntries(context, ends.from, fromDelta);
  yield* changeEntries(context, ends.to, toDelta);
}

/** The inode has a new name, and when it is a directory, maybe a new parent. */
function* settle(context: OperationContext, target: DentryTarget, parent: Inode): Operation<void> {
  const inode = yield* namedInode(target.inode);
  yield* ask("inode.update", {
    ...inode,
    parent: inode.type === "directory" ? parent.id : inode.parent,
    ctimeNs: nextCtime(context, inode),
  });
}

/**
 * A directory cannot move into itself or below; and what is above the source is a directory that is not empty.
 * @throws DfsError `invalid`, `notEmpty`, `nameTooLong`.
 */
function* refuseCycle(
  ends: Ends,
  target: DentryTarget | undefined,
  how: RenameBody["how"],
): Operation<void> {
  if (ends.from === ends.to) return;
  if (ends.source.type === "directory" && (yield* isWithin(ends.to, ends.source))) {
    throw new DfsError("invalid", `cannot move the directory ${shownName(ends.name)} into itself`);
  }
  if (target?.type !== "directory" || !(yield* isWithin(ends.from, target))) return;
  if (how === "exchange") {
    throw new DfsError(
      "invalid",
      `cannot exchange ${shownName(ends.name)} with a directory above it`,
    );
  }
  throw new DfsError("notEmpty", `the directory ${shownName(ends.newName)} is not empty`);
}

/**
 * True when `directory` is `ancestor` or below it.
 * @throws DfsError `nameTooLong` when it is deeper than any path leads: others wait until the walk up has ended.
 */
function* isWithin(directory: Inode, ancestor: DentryTarget): Operation<boolean> {
  let at = directory;
  for (let walked = 0; walked <= MAX_PARTS_WALKED; walked++) {
    if (at.id === ancestor.inode) return true;
    if (at.parent === at.id) return false; // the root
    at = yield* namedInode(at.parent);
  }
  throw new DfsError(
    "nameTooLong",
    `cannot move to or from the directory with inode number ${directory.id}: it is in more than ${MAX_PARTS_WALKED} directories`,
  );
}

function checkNames(body: RenameBody): void {
  checkName(body.name);
  checkName(body.newName);
  if (isDot(body.name) || isDotDot(body.name)) throw dotsRenamed(body.name);
  if (!isDot(body.newName) && !isDotDot(body.newName)) return;
  throw body.how === "noReplace" ? nameTaken(body.newName) : dotsRenamed(body.newName);
}

/** Linux says EBUSY here; POSIX allows EINVAL as well. */
function dotsRenamed(name: Uint8Array): DfsError {
  return new DfsError("invalid", `cannot rename from or to ${shownName(name)}`);
}
