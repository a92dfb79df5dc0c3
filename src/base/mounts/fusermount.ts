/**
 * `fusermount3` of the package fuse3, which is setuid root: by it ordinary users mount and unmount.
 */
import { DfsError, messageOf } from "../errors.ts";

const PROGRAM = "fusermount3";

export interface FusermountOutcome {
  readonly exitCode: number;
  /** What it said on standard error, in English. */
  readonly complaint: string;
}

/** Runs it to its end; `socket` is one over which it is to send the open device. @throws DfsError `notSupported`. */
export async function runFusermount(
  args: readonly string[],
  socket?: number,
): Promise<FusermountOutcome> {
  let child;
  try {
    child = Bun.spawn([PROGRAM, ...args], {
      stdin: socket ?? "ignore",
      stdout: "ignore",
      stderr: "pipe",
      env: { ...process.env, LC_ALL: "C", ...(socket !== undefined && { _FUSE_COMMFD: "0" }) },
    });
  } catch (error) {
    throw new DfsError(
      "notSupported",
      `cannot run ${PROGRAM}, without which only root can mount and unmount: ${messageOf(error)}\n` +
        "install it (Debian: apt install fuse3; Fedora: dnf install fuse3), or do it as root",
      { cause: error },
    );
  }
  const complaint = (await new Response(child.stderr).text()).trim();
  return { exitCode: await child.exited, complaint };
}
