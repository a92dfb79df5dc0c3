/** Symbolic links: making and reading them. Their targets are bytes that nobody interprets until a path is walked. */
import { DfsError } from "../../../base/errors.ts";
import { MAX_SYMLINK_BYTES } from "../../../base/limits.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { addChild } from "./children.ts";
import type { Body, Done, OperationContext } from "./context.ts";
import { attributesOf, inherit, liveInode, namedDirectory } from "./inodes.ts";
import { checkNewName, nameTaken } from "./names.ts";

const SYMLINK_MODE = 0o777;

/** @throws DfsError `exists`, `notFound`, `notDirectory`, `invalid`, `nameTooLong`. */
export function* symlink(
  context: OperationContext,
  body: Body<typeof messages.symlink>,
): Operation<Done<typeof messages.symlink>> {
  checkTarget(body.target);
  checkNewName(body.name);
  const parent = yield* namedDirectory(body.parent);
  if ((yield* ask("dentry.get", parent.id, body.name)) !== undefined) throw nameTaken(body.name);
  const { inode, directory } = yield* addChild(context, parent, body.name, {
    ...inherit(parent, "symlink", { mode: SYMLINK_MODE, uid: body.uid, gid: body.gid }),
    type: "symlink",
    nlink: 1,
    size: body.target.length,
  });
  yield* ask("symlink.insert", inode.id, body.target);
  return { attributes: attributesOf(inode), directory: attributesOf(directory) };
}

/** @throws DfsError `invalid` when it is not a symbolic link, `stale`. */
export function* readlink(
  _context: OperationContext,
  body: Body<typeof messages.readlink>,
): Operation<Done<typeof messages.readlink>> {
  const inode = yield* liveInode(body.inode);
  if (inode.type !== "symlink") {
    throw new DfsError("invalid", `inode ${inode.id} is a ${inode.type}, not a symbolic link`);
  }
  return { target: yield* symlinkTarget(inode) };
}

export function* symlinkTarget(inode: Inode): Operation<Uint8Array> {
  const target = yield* ask("symlink.get", inode.id);
  if (target === undefined) {
    throw new DfsError("io", `the metadata is damaged: symbolic link ${inode.id} has no target`);
  }
  return target;
}

function checkTarget(target: Uint8Array): void {
  if (target.length === 0) {
    throw new DfsError("notFound", "a symbolic link cannot have an empty target");
  }
  if (target.length > MAX_SYMLINK_BYTES) {
    throw new DfsError(
      "nameTooLong",
      `a symbolic link's target has ${target.length} bytes; at most ${MAX_SYMLINK_BYTES} are allowed`,
    );
  }
  if (target.includes(0)) {
    throw new DfsError("invalid", "a symbolic link's target must not contain a NUL byte");
  }
}
