/** Making regular and special files. */
import { DfsError } from "../../../base/errors.ts";
import type { FileType } from "../../../protocol/messages/common.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { DentryTarget, Inode } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import type { Body, Done, OperationContext } from "./context.ts";
import { addChild, namedInode } from "./children.ts";
import { attributesOf, inherit, namedDirectory } from "./inodes.ts";
import { checkNewName, checkName, isDot, isDotDot, nameTaken, shownName } from "./names.ts";
import { addOpen } from "./opens.ts";

/** Types that mknod(2) makes here; regular files have `create`, directories `mkdir`. */
const SPECIAL_TYPES: readonly FileType[] = ["fifo", "socket", "characterDevice", "blockDevice"];

/** @throws DfsError `exists`, `isDirectory`, `notFound`, `notDirectory`, `invalid`, `nameTooLong`. */
export function* create(
  context: OperationContext,
  body: Body<typeof messages.create>,
): Operation<Done<typeof messages.create>> {
  checkCreateName(body.name, body.exclusive);
  const parent = yield* namedDirectory(body.parent);
  const found = yield* ask("dentry.get", parent.id, body.name);
  const { inode, directory } =
    found === undefined
      ? yield* addChild(context, parent, body.name, {
          ...inherit(parent, "file", { mode: body.mode, uid: body.uid, gid: body.gid }),
          type: "file",
          nlink: 1,
          base: body.base,
        })
      : { inode: yield* existingFile(found, body.name, body.exclusive), directory: undefined };
  if (body.open) yield* addOpen(context.session, inode.id);
  return {
    attributes: attributesOf(inode),
    created: found === undefined,
    directory: directory === undefined ? null : attributesOf(directory),
  };
}

/** @throws DfsError `exists`, `notFound`, `notDirectory`, `invalid`, `nameTooLong`. */
export function* mknod(
  context: OperationContext,
  body: Body<typeof messages.mknod>,
): Operation<Done<typeof messages.mknod>> {
  if (!SPECIAL_TYPES.includes(body.type)) {
    throw new DfsError("invalid", `mknod makes fifos, sockets and devices, not a ${body.type}`);
  }
  checkNewName(body.name);
  const parent = yield* namedDirectory(body.parent);
  if ((yield* ask("dentry.get", parent.id, body.name)) !== undefined) throw nameTaken(body.name);
  const device = body.type === "characterDevice" || body.type === "blockDevice";
  const { inode, directory } = yield* addChild(context, parent, body.name, {
    ...inherit(parent, body.type, { mode: body.mode, uid: body.uid, gid: body.gid }),
    type: body.type,
    nlink: 1,
    rdev: device ? body.rdev : 0,
  });
  return { attributes: attributesOf(inode), directory: attributesOf(directory) };
}

function* existingFile(
  found: DentryTarget,
  name: Uint8Array,
  exclusive: boolean,
): Operation<Inode> {
  if (exclusive) throw nameTaken(name);
  refuseOther(found.type, name);
  return yield* namedInode(found.inode);
}

/** @throws DfsError unless `type` is that of a regular file: `isDirectory`, or `exists` for links and special files. */
function refuseOther(type: FileType, name: Uint8Array): void {
  if (type === "directory") {
    throw new DfsError(
      "isDirectory",
      `cannot open ${shownName(name)} as a file: it is a directory`,
    );
  }
  if (type !== "file") {
    throw new DfsError(
      "exists",
      `cannot create the file ${shownName(name)}: a ${type} has that name`,
    );
  }
}

/** `.` and `..` exist and are directories. */
function checkCreateName(name: Uint8Array, exclusive: boolean): void {
  if (exclusive) return checkNewName(name);
  checkName(name);
  if (isDot(name) || isDotDot(name)) refuseOther("directory", name);
}
