/**
 * Path resolution, as path_resolution(7): components from left to right, symbolic links replaced by their targets, at
 * most MAX_SYMLINKS_FOLLOWED of them, and at most MAX_PARTS_WALKED components in all: forty links to long paths would take
 * half a second, in which nobody else is answered. A slash at the end demands a directory and follows a link there.
 */
import { DfsError } from "../../../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../../../base/ids.ts";
import {
  MAX_NAME_BYTES,
  MAX_PARTS_WALKED,
  MAX_PATH_BYTES,
  MAX_SYMLINKS_FOLLOWED,
} from "../../../base/limits.ts";
import type * as messages from "../../../protocol/messages/namespace.ts";
import type { Inode } from "../store/rows.ts";
import type { Operation } from "../store/store.ts";
import { childOf } from "./children.ts";
import type { Body, Done, OperationContext } from "./context.ts";
import { attributesOf, liveInode, namedDirectory } from "./inodes.ts";
import { shownName } from "./names.ts";
import { symlinkTarget } from "./symlinks.ts";

const SLASH = 0x2f;

/** @throws DfsError `notFound`, `notDirectory`, `loop`, `nameTooLong`, `invalid`, `stale`. */
export function* resolve(
  _context: OperationContext,
  body: Body<typeof messages.resolve>,
): Operation<Done<typeof messages.resolve>> {
  return { attributes: attributesOf(yield* walk(body.start, body.path, body.followLast)) };
}

/** Walks `path` from the inode `start` and returns the inode at its end. An empty path is `start` itself. */
export function* walk(start: InodeId, path: Uint8Array, followLast: boolean): Operation<Inode> {
  checkPath(path);
  let at = yield* liveInode(isAbsolute(path) ? ROOT_INODE : start);
  // The components still to be walked, the next one last.
  const pending = componentsOf(path).reverse();
  let directoryWanted = endsWithSlash(path);
  let followed = 0;
  let walked = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (++walked > MAX_PARTS_WALKED) throw tooManyPartsWalked(path);
    const directory = yield* directoryToSearch(at, name);
    const child = yield* childOf(directory, name);
    if (child === undefined) throw missing(name);
    const last = pending.length === 0;
    if (child.type !== "symlink" || (last && !followLast && !directoryWanted)) {
      at = child;
      continue;
    }
    if (++followed > MAX_SYMLINKS_FOLLOWED) throw tooManyLinksFollowed(path);
    const target = yield* symlinkTarget(child);
    at = isAbsolute(target) ? yield* namedDirectory(ROOT_INODE) : directory;
    if (last && endsWithSlash(target)) directoryWanted = true;
    pending.push(...componentsOf(target).reverse());
  }
  if (directoryWanted && at.type !== "directory") throw notDirectory(path);
  return at;
}

/** @throws DfsError `nameTooLong`, `invalid`. */
function checkPath(path: Uint8Array): void {
  if (path.length > MAX_PATH_BYTES) {
    throw new DfsError(
      "nameTooLong",
      `the path ${shownName(path)} has ${path.length} bytes; at most ${MAX_PATH_BYTES} are allowed`,
    );
  }
  if (path.includes(0)) {
    throw new DfsError("invalid", `the path ${shownName(path)} contains a NUL byte`);
  }
}

function* directoryToSearch(at: Inode, name: Uint8Array): Operation<Inode> {
  if (at.type !== "directory") throw notDirectory(name);
  if (name.length > MAX_NAME_BYTES) {
    throw new DfsError(
      "nameTooLong",
      `the name ${shownName(name)} has ${name.length} bytes; at most ${MAX_NAME_BYTES} are allowed`,
    );
  }
  // A directory that was removed while open has no names, not even `..`.
  return at.nlink > 0 ? at : yield* namedDirectory(at.id);
}

function componentsOf(path: Uint8Array): Uint8Array[] {
  const components: Uint8Array[] = [];
  for (let start = 0; start < path.length;) {
    const slash = path.indexOf(SLASH, start);
    const end = slash < 0 ? path.length : slash;
    if (end > start) components.push(path.subarray(start, end));
    start = end + 1;
  }
  return components;
}

function isAbsolute(path: Uint8Array): boolean {
  return path[0] === SLASH;
}

function endsWithSlash(path: Uint8Array): boolean {
  return path.at(-1) === SLASH;
}

function missing(name: Uint8Array): DfsError {
  return new DfsError("notFound", `there is no ${shownName(name)}`);
}

function notDirectory(name: Uint8Array): DfsError {
  return new DfsError("notDirectory", `a part of ${shownName(name)} is not a directory`);
}

function tooManyLinksFollowed(path: Uint8Array): DfsError {
  return new DfsError(
    "loop",
    `the path ${shownName(path)} leads through more than ${MAX_SYMLINKS_FOLLOWED} symbolic links`,
  );
}

function tooManyPartsWalked(path: Uint8Array): DfsError {
  return new DfsError(
    "loop",
    `the path ${shownName(path)} leads, by way of symbolic links, through more than ${MAX_PARTS_WALKED} names`,
  );
}
