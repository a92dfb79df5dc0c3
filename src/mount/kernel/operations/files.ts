/**
 * Open files: OPEN, CREATE, READ, WRITE, FLUSH, FSYNC, RELEASE.
 */
import { DfsError } from "../../../base/errors.ts";
import { MAX_FILE_BYTES } from "../../../base/limits.ts";
import type { OpenedFile, OpenFlags } from "../../file-system.ts";
import { encodeOpened } from "../protocol/attributes.ts";
import {
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_PARALLEL_DIRECT_WRITES,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_RELEASE_FLOCK_UNLOCK,
  FUSE_WRITE_CACHE,
  FUSE_WRITE_KILL_SUIDGID,
  MAX_TRANSFER_BYTES,
  O_ACCMODE,
  O_APPEND,
  O_DIRECT,
  O_DSYNC,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
} from "../protocol/constants.ts";
import type { Reply, ReplyBody } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import { entryReply, type Context } from "./context.ts";

export function decodeOpenFlags(flags: number): OpenFlags {
  const access = flags & O_ACCMODE;
  return {
    read: access !== O_WRONLY,
    write: access !== O_RDONLY,
    append: (flags & O_APPEND) !== 0,
    truncate: (flags & O_TRUNC) !== 0,
    sync: (flags & O_DSYNC) !== 0,
    direct: (flags & O_DIRECT) !== 0,
  };
}

function encodeHandle(context: Context, body: ReplyBody, opened: OpenedFile): void {
  const cached = opened.keepCache ? FOPEN_KEEP_CACHE : 0;
  const flags = context.uncached ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES : cached;
  encodeOpened(body, opened.handle, flags);
}

/** `fuse_open_in`: u32 flags, u32 open_flags. */
export async function open(context: Context, request: Request): Promise<Reply> {
  const { caller, inode } = request;
  const flags = decodeOpenFlags(request.uint32());
  const clearSetId = (request.uint32() & FUSE_OPEN_KILL_SUIDGID) !== 0;
  const opened = await context.fileSystem.open(inode, flags, request.signal);
  if (clearSetId) {
    await context.fileSystem.setattr(inode, { clearSetId: true }, opened.handle, caller);
  }
  // The answer to an open has no place for attributes: without this, a reader would stop at the size of before.
  if (!context.known.isCurrent(opened.attributes)) context.dropAttributes(inode);
  return (body) => encodeHandle(context, body, opened);
}

/** `fuse_create_in`: u32 flags, mode, umask (applied by the kernel), open_flags; name. */
export async function create(context: Context, request: Request): Promise<Reply> {
  const { caller } = request;
  const bits = request.uint32();
  const mode = request.uint32() & 0o7777;
  request.skip(4);
  const clearSetId = (request.uint32() & FUSE_OPEN_KILL_SUIDGID) !== 0;
  const file = { mode, exclusive: (bits & O_EXCL) !== 0, flags: decodeOpenFlags(bits) };
  let opened = await context.fileSystem.create(
    request.inode,
    request.name(),
    file,
    caller,
    request.signal,
  );
  if (clearSetId && opened.attributes.mode >= 0o2000) {
    const { handle } = opened;
    const { inode } = opened.attributes;
    const change = { clearSetId: true };
    const attributes = await context.fileSystem.setattr(inode, change, handle, caller);
    opened = { ...opened, attributes };
  }
  const encodeEntry = entryReply(context, opened.attributes);
  return (body) => {
    encodeEntry(body);
    encodeHandle(context, body, opened);
  };
}

/** `fuse_read_in`: u64 fh, u64 offset, u32 size, read_flags, u64 lock_owner, u32 flags, padding. */
export async function read(context: Context, request: Request): Promise<Reply> {
  const handle = request.handle();
  const offset = request.number();
  const size = Math.min(request.uint32(), MAX_TRANSFER_BYTES);
  const length = Math.min(size, MAX_FILE_BYTES - offset);
  if (length <= 0) return undefined;
  const bytes = await context.fileSystem.read(
    request.inode,
    handle,
    offset,
    length,
    request.signal,
  );
  if (bytes.length > length) {
    throw new DfsError("internal", `a read of ${length} bytes has returned ${bytes.length}`);
  }
  return bytes;
}

/** `fuse_write_in`: u64 fh, u64 offset, u32 size, write_flags, u64 lock_owner, u32 flags, padding; bytes. */
export async function write(context: Context, request: Request): Promise<Reply> {
  const handle = request.handle();
  const offset = request.number();
  const size = request.uint32();
  const writeFlags = request.uint32();
  request.skip(16);
  if (offset + size > MAX_FILE_BYTES) {
    throw new DfsError("fileTooBig", `cannot write beyond ${MAX_FILE_BYTES} bytes`);
  }
  const bytes = request.payload(size);
  await context.fileSystem.write(request.inode, handle, offset, bytes, {
    clearSetId: (writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0,
    // Pages of a mapping come through any open handle, also one that appends.
    atOffset: (writeFlags & FUSE_WRITE_CACHE) !== 0,
    signal: request.signal,
  });
  return (body) => {
    body.uint32(size);
    body.uint32(0);
  };
}

/** `fuse_flush_in`: u64 fh, u32 unused, padding, u64 lock_owner. A close(2) also gives up the POSIX locks of its process. */
export async function flush(context: Context, request: Request): Promise<Reply> {
  const { inode, signal } = request;
  const handle = request.handle();
  request.skip(8);
  const owner = request.uint64();
  try {
    await context.fileSystem.flush(inode, handle, signal);
  } finally {
    if (context.posixLockOwners.remove(inode, owner)) {
      await context.fileSystem.releaseLocks(inode, "posix", owner);
    }
  }
  return undefined;
}

/** `fuse_fsync_in`: u64 fh, u32 fsync_flags, padding. fdatasync(2) does the same as fsync(2). */
export async function fsync(context: Context, request: Request): Promise<Reply> {
  await context.fileSystem.fsync(request.inode, request.handle(), request.signal);
  return undefined;
}

/** `fuse_release_in`: u64 fh, u32 flags, release_flags, u64 lock_owner. */
export async function release(context: Context, request: Request): Promise<Reply> {
  const { inode } = request;
  const handle = request.handle();
  request.skip(4);
  const releaseFlags = request.uint32();
  const owner = request.uint64();
  try {
    if ((releaseFlags & FUSE_RELEASE_FLOCK_UNLOCK) !== 0) {
      await context.fileSystem.releaseLocks(inode, "flock", owner);
    }
  } finally {
    await context.fileSystem.release(inode, handle);
  }
  return undefined;
}
