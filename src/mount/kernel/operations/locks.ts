/**
 * Locks: GETLK, SETLK, SETLKW; of fcntl(2), and of flock(2) with a flag.
 *
 *     fuse_lk_in:  u64 fh, u64 owner, u64 start, u64 end (inclusive), u32 type, u32 pid, u32 lk_flags, padding
 *     fuse_lk_out: u64 start, u64 end, u32 type, u32 pid
 */
import { DfsError } from "../../../base/errors.ts";
import type { Lock } from "../../file-system.ts";
import { F_RDLCK, F_UNLCK, F_WRLCK, FUSE_LK_FLOCK } from "../protocol/constants.ts";
import type { Reply, ReplyBody } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { Context } from "./context.ts";

/** OFFSET_MAX: the kernel's word for "up to the end". */
const OFFSET_MAX = (1n << 63n) - 1n;

const TYPE_OF_NUMBER: ReadonlyMap<number, Lock["type"]> = new Map([
  [F_RDLCK, "shared"],
  [F_WRLCK, "exclusive"],
  [F_UNLCK, "none"],
]);
const NUMBER_OF_TYPE: Readonly<Record<Lock["type"], number>> = {
  shared: F_RDLCK,
  exclusive: F_WRLCK,
  none: F_UNLCK,
};

function decodeLock(request: Request): Lock {
  request.skip(8); // fh: the owner says more
  const owner = request.uint64();
  const start = request.number();
  const end = request.number();
  const number = request.uint32();
  const type = TYPE_OF_NUMBER.get(number);
  const pid = request.uint32();
  const kind = (request.uint32() & FUSE_LK_FLOCK) === 0 ? "posix" : "flock";
  if (type === undefined || start > Number.MAX_SAFE_INTEGER || end < start) {
    throw new DfsError("invalid", `cannot lock bytes ${start} to ${end} with type ${number}`);
  }
  return { kind, type, owner, pid, start, end: Math.min(end, Number.MAX_SAFE_INTEGER) };
}

function encodeLock(body: ReplyBody, lock: Lock): void {
  body.number(lock.start);
  if (lock.end >= Number.MAX_SAFE_INTEGER) body.uint64(OFFSET_MAX);
  else body.number(lock.end);
  body.uint32(NUMBER_OF_TYPE[lock.type]);
  body.uint32(lock.pid);
}

export async function getlk(context: Context, request: Request): Promise<Reply> {
  const lock = decodeLock(request);
  const inTheWay = await context.fileSystem.getLock(request.inode, lock);
  return (body) => encodeLock(body, inTheWay ?? { ...lock, type: "none" });
}

async function setLock(context: Context, request: Request, wait: boolean): Promise<Reply> {
  const lock = decodeLock(request);
  // Before it is had: one that was got while its process was being killed is given up at the close, too.
  if (lock.kind === "posix" && lock.type !== "none") {
    context.posixLockOwners.add(request.inode, lock.owner);
  }
  await context.fileSystem.setLock(request.inode, lock, wait, request.signal);
  return undefined;
}

export function setlk(context: Context, request: Request): Promise<Reply> {
  return setLock(context, request, false);
}

export function setlkw(context: Context, request: Request): Promise<Reply> {
  return setLock(context, request, true);
}
