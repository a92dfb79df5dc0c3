/**
 * setuid and setgid bits, which a write, a cut or another owner takes away, as the kernel's notify_change does.
 */
import type { Attributes } from "../../protocol/messages/common.ts";

const SET_UID = 0o4000;
const SET_GID = 0o2000;
const GROUP_EXECUTE = 0o010;

/** The mode without them, or undefined when there is nothing to take away. setgid without group execution means locking, and stays. */
export function withoutSetId({
  type,
  mode,
}: Pick<Attributes, "type" | "mode">): number | undefined {
  if (type === "directory" || type === "symlink") return undefined;
  const cleared = mode & ~SET_UID & ~((mode & GROUP_EXECUTE) === 0 ? 0 : SET_GID);
  return cleared === mode ? undefined : cleared;
}
