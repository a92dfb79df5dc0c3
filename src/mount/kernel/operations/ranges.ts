/**
 * Ranges of files: FALLOCATE, LSEEK, COPY_FILE_RANGE.
 */
import type { CancelSignal } from "../../../base/cancellation.ts";
import { DfsError } from "../../../base/errors.ts";
import { inodeId, type InodeId } from "../../../base/ids.ts";
import { MAX_FILE_BYTES } from "../../../base/limits.ts";
import type { Allocation, Caller, Handle } from "../../file-system.ts";
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  SEEK_DATA,
  SEEK_HOLE,
} from "../protocol/constants.ts";
import type { Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { Context } from "./context.ts";

/** Bytes that one COPY_FILE_RANGE may copy: its reply has 32 bits for them. Callers go on behind what was copied. */
const MAX_COPY_BYTES = 2 ** 31 - 4096;

function allocateHow(mode: number): Allocation["how"] {
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
      return "allocate";
    case FALLOC_FL_PUNCH_HOLE:
      return "punchHole";
    case FALLOC_FL_ZERO_RANGE:
      return "zeroRange";
    case FALLOC_FL_COLLAPSE_RANGE:
      return "collapseRange";
    case FALLOC_FL_INSERT_RANGE:
      return "insertRange";
    default:
      throw new DfsError("notSupported", `cannot allocate with mode ${mode}: it is not known`);
  }
}

/**
 * write(2) by an ordinary user clears setuid and setgid, and so does what changes content in other ways. With HANDLE_KILLPRIV_V2
 * that is the server's work, but only writes and truncations come with a flag for it.
 */
async function clearSetIdFor(
  context: Context,
  caller: Caller,
  inode: InodeId,
  handle: Handle,
  signal: CancelSignal,
): Promise<void> {
  if (caller.uid === 0) return;
  await context.fileSystem.setattr(inode, { clearSetId: true }, handle, caller, signal);
}

/** `fuse_fallocate_in`: u64 fh, offset, length, u32 mode, padding. */
export async function fallocate(context: Context, request: Request): Promise<Reply> {
  const { caller, inode, signal } = request;
  const handle = request.handle();
  const offset = request.number();
  const length = request.number();
  const mode = request.uint32();
  const how = allocateHow(mode);
  if (offset + length > MAX_FILE_BYTES) {
    throw new DfsError("fileTooBig", `cannot allocate beyond ${MAX_FILE_BYTES} bytes`);
  }
  const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  await context.fileSystem.allocate(inode, handle, { how, keepSize, offset, length }, signal);
  await clearSetIdFor(context, caller, inode, handle, signal);
  return undefined;
}

/** `fuse_lseek_in`: u64 fh, u64 offset, u32 whence, padding. */
export async function lseek(context: Context, request: Request): Promise<Reply> {
  const handle = request.handle();
  const offset = request.number();
  const whence = request.uint32();
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) {
    throw new DfsError("invalid", `cannot seek with whence ${whence}: it is not known`);
  }
  if (offset > MAX_FILE_BYTES) throw new DfsError("noData", `no data behind ${MAX_FILE_BYTES}`);
  const what = whence === SEEK_DATA ? "data" : "hole";
  const found = await context.fileSystem.seek(request.inode, handle, offset, what, request.signal);
  return (body) => body.number(found);
}

/** `fuse_copy_file_range_in`: u64 fh_in, off_in, nodeid_out, fh_out, off_out, len, flags. */
export async function copyFileRange(context: Context, request: Request): Promise<Reply> {
  const { caller, signal } = request;
  const from = { inode: request.inode, handle: request.handle(), offset: request.number() };
  const to = {
    inode: inodeId(request.uint64()),
    handle: request.handle(),
    offset: request.number(),
  };
  const length = Math.min(request.number(), MAX_COPY_BYTES, MAX_FILE_BYTES - from.offset);
  if (request.uint64() !== 0n) throw new DfsError("invalid", "cannot copy a range with flags");
  if (to.offset + Math.max(0, length) > MAX_FILE_BYTES) {
    throw new DfsError("fileTooBig", `cannot copy beyond ${MAX_FILE_BYTES} bytes`);
  }
  const copied = length <= 0 ? 0 : await context.fileSystem.copyRange(from, to, length, signal);
  if (copied > 0) await clearSetIdFor(context, caller, to.inode, to.handle, signal);
  return (body) => {
    body.uint32(copied);
    body.uint32(0);
  };
}
