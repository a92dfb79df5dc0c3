/**
 * Who owns what is made: the user who runs the command, as with any program on this machine.
 */
import type { FileOwner } from "../../client/api.ts";

/** True for the superuser, who alone can give files away or make device nodes. */
export function isSuperuser(): boolean {
  return process.geteuid?.() === 0;
}

/** The bits of `mode` that the user's umask lets pass. */
export function withUmask(mode: number): number {
  return mode & ~process.umask();
}

/** The user of this process, and `mode` less the umask. */
export function ownOwner(mode: number): FileOwner {
  return { mode: withUmask(mode), uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
}
