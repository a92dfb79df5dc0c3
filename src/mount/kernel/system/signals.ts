/**
 * What the signals that a process has got mean for a request that it waits for.
 *
 * The kernel tells of any signal in the same way. Timers (git's progress), preemption in Go programs and the like must not make
 * stat(2) or close(2) fail with EINTR: nobody expects that of a directory. Ctrl-C must. So the process is looked at.
 */
import { readFileSync } from "node:fs";
import { constants } from "node:os";

const { signals } = constants;

/** Whoever sends these wants the process to end, whether it handles them or not. */
const ENDING = maskOf([
  signals.SIGHUP,
  signals.SIGINT,
  signals.SIGQUIT,
  signals.SIGKILL,
  signals.SIGTERM,
]);

/** Signals that do not end a process which has no handler for them. */
const HARMLESS_BY_DEFAULT = maskOf([
  signals.SIGCHLD,
  signals.SIGCONT,
  signals.SIGURG,
  signals.SIGWINCH,
  signals.SIGSTOP,
  signals.SIGTSTP,
  signals.SIGTTIN,
  signals.SIGTTOU,
]);

function maskOf(numbers: readonly number[]): bigint {
  return numbers.reduce((mask, number) => mask | (1n << BigInt(number - 1)), 0n);
}

/** A mask of /proc/PID/status, a field in hexadecimal digits. */
function maskIn(status: string, field: string): bigint {
  const digits = new RegExp(`^${field}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1];
  return digits === undefined ? 0n : BigInt(`0x${digits}`);
}

/** True when a signal is pending that ends the process, or is meant to. `status` is the text of /proc/PID/status. */
export function endIsPending(status: string): boolean {
  const pending = maskIn(status, "SigPnd") | maskIn(status, "ShdPnd");
  const effective = pending & ~maskIn(status, "SigBlk") & ~maskIn(status, "SigIgn");
  const uncaught = effective & ~maskIn(status, "SigCgt");
  return ((effective & ENDING) | (uncaught & ~HARMLESS_BY_DEFAULT)) !== 0n;
}

/** True when the process has been asked to end, or is not there any more. 0 is a process that we cannot see. */
export function hasToEnd(pid: number): boolean {
  if (pid === 0) return true;
  try {
    return endIsPending(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    // It is gone, or belongs to another view of the processes: nobody to be considerate of.
    return true;
  }
}
