/**
 * Paths as bytes, in the cluster and on the local machine. Both use `/`.
 *
 * A path in the cluster is absolute; one that is typed without the leading `/` is taken from the root.
 */
import { DfsError } from "../../base/errors.ts";
import { MAX_NAME_BYTES, MAX_PATH_BYTES } from "../../base/limits.ts";
import type { Argument } from "./arguments.ts";
import { quoted } from "./text.ts";

const SLASH = 0x2f;
const SHOWN_BYTES = 60;

/** The root directory's path. */
export const ROOT_PATH: Uint8Array = Buffer.from("/");

/**
 * A path in the cluster, as it was typed.
 * @throws DfsError `usage` for an empty one, `nameTooLong`, `invalid`.
 */
export function remotePath(typed: Argument): Uint8Array {
  if (typed.bytes.length === 0) {
    throw new DfsError("usage", "a path is empty\ngive one such as / or /directory/file");
  }
  const path = typed.bytes[0] === SLASH ? typed.bytes : Buffer.concat([ROOT_PATH, typed.bytes]);
  checkLength(path);
  return path;
}

/** @throws DfsError `nameTooLong` for a path or name that the cluster cannot hold. */
export function checkLength(path: Uint8Array): void {
  if (path.length > MAX_PATH_BYTES) {
    throw new DfsError(
      "nameTooLong",
      `cannot use the path ${quoted(path.subarray(0, SHOWN_BYTES))}...: ` +
        `it has ${path.length} bytes\na path has at most ${MAX_PATH_BYTES}`,
    );
  }
  for (let start = 0; start < path.length;) {
    const slash = path.indexOf(SLASH, start);
    const end = slash < 0 ? path.length : slash;
    if (end - start > MAX_NAME_BYTES) {
      throw new DfsError(
        "nameTooLong",
        `cannot use the name ${quoted(path.subarray(start, start + SHOWN_BYTES))}...: ` +
          `it has ${end - start} bytes\na name has at most ${MAX_NAME_BYTES}`,
      );
    }
    start = end + 1;
  }
}

/** `directory` and `name` with one slash between them. */
export function joined(directory: Uint8Array, name: Uint8Array): Uint8Array {
  const needsSlash = directory.length > 0 && directory.at(-1) !== SLASH;
  return Buffer.concat([directory, needsSlash ? ROOT_PATH : new Uint8Array(), name]);
}

/** True when the path ends in a slash, and so can only mean a directory. */
export function endsInSlash(path: Uint8Array): boolean {
  return path.at(-1) === SLASH;
}

/** The path without slashes at its end; the root stays `/`. */
export function withoutTrailingSlashes(path: Uint8Array): Uint8Array {
  let end = path.length;
  while (end > 1 && path[end - 1] === SLASH) end--;
  return path.subarray(0, end);
}

/** The last component; empty for the root. */
export function baseName(path: Uint8Array): Uint8Array {
  const bare = withoutTrailingSlashes(path);
  return bare.length === 1 && bare[0] === SLASH
    ? bare.subarray(1)
    : bare.subarray(bare.lastIndexOf(SLASH) + 1);
}

/** What is left of the last component; `/` for a name in the root, `.` for a relative name alone. */
export function parentPath(path: Uint8Array): Uint8Array {
  const bare = withoutTrailingSlashes(path);
  const slash = bare.lastIndexOf(SLASH);
  if (slash < 0) return Buffer.from(".");
  return withoutTrailingSlashes(bare.subarray(0, Math.max(slash, 1)));
}

/** True for a last component that is no name of its own: none (the root), `.` or `..`. */
export function isNameless(path: Uint8Array): boolean {
  const name = Buffer.from(baseName(path)).toString("latin1");
  return name === "" || name === "." || name === "..";
}

/**
 * Where cp puts `source` when the target is the directory `target`: under its own name, or, when the source is `.`,
 * `..` or a root, right into the target.
 */
export function placeInside(target: Uint8Array, source: Uint8Array): Uint8Array {
  return isNameless(source) ? withoutTrailingSlashes(target) : joined(target, baseName(source));
}

/** The components of a path, without empty ones. */
export function components(path: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let start = 0; start < path.length;) {
    const slash = path.indexOf(SLASH, start);
    const end = slash < 0 ? path.length : slash;
    if (end > start) parts.push(path.subarray(start, end));
    start = end + 1;
  }
  return parts;
}
