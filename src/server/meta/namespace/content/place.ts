/** Files that appear whole: made without a name, filled, and put in place of what had the name. */
import { DfsError } from "../../../../base/errors.ts";
import type { InodeId } from "../../../../base/ids.ts";
import type * as messages from "../../../../protocol/messages/content.ts";
import type { DentryTarget, Inode } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import { namedInode } from "../children.ts";
import { dropCapabilities } from "../capabilities.ts";
import type { Body, Done, OperationContext } from "../context.ts";
import {
  attributesOf,
  changeEntries,
  inherit,
  liveInode,
  namedDirectory,
  newInode,
  nextCtime,
  requireFile,
} from "../inodes.ts";
import { checkName, checkNewName, isDot, isDotDot, nameTaken, shownName } from "../names.ts";
import { addOpen } from "../opens.ts";
import { dropLink } from "../removal.ts";
import { fill } from "./commit.ts";

/** How a file takes over a name: the fields that `place` and `put` share. */
type Takeover = Omit<Body<typeof messages.place>, "inode">;

export function* nameless(
  context: OperationContext,
  body: Body<typeof messages.nameless>,
): Operation<Done<typeof messages.nameless>> {
  const inode = newInode(context, { ...birthOf(body), type: "file", nlink: 0 });
  yield* ask("inode.insert", inode);
  yield* addOpen(context.session, inode.id);
  return { attributes: attributesOf(inode) };
}

/**
 * @throws DfsError `exists`, `isDirectory`, `notFound`, `notDirectory`, `nameTooLong`, `stale`; `invalid` when the inode
 * has a name or is not opened by this session.
 */
export function* place(
  context: OperationContext,
  body: Body<typeof messages.place>,
): Operation<Done<typeof messages.place>> {
  checkPlaceName(body.name, body.exclusive);
  const inode = requireFile(yield* liveInode(body.inode));
  if (inode.nlink > 0) {
    throw new DfsError("invalid", `cannot place inode ${inode.id}: it has a name already`);
  }
  if ((yield* ask("open.get", context.session, inode.id)) === 0) {
    throw new DfsError("invalid", `cannot place inode ${inode.id}: this session has not opened it`);
  }
  const { placed, replaced } = yield* takeOver(context, inode, body);
  yield* ask("inode.update", placed);
  return { attributes: attributesOf(placed), replaced };
}

/** @throws DfsError as `commit` and `place`. */
export function* put(
  context: OperationContext,
  body: Body<typeof messages.put>,
): Operation<Done<typeof messages.put>> {
  checkPlaceName(body.name, body.exclusive);
  const inode = newInode(context, { ...birthOf(body), type: "file", nlink: 0 });
  const filled = yield* fill(context, inode, body, body.size);
  const { placed, replaced } = yield* takeOver(context, filled, body);
  yield* ask("inode.insert", placed);
  return { attributes: attributesOf(placed), replaced };
}

/** Gives the name to `inode`, which has none; the caller writes the inode that is returned. */
function* takeOver(
  context: OperationContext,
  inode: Inode,
  how: Takeover,
): Operation<{ readonly placed: Inode; readonly replaced: boolean }> {
  const parent = yield* namedDirectory(how.parent);
  const target = yield* ask("dentry.get", parent.id, how.name);
  const replaced = target === undefined ? undefined : yield* replaceable(target, how);
  yield* ask("dentry.put", parent.id, how.name, { inode: inode.id, type: inode.type });
  yield* changeEntries(context, parent);
  const ctimeNs = nextCtime(context, inode);
  const kept = replaced?.type === "file" && how.keepReplaced ? replaced : undefined;
  if (kept !== undefined) yield* copyXattrs(kept.id, inode.id);
  if (replaced !== undefined) yield* dropLink(context, replaced);
  const placed: Inode = {
    ...(kept === undefined ? inherit(parent, "file", inode) : withOwnerOf(inode, kept)),
    nlink: 1,
    atimeNs: how.atimeNs ?? ctimeNs,
    mtimeNs: how.mtimeNs ?? ctimeNs,
    ctimeNs,
  };
  return { placed, replaced: replaced !== undefined };
}

/** The inode that gives way: a regular file or a symbolic link. */
function* replaceable(target: DentryTarget, how: Takeover): Operation<Inode> {
  if (how.exclusive) throw nameTaken(how.name);
  if (target.type === "directory") throw overDirectory(how.name);
  if (target.type !== "file" && target.type !== "symlink") {
    throw new DfsError("exists", `cannot replace ${shownName(how.name)}: it is a ${target.type}`);
  }
  return yield* namedInode(target.inode);
}

/** Replaces the attributes of `to` with those of `from`, but for its capabilities: the content is another one. */
function* copyXattrs(from: InodeId, to: InodeId): Operation<void> {
  yield* ask("xattr.deleteAll", to);
  for (const { name, value } of yield* ask("xattr.list", from)) {
    yield* ask("xattr.put", to, name, value);
  }
  yield* dropCapabilities(to);
}

function withOwnerOf(inode: Inode, kept: Inode): Inode {
  return { ...inode, mode: kept.mode, uid: kept.uid, gid: kept.gid };
}

function birthOf(body: Body<typeof messages.nameless>): Body<typeof messages.nameless> {
  return { mode: body.mode, uid: body.uid, gid: body.gid, base: body.base };
}

/** `.` and `..` are directories. */
function checkPlaceName(name: Uint8Array, exclusive: boolean): void {
  if (exclusive) return checkNewName(name);
  checkName(name);
  if (isDot(name) || isDotDot(name)) throw overDirectory(name);
}

function overDirectory(name: Uint8Array): DfsError {
  return new DfsError("isDirectory", `cannot replace ${shownName(name)}: it is a directory`);
}
