/**
 * Paths as bytes: checks, the split into parent and name, and how they are shown to people.
 *
 * Symbolic links and `..` are walked by the service; here `..` is only taken out where a path becomes a placement base,
 * which has to be the same on every machine but need not name an existing file.
 */
import { DfsError } from "../base/errors.ts";
import { MAX_PATH_BYTES } from "../base/limits.ts";

const SLASH = 0x2f;
const DOT = 0x2e;
const ROOT_PATH = Uint8Array.of(SLASH);
const HERE = Uint8Array.of(DOT);

/** A path taken apart for an operation on a name in a directory. */
export interface ParentAndName {
  readonly parent: Uint8Array;
  /** The last component; `.` for the root itself, which has no name. */
  readonly name: Uint8Array;
  /** True when the path ends in `/`, so that it can only mean a directory. */
  readonly mustBeDirectory: boolean;
}

/**
 * Refuses what cannot be a path of this file system.
 * @throws DfsError `invalid` (not absolute, NUL inside), `nameTooLong` (over 4,096 bytes).
 */
export function checkPath(path: Uint8Array): void {
  if (path.length > MAX_PATH_BYTES) {
    throw new DfsError(
      "nameTooLong",
      `path of ${path.length} bytes is too long: at most ${MAX_PATH_BYTES} are possible: ` +
        `${shownPath(path.subarray(0, 60))}...`,
    );
  }
  if (path[0] !== SLASH) {
    throw new DfsError("invalid", `path "${shownPath(path)}" is not absolute: begin it with /`);
  }
  if (path.includes(0)) {
    throw new DfsError("invalid", `path "${shownPath(path)}" contains a NUL byte: no name can`);
  }
}

/** Parent directory and last component of an absolute path. */
export function splitPath(path: Uint8Array): ParentAndName {
  let end = path.length;
  while (end > 0 && path[end - 1] === SLASH) end--;
  if (end === 0) return { parent: ROOT_PATH, name: HERE, mustBeDirectory: true };
  const start = path.lastIndexOf(SLASH, end - 1) + 1;
  return {
    parent: start <= 1 ? ROOT_PATH : path.subarray(0, start - 1),
    name: path.subarray(start, end),
    mustBeDirectory: end < path.length,
  };
}

/** The path with single slashes and without `.`, `..` and a slash at its end: what a placement base is a hash of. */
export function normalisedPath(path: Uint8Array): Uint8Array {
  const kept: Uint8Array[] = [];
  for (const component of components(path)) {
    if (isDots(component, 1)) continue;
    if (isDots(component, 2)) kept.pop();
    else kept.push(component);
  }
  if (kept.length === 0) return ROOT_PATH;
  const result = new Uint8Array(kept.reduce((sum, each) => sum + 1 + each.length, 0));
  let at = 0;
  for (const component of kept) {
    result[at] = SLASH;
    result.set(component, at + 1);
    at += 1 + component.length;
  }
  return result;
}

/** A path for messages: UTF-8 where it is, other bytes and control characters as \xNN. */
export function shownPath(path: Uint8Array): string {
  const text = new TextDecoder().decode(path);
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (!/[\u0000-\u001f\u007f\ufffd]/u.test(text)) return text;
  return Array.from(path, (byte) =>
    byte >= 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, "0")}`,
  ).join("");
}

function* components(path: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < path.length;) {
    const slash = path.indexOf(SLASH, start);
    const end = slash < 0 ? path.length : slash;
    if (end > start) yield path.subarray(start, end);
    start = end + 1;
  }
}

function isDots(component: Uint8Array, count: number): boolean {
  return component.length === count && component.every((byte) => byte === DOT);
}
