/** Hard links, and the removal of names of everything but directories. */
import { DfsError } from "../../../base/errors.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import { ask, type Operation } from "../store/store.ts";
import { namedInode } from "./children.ts";
import type { Body, Done, OperationContext } from "./context.ts";
import {
  attributesOf,
  changeEntries,
  checkLinks,
  liveInode,
  namedDirectory,
  nextCtime,
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
import { dropLinkOf } from "./removal.ts";

/**
 * Gives an inode one more name.
 * @throws DfsError `notPermitted` for a directory, `notFound` when the inode has no name any more, `exists`,
 * `tooManyLinks`, `stale`, `notDirectory`, `invalid`, `nameTooLong`.
 */
export function* link(
  context: OperationContext,
  body: Body<typeof messages.link>,
): Operation<Done<typeof messages.link>> {
  checkNewName(body.name);
  const inode = yield* liveInode(body.inode);
  const parent = yield* namedDirectory(body.parent);
  if ((yield* ask("dentry.get", parent.id, body.name)) !== undefined) throw nameTaken(body.name);
  if (inode.type === "directory") {
    throw new DfsError("notPermitted", `cannot link ${shownName(body.name)} to a directory`);
  }
  if (inode.nlink === 0) {
    throw new DfsError("notFound", `cannot link to inode ${inode.id}: its last name was removed`);
  }
  checkLinks(inode.nlink + 1);
  const linked = { ...inode, nlink: inode.nlink + 1, ctimeNs: nextCtime(context, inode) };
  yield* ask("inode.update", linked);
  yield* ask("dentry.put", parent.id, body.name, { inode: inode.id, type: inode.type });
  const directory = yield* changeEntries(context, parent);
  return { attributes: attributesOf(linked), directory: attributesOf(directory) };
}

/** @throws DfsError `isDirectory`, `notFound`, `notDirectory`, `invalid`, `nameTooLong`. */
export function* unlink(
  context: OperationContext,
  body: Body<typeof messages.unlink>,
): Operation<Done<typeof messages.unlink>> {
  checkName(body.name);
  if (isDot(body.name) || isDotDot(body.name)) throw directoryUnlinked(body.name);
  const parent = yield* namedDirectory(body.parent);
  const target = yield* ask("dentry.get", parent.id, body.name);
  if (target === undefined) throw nameMissing(body.name);
  if (target.type === "directory") throw directoryUnlinked(body.name);
  const inode = yield* namedInode(target.inode);
  yield* ask("dentry.delete", parent.id, body.name);
  const directory = yield* changeEntries(context, parent);
  return { orphan: yield* dropLinkOf(context, inode), directory: attributesOf(directory) };
}

function directoryUnlinked(name: Uint8Array): DfsError {
  return new DfsError("isDirectory", `cannot unlink ${shownName(name)}: it is a directory`);
}
