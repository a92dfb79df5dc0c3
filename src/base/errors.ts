/**
 * Errors of dfs: one class, one list of kinds.
 *
 * A kind has a stable number for the wire (only ever appended, never reused) and is mapped to an errno in exactly one
 * place, `errno.ts`. The message says what could not be done, with which value, and what to do next; it is written
 * for the person at the terminal. Details are small facts for programs (file, offset, servers tried).
 */

/** Kinds of failure and their numbers on the wire. Frozen: append only. */
export const ERROR_KINDS = {
  internal: 1, // a bug of ours: an assertion failed
  protocol: 2, // the peer sent what the protocol does not allow
  unauthorized: 3, // cluster key missing or wrong
  wrongCluster: 4, // the peer belongs to another cluster
  wrongPeer: 5, // right cluster, but not the server it should be, or not its turn (impostor, stale command)
  unsupported: 6, // version or operation that this build does not know
  unreachable: 7, // nobody answers at that address
  timeout: 8, // the deadline passed
  cancelled: 9, // the caller gave up
  busy: 10, // try again later
  notFound: 11, // no such file or directory
  exists: 12, // the name is taken
  notDirectory: 13, // a directory was needed
  isDirectory: 14, // a directory was not wanted
  notEmpty: 15, // directory with entries
  invalid: 16, // argument out of its domain
  nameTooLong: 17, // name over 255 bytes, path over 4,096
  loop: 18, // too many symbolic links
  tooManyLinks: 19, // link count at its limit
  notPermitted: 20, // operation not permitted on this kind of object
  accessDenied: 21, // permission bits say no
  noSpace: 22, // all usable servers are full
  io: 23, // bytes could not be read and verified, or written durably
  stale: 24, // session expired, or the inode is gone
  fileTooBig: 25, // offset or length over the largest file
  noAttribute: 26, // no such extended attribute
  outOfRange: 27, // a result does not fit
  readOnly: 28, // writes are refused
  noBlock: 29, // the data server does not hold this block
  badChecksum: 30, // bytes do not match their checksum
  quorum: 31, // too few servers for the write or read quorum
  outcomeUnknown: 32, // the operation may or may not have been executed
  databaseOlder: 33, // the metadata database is older than what data servers have seen
  conflict: 34, // the object changed since it was looked at, or an id is taken by other bytes
  locked: 35, // another process owns it
  usage: 36, // the command line is wrong
  noData: 37, // no data, or no hole, from this offset on
  notSupported: 38, // this object, or this file system, cannot do that
  wouldDeadlock: 39, // the holders of the lock wait for the one who asks
  tooManyLocks: 40, // as many locks on a file, or waits for one, as there may be
} as const;

export type ErrorKind = keyof typeof ERROR_KINDS;

/** Facts that travel with an error. Values are short; nothing secret is ever put here. */
export type ErrorDetails = Readonly<Record<string, string | number | bigint | boolean>>;

export interface DfsErrorOptions {
  readonly details?: ErrorDetails;
  readonly cause?: unknown;
}

/** The error that dfs throws for everything a caller can meet. */
export class DfsError extends Error {
  override readonly name = "DfsError";
  readonly kind: ErrorKind;
  readonly details: ErrorDetails;

  constructor(kind: ErrorKind, message: string, options: DfsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.details = options.details ?? {};
  }
}

/** True when `error` is a DfsError, of `kind` if one is given. */
export function isDfsError(error: unknown, kind?: ErrorKind): error is DfsError {
  return error instanceof DfsError && (kind === undefined || error.kind === kind);
}

/** The text of anything that was thrown, for messages and logs. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What went wrong, without what could be done about it: the first line. For lists of several failures. */
export function brieflyOf(error: unknown): string {
  return messageOf(error).split("\n", 1)[0] ?? "";
}

/** The system's error code (`ENOENT`, ...) of a failed system call, or undefined. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

const KIND_BY_NUMBER: ReadonlyMap<number, ErrorKind> = new Map(
  Object.entries(ERROR_KINDS).map(([kind, number]) => [number, kind as ErrorKind]),
);

/** The kind with this wire number; `internal` for a number that a newer peer may know and we do not. */
export function errorKindOf(number: number): ErrorKind {
  return KIND_BY_NUMBER.get(number) ?? "internal";
}

/** Throws an `internal` error when something that cannot happen has happened. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new DfsError("internal", `internal error: ${message}`);
}
