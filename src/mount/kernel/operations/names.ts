/**
 * Names: LOOKUP, FORGET, BATCH_FORGET, MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME, RENAME2, READLINK.
 */
import { DfsError, isDfsError } from "../../../base/errors.ts";
import { inodeId, type InodeId } from "../../../base/ids.ts";
import { encodeNegativeEntry, typeOfMode } from "../protocol/attributes.ts";
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from "../protocol/constants.ts";
import type { Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import { entryReply, NO_REPLY, type Context } from "./context.ts";

const PERMISSION_BITS = 0o7777;

export async function lookup(context: Context, request: Request): Promise<Reply> {
  const { fileSystem, presentation } = context;
  const { negativeMs } = presentation.timeouts;
  try {
    const found = await fileSystem.lookup(request.inode, request.name(), request.signal);
    return entryReply(context, found);
  } catch (error) {
    if (!isDfsError(error, "notFound")) throw error;
    const holdsMs = negativeMs - Number(error.details["ageMs"] ?? 0);
    if (holdsMs <= 0) throw error;
    return (body) => encodeNegativeEntry(body, holdsMs);
  }
}

function forgetOne(context: Context, inode: InodeId, references: bigint): void {
  context.known.remove(inode, references);
  context.fileSystem.forget(inode, references);
}

/** `fuse_forget_in`: u64 nlookup. */
export function forget(context: Context, request: Request): typeof NO_REPLY {
  forgetOne(context, request.inode, request.uint64());
  return NO_REPLY;
}

/** `fuse_batch_forget_in`: u32 count, u32 dummy, then count times u64 nodeid, u64 nlookup. */
export function batchForget(context: Context, request: Request): typeof NO_REPLY {
  const count = request.uint32();
  request.skip(4);
  for (let i = 0; i < count; i++) {
    forgetOne(context, inodeId(request.uint64()), request.uint64());
  }
  return NO_REPLY;
}

/** `fuse_mkdir_in`: u32 mode, u32 umask (applied by the kernel); name. */
export async function mkdir(context: Context, request: Request): Promise<Reply> {
  const { caller } = request;
  const mode = request.uint32() & PERMISSION_BITS;
  request.skip(4);
  const made = await context.fileSystem.mkdir(
    request.inode,
    request.name(),
    mode,
    caller,
    request.signal,
  );
  return entryReply(context, made);
}

/** `fuse_mknod_in`: u32 mode, rdev, umask, padding; name. */
export async function mknod(context: Context, request: Request): Promise<Reply> {
  const { caller } = request;
  const mode = request.uint32();
  const rdev = request.uint32();
  request.skip(8);
  const type = typeOfMode(mode);
  if (type === undefined) {
    throw new DfsError("invalid", `cannot make a node of mode ${mode.toString(8)}: no such type`);
  }
  const node = { type, mode: mode & PERMISSION_BITS, rdev };
  const made = await context.fileSystem.mknod(
    request.inode,
    request.name(),
    node,
    caller,
    request.signal,
  );
  return entryReply(context, made);
}

/** Name, then target. */
export async function symlink(context: Context, request: Request): Promise<Reply> {
  const { caller } = request;
  const name = request.name();
  const target = request.name();
  const made = await context.fileSystem.symlink(
    request.inode,
    name,
    target,
    caller,
    request.signal,
  );
  return entryReply(context, made);
}

/** `fuse_link_in`: u64 oldnodeid; name. The request's own inode is the directory. */
export async function link(context: Context, request: Request): Promise<Reply> {
  const inode = inodeId(request.uint64());
  return entryReply(
    context,
    await context.fileSystem.link(inode, request.inode, request.name(), request.signal),
  );
}

export async function unlink(context: Context, request: Request): Promise<Reply> {
  await context.fileSystem.unlink(request.inode, request.name(), request.signal);
  return undefined;
}

export async function rmdir(context: Context, request: Request): Promise<Reply> {
  await context.fileSystem.rmdir(request.inode, request.name(), request.signal);
  return undefined;
}

function renameBy(flags: number): "replace" | "noReplace" | "exchange" {
  if (flags === 0) return "replace";
  if (flags === RENAME_NOREPLACE) return "noReplace";
  if (flags === RENAME_EXCHANGE) return "exchange";
  throw new DfsError("invalid", `cannot rename with flags ${flags}: they are not known`);
}

async function renameWith(
  context: Context,
  request: Request,
  newParent: InodeId,
  flags: number,
): Promise<Reply> {
  const from = { parent: request.inode, name: request.name() };
  const to = { parent: newParent, name: request.name() };
  await context.fileSystem.rename(from, to, renameBy(flags), request.signal);
  return undefined;
}

/** `fuse_rename_in`: u64 newdir; old name, new name. */
export async function rename(context: Context, request: Request): Promise<Reply> {
  return renameWith(context, request, inodeId(request.uint64()), 0);
}

/** `fuse_rename2_in`: u64 newdir, u32 flags, u32 padding; old name, new name. */
export async function rename2(context: Context, request: Request): Promise<Reply> {
  const newParent = inodeId(request.uint64());
  const flags = request.uint32();
  request.skip(4);
  return renameWith(context, request, newParent, flags);
}

export async function readlink(context: Context, request: Request): Promise<Reply> {
  return context.fileSystem.readlink(request.inode, request.signal);
}
