/**
 * Attributes: GETATTR, SETATTR, STATFS.
 */
import { DfsError } from "../../../base/errors.ts";
import { MAX_FILE_BYTES, MAX_NAME_BYTES } from "../../../base/limits.ts";
import type { AttributeChange, Handle, ToldAttributes } from "../../file-system.ts";
import { encodeAttributesReply } from "../protocol/attributes.ts";
import { FATTR, FUSE_GETATTR_FH } from "../protocol/constants.ts";
import type { Encoder, Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { Context } from "./context.ts";

const NS_PER_SECOND = 1_000_000_000n;

function attributesReply(context: Context, attributes: ToldAttributes): Encoder {
  context.known.told(attributes);
  return (body) => encodeAttributesReply(body, attributes, context.presentation);
}

/** `fuse_getattr_in`: u32 getattr_flags, u32 dummy, u64 fh. */
export async function getattr(context: Context, request: Request): Promise<Reply> {
  const flags = request.uint32();
  request.skip(4);
  const known = (flags & FUSE_GETATTR_FH) === 0 ? undefined : request.handle();
  return attributesReply(
    context,
    await context.fileSystem.getattr(request.inode, known, request.signal),
  );
}

/** What `fuse_setattr_in` says, field by field, whether it is meant or not. */
function decodeSetattr(request: Request) {
  const valid = request.uint32();
  request.skip(4);
  const handle = request.number();
  const size = request.number();
  request.skip(8); // lock_owner
  const seconds = { atime: request.int64(), mtime: request.int64() };
  request.skip(8); // ctime: the service sets it
  const nanoseconds = { atime: request.uint32(), mtime: request.uint32() };
  request.skip(4);
  const mode = request.uint32() & 0o7777;
  request.skip(4);
  const uid = request.uint32();
  const gid = request.uint32();
  const timeNs = (which: "atime" | "mtime"): bigint =>
    seconds[which] * NS_PER_SECOND + BigInt(nanoseconds[which]);
  return {
    valid,
    handle,
    size,
    mode,
    uid,
    gid,
    atimeNs: timeNs("atime"),
    mtimeNs: timeNs("mtime"),
  };
}

function changeOf(fields: ReturnType<typeof decodeSetattr>): AttributeChange {
  const has = (bit: number): boolean => (fields.valid & bit) !== 0;
  if (has(FATTR.SIZE) && fields.size > MAX_FILE_BYTES) {
    throw new DfsError("fileTooBig", `cannot make a file larger than ${MAX_FILE_BYTES} bytes`);
  }
  return {
    ...(has(FATTR.MODE) && { mode: fields.mode }),
    ...(has(FATTR.UID) && { uid: fields.uid }),
    ...(has(FATTR.GID) && { gid: fields.gid }),
    ...(has(FATTR.SIZE) && { size: fields.size }),
    ...(has(FATTR.ATIME) && { atimeNs: has(FATTR.ATIME_NOW) ? "now" : fields.atimeNs }),
    ...(has(FATTR.MTIME) && { mtimeNs: has(FATTR.MTIME_NOW) ? "now" : fields.mtimeNs }),
    ...(has(FATTR.KILL_SUIDGID) && { clearSetId: true }),
  };
}

export async function setattr(context: Context, request: Request): Promise<Reply> {
  const { caller } = request;
  const fields = decodeSetattr(request);
  const handle: Handle | undefined = (fields.valid & FATTR.FH) === 0 ? undefined : fields.handle;
  const changed = await context.fileSystem.setattr(
    request.inode,
    changeOf(fields),
    handle,
    caller,
    request.signal,
  );
  return attributesReply(context, changed);
}

/** `fuse_statfs_out`: u64 blocks, bfree, bavail, files, ffree; u32 bsize, namelen, frsize, padding, spare[6]. */
export async function statfs(context: Context, request: Request): Promise<Reply> {
  const space = await context.fileSystem.statfs(request.signal);
  const blockSize = context.presentation.blockSize;
  const blocks = (bytes: number): number => Math.floor(bytes / blockSize);
  // Inodes are bounded by nothing but their 63-bit numbers; free ones are shown so that nobody stops for want of them.
  const freeInodes = 2 ** 40;
  return (body) => {
    body.number(blocks(space.capacityBytes));
    body.number(blocks(space.availableBytes));
    body.number(blocks(space.availableBytes));
    body.number(space.inodes + freeInodes);
    body.number(freeInodes);
    body.uint32(blockSize);
    body.uint32(MAX_NAME_BYTES);
    body.uint32(blockSize);
    body.zeros(28);
  };
}
