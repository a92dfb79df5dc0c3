/**
 * Names in directories: bytes, 1 to MAX_NAME_BYTES of them, without `/` and NUL. `.` and `..` are never stored; what
 * they mean, or which error they are, is up to each operation.
 */
import { DfsError } from "../../../base/errors.ts";
import { MAX_NAME_BYTES } from "../../../base/limits.ts";

const NUL = 0;
const SLASH = 0x2f;
const DOT = 0x2e;
const MAX_SHOWN_BYTES = 80;

const decoder = new TextDecoder();

/** A name in quotes for messages: control characters and bytes that are no text are escaped, long names are cut. */
export function shownName(name: Uint8Array): string {
  const text = JSON.stringify(decoder.decode(name.subarray(0, MAX_SHOWN_BYTES)));
  return name.length > MAX_SHOWN_BYTES ? `${text.slice(0, -1)}..."` : text;
}

export function isDot(name: Uint8Array): boolean {
  return name.length === 1 && name[0] === DOT;
}

export function isDotDot(name: Uint8Array): boolean {
  return name.length === 2 && name[0] === DOT && name[1] === DOT;
}

/**
 * Checks a name's bytes; `.` and `..` pass.
 * @throws DfsError `nameTooLong`, `invalid`.
 */
export function checkName(name: Uint8Array): void {
  if (name.length === 0) throw new DfsError("invalid", "a name must not be empty");
  if (name.length > MAX_NAME_BYTES) {
    throw new DfsError(
      "nameTooLong",
      `the name ${shownName(name)} has ${name.length} bytes; at most ${MAX_NAME_BYTES} are allowed`,
    );
  }
  if (name.includes(SLASH) || name.includes(NUL)) {
    throw new DfsError("invalid", `the name ${shownName(name)} contains "/" or a NUL byte`);
  }
}

/**
 * Checks the name of something to be made.
 * @throws DfsError `nameTooLong`, `invalid`; `exists` for `.` and `..`, which every directory has.
 */
export function checkNewName(name: Uint8Array): void {
  checkName(name);
  if (isDot(name) || isDotDot(name)) {
    throw new DfsError(
      "exists",
      `cannot create ${shownName(name)}: every directory has it already`,
    );
  }
}

/** The error for a name that is taken. */
export function nameTaken(name: Uint8Array): DfsError {
  return new DfsError("exists", `the name ${shownName(name)} exists already`);
}

/** The error for a name that is not there. */
export function nameMissing(name: Uint8Array): DfsError {
  return new DfsError("notFound", `there is no ${shownName(name)} in that directory`);
}
