import { resolve } from "node:path";
import { DfsError } from "../../base/errors.ts";
import type { Argument } from "../shared/arguments.ts";
import { printable } from "../shared/text.ts";

/**
 * The absolute path of a directory of this machine that was typed.
 * @throws DfsError `usage` for an empty one, and for bytes that are no UTF-8: they could not be passed on to a process.
 */
export function localPath({ text }: Argument): string {
  if (text === "") throw new DfsError("usage", "the name of a directory is missing: it is empty");
  if (text.includes("\ufffd")) {
    throw new DfsError("usage", `cannot use ${printable(text)}: the path is not valid UTF-8`);
  }
  return resolve(text);
}
