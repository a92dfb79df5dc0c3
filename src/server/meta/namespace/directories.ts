/** Directories: looking up names, listing, making and removing. */
import { DfsError } from "../../../base/errors.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { addChild, childOf, namedInode } from "./children.ts";
import type { Body, Done, OperationContext } from "./context.ts";
import {
  attributesOf,
  changeEntries,
  inherit,
  liveDirectory,
  namedDirectory,
  NEW_DIRECTORY_NLINK,
} from "./inodes.ts";
import {
  checkName,
  checkNewName,
  isDot,
  isDotDot,
  nameMissing,
  nameTaken,
  shownName,
} from "./names.ts";
import { dropLink } from "./removal.ts";

/** @throws DfsError `notFound`, `notDirectory`, `invalid`, `nameTooLong`. */
export function* lookup(
  _context: OperationContext,
  body: Body<typeof messages.lookup>,
): Operation<Done<typeof messages.lookup>> {
  checkName(body.name);
  const parent = yield* namedDirectory(body.parent);
  const inode = yield* childOf(parent, body.name);
  if (inode === undefined) throw nameMissing(body.name);
  return { attributes: attributesOf(inode) };
}

/** @throws DfsError `stale`, `notDirectory`, `invalid`. */
export function* readdir(
  _context: OperationContext,
  body: Body<typeof messages.readdir>,
): Operation<Done<typeof messages.readdir>> {
  if (body.limit < 1) throw new DfsError("invalid", "a page of a listing needs room for a name");
  const directory = yield* liveDirectory(body.directory);
  const after = body.after ?? undefined;
  const wanted = body.limit + 1;
  const entries = body.withAttributes
    ? (yield* ask("dentry.listWithInodes", directory.id, after, wanted)).map((each) => ({
        name: each.name,
        inode: each.inode.id,
        type: each.inode.type,
        attributes: attributesOf(each.inode),
        hasXattrs: each.hasXattrs,
      }))
    : (yield* ask("dentry.list", directory.id, after, wanted)).map((each) => ({
        ...each,
        attributes: null,
        hasXattrs: null,
      }));
  return { entries: entries.slice(0, body.limit), more: entries.length > body.limit };
}

/** @throws DfsError `exists`, `notFound`, `notDirectory`, `tooManyLinks`, `invalid`, `nameTooLong`. */
export function* mkdir(
  context: OperationContext,
  body: Body<typeof messages.mkdir>,
): Operation<Done<typeof messages.mkdir>> {
  checkNewName(body.name);
  const parent = yield* namedDirectory(body.parent);
  if ((yield* ask("dentry.get", parent.id, body.name)) !== undefined) throw nameTaken(body.name);
  const made = yield* addChild(context, parent, body.name, {
    ...inherit(parent, "directory", { mode: body.mode, uid: body.uid, gid: body.gid }),
    type: "directory",
    nlink: NEW_DIRECTORY_NLINK,
    parent: parent.id,
  });
  return { attributes: attributesOf(made.inode), directory: attributesOf(made.directory) };
}

/** @throws DfsError `notEmpty` (`..` is never empty), `notDirectory`, `notFound`, `invalid` (also for `.`), `nameTooLong`. */
export function* rmdir(
  context: OperationContext,
  body: Body<typeof messages.rmdir>,
): Operation<Done<typeof messages.rmdir>> {
  checkName(body.name);
  if (isDot(body.name))
    throw new DfsError("invalid", 'cannot remove ".": name the directory itself');
  if (isDotDot(body.name)) throw new DfsError("notEmpty", 'cannot remove "..": it is not empty');
  const parent = yield* namedDirectory(body.parent);
  const target = yield* ask("dentry.get", parent.id, body.name);
  if (target === undefined) throw nameMissing(body.name);
  if (target.type !== "directory") {
    throw new DfsError(
      "notDirectory",
      `cannot remove ${shownName(body.name)}: it is not a directory`,
    );
  }
  const inode = yield* namedInode(target.inode);
  yield* requireEmpty(inode, body.name);
  yield* ask("dentry.delete", parent.id, body.name);
  const directory = yield* changeEntries(context, parent, -1);
  yield* dropLink(context, inode);
  return { directory: attributesOf(directory) };
}

/** @throws DfsError `notEmpty` */
export function* requireEmpty(directory: Inode, name: Uint8Array): Operation<void> {
  const entries = yield* ask("dentry.list", directory.id, undefined, 1);
  if (entries.length > 0) {
    throw new DfsError("notEmpty", `the directory ${shownName(name)} is not empty`);
  }
}
