/**
 * Extended attributes: GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR. A caller that asks with size 0 gets the size that it needs;
 * one that has too little room gets ERANGE.
 */
import { DfsError } from "../../../base/errors.ts";
import { XATTR_CREATE, XATTR_REPLACE } from "../protocol/constants.ts";
import type { Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { Context } from "./context.ts";

/** The value, or its size as `fuse_getxattr_out`: u32 size, u32 padding. */
function sized(value: Uint8Array, room: number): Reply {
  if (room === 0) {
    return (body) => {
      body.uint32(value.length);
      body.uint32(0);
    };
  }
  if (value.length > room) {
    throw new DfsError("outOfRange", `cannot return ${value.length} bytes in ${room}`);
  }
  return value;
}

/** `fuse_getxattr_in`: u32 size, u32 padding; name. */
export async function getxattr(context: Context, request: Request): Promise<Reply> {
  const room = request.uint32();
  request.skip(4);
  return sized(
    await context.fileSystem.xattrGet(request.inode, request.name(), request.signal),
    room,
  );
}

/** `fuse_getxattr_in`. The names are answered one behind the other, each with a NUL. */
export async function listxattr(context: Context, request: Request): Promise<Reply> {
  const room = request.uint32();
  const names = await context.fileSystem.xattrList(request.inode, request.signal);
  const list = new Uint8Array(names.reduce((sum, name) => sum + name.length + 1, 0));
  let position = 0;
  for (const name of names) {
    list.set(name, position);
    position += name.length + 1;
  }
  return sized(list, room);
}

function setHow(flags: number): "any" | "create" | "replace" {
  if (flags === 0) return "any";
  if (flags === XATTR_CREATE) return "create";
  if (flags === XATTR_REPLACE) return "replace";
  throw new DfsError("invalid", `cannot set an extended attribute with flags ${flags}`);
}

/** `fuse_setxattr_in` without SETXATTR_EXT: u32 size, u32 flags; name, value. */
export async function setxattr(context: Context, request: Request): Promise<Reply> {
  const size = request.uint32();
  const how = setHow(request.uint32());
  const name = request.name();
  await context.fileSystem.xattrSet(request.inode, name, request.bytes(size), how, request.signal);
  return undefined;
}

export async function removexattr(context: Context, request: Request): Promise<Reply> {
  await context.fileSystem.xattrRemove(request.inode, request.name(), request.signal);
  return undefined;
}
