/**
 * Errors on their way to the kernel.
 *
 * A handler fails by throwing. A DfsError becomes the errno of its kind (`base/errno.ts`); a Refusal is an errno that the
 * driver itself has chosen. ENOSYS is special: the kernel takes it for "not implemented, ever" and does not ask again. So only
 * a Refusal may carry it, never an error of the file system.
 */
import { constants } from "node:os";

import { ERRNO, errnoOf } from "../../../base/errno.ts";
import { isDfsError } from "../../../base/errors.ts";

/** An answer of the driver's own: this errno. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}

/** "There is no such operation here": the kernel does without it from now on. */
export function notImplemented(what: string): Refusal {
  return new Refusal(ERRNO.ENOSYS, `${what} is not implemented`);
}

/** The ioctl is not one of this file. */
export function notATerminal(): Refusal {
  return new Refusal(constants.errno.ENOTTY, "no ioctl is implemented");
}

/** The errno for what was thrown, and whether it is a mistake of ours that belongs into the log. */
export function errnoFor(error: unknown): { readonly errno: number; readonly unexpected: boolean } {
  if (error instanceof Refusal) return { errno: error.errno, unexpected: false };
  if (!isDfsError(error)) return { errno: ERRNO.EIO, unexpected: true };
  const name = errnoOf(error.kind);
  const errno = name === "ENOSYS" ? ERRNO.EOPNOTSUPP : ERRNO[name];
  return { errno, unexpected: error.kind === "internal" };
}
