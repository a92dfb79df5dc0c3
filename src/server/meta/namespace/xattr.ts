/** Extended attributes, as in xattr(7): names and values are bytes that the service does not interpret. */
import { DfsError } from "../../../base/errors.ts";
import type { InodeId } from "../../../base/ids.ts";
import {
  MAX_XATTR_BYTES,
  MAX_XATTR_LIST_BYTES,
  MAX_XATTR_NAME_BYTES,
  MAX_XATTR_VALUE_BYTES,
} from "../../../base/limits.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import type { Body, Done, Nothing, OperationContext } from "./context.ts";
import { liveInode, nextCtime } from "./inodes.ts";
import { shownName } from "./names.ts";

/** @throws DfsError `noAttribute`, `outOfRange` (the name's length), `invalid`, `stale`. */
export function* xattrGet(
  _context: OperationContext,
  body: Body<typeof messages.xattrGet>,
): Operation<Done<typeof messages.xattrGet>> {
  checkXattrName(body.name);
  const inode = yield* liveInode(body.inode);
  const value = yield* ask("xattr.get", inode.id, body.name);
  if (value === undefined) throw noAttribute(body.name);
  return { value };
}

/** Names in byte order. @throws DfsError `stale`. */
export function* xattrList(
  _context: OperationContext,
  body: Body<typeof messages.xattrList>,
): Operation<Done<typeof messages.xattrList>> {
  const inode = yield* liveInode(body.inode);
  return { names: yield* ask("xattr.names", inode.id) };
}

/**
 * @throws DfsError `exists` (how: create), `noAttribute` (how: replace), `outOfRange` (length of name or value),
 * `noSpace` (too many names, or too long values in all), `invalid`, `stale`.
 */
export function* xattrSet(
  context: OperationContext,
  body: Body<typeof messages.xattrSet>,
): Operation<Nothing> {
  checkXattrName(body.name);
  if (body.value.length > MAX_XATTR_VALUE_BYTES) {
    throw new DfsError(
      "outOfRange",
      `the value of ${shownName(body.name)} has ${body.value.length} bytes; at most ${MAX_XATTR_VALUE_BYTES} are allowed`,
    );
  }
  const inode = yield* liveInode(body.inode);
  const before = yield* ask("xattr.get", inode.id, body.name);
  const exists = before !== undefined;
  if (exists && body.how === "create") {
    throw new DfsError("exists", `the attribute ${shownName(body.name)} exists already`);
  }
  if (!exists && body.how === "replace") throw noAttribute(body.name);
  yield* requireRoom(
    inode.id,
    exists ? 0 : body.name.length + 1,
    body.value.length - (before?.length ?? 0),
  );
  yield* ask("xattr.put", inode.id, body.name, body.value);
  yield* touch(context, inode);
  return {};
}

/** @throws DfsError `noAttribute`, `outOfRange` (the name's length), `invalid`, `stale`. */
export function* xattrRemove(
  context: OperationContext,
  body: Body<typeof messages.xattrRemove>,
): Operation<Nothing> {
  checkXattrName(body.name);
  const inode = yield* liveInode(body.inode);
  if ((yield* ask("xattr.get", inode.id, body.name)) === undefined) throw noAttribute(body.name);
  yield* ask("xattr.delete", inode.id, body.name);
  yield* touch(context, inode);
  return {};
}

/**
 * All names together, each with its terminating NUL, must fit what listxattr(2) can return; and the values are bounded. What
 * takes no more room than before is allowed.
 */
function* requireRoom(
  inode: InodeId,
  moreNameBytes: number,
  moreValueBytes: number,
): Operation<void> {
  const { nameBytes, valueBytes } = yield* ask("xattr.sizes", inode);
  if (moreNameBytes > 0 && nameBytes + moreNameBytes > MAX_XATTR_LIST_BYTES) {
    throw noRoom("names", MAX_XATTR_LIST_BYTES);
  }
  if (moreValueBytes > 0 && valueBytes + moreValueBytes > MAX_XATTR_BYTES) {
    throw noRoom("values", MAX_XATTR_BYTES);
  }
}

function noRoom(what: string, most: number): DfsError {
  return new DfsError("noSpace", `the ${what} of an inode's attributes may take ${most} bytes`);
}

function* touch(context: OperationContext, inode: Inode): Operation<void> {
  yield* ask("inode.update", { ...inode, ctimeNs: nextCtime(context, inode) });
}

/** setxattr(2) names ERANGE for a name that is empty or too long. */
function checkXattrName(name: Uint8Array): void {
  if (name.length === 0 || name.length > MAX_XATTR_NAME_BYTES) {
    throw new DfsError("outOfRange", `an attribute's name has 1 to ${MAX_XATTR_NAME_BYTES} bytes`);
  }
  if (name.includes(0)) {
    throw new DfsError("invalid", "an attribute's name must not contain a NUL byte");
  }
}

function noAttribute(name: Uint8Array): DfsError {
  return new DfsError("noAttribute", `there is no attribute ${shownName(name)}`);
}
