/**
 * Ctrl-C and its relatives. The first signal asks the command to stop what it is doing and clean up; a second one, or a
 * clean-up that takes too long, ends the process at once. Temporary files that are left then are removed on the way out.
 */
import { readFileSync, unlinkSync } from "node:fs";
import { DfsError, isDfsError, systemCodeOf } from "../../base/errors.ts";

const DEFAULT_CLEAN_UP_MS = 3000;

/** So long what has been begun may take to end after an interruption. */
const LAST_STEP_MS = 500;

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface Interruption {
  readonly signal: AbortSignal;
  /** The exit code that the signal asks for, once one has come. */
  readonly exitCode: () => number | undefined;
  /** Sets how long a clean-up may take. */
  readonly allowCleanUp: (milliseconds: number) => void;
  /** Sets what is called when a clean-up takes longer than that, before the process ends. */
  readonly onGivenUp: (tell: () => void) => void;
}

/** What Ctrl-C ends a command with: what was done until then, and how to go on. */
export function interrupted(done: string, next: string): DfsError {
  return new DfsError("cancelled", `interrupted: ${done}\n${next}`);
}

/** What Ctrl-C ends a command with that only tells. */
export function interruptedTelling(verb: string): DfsError {
  return interrupted(`not all was ${verb}`, "the same command begins from the start");
}

/** Does `work`; when an interruption ends that, or would and it hangs, the error says what `words` say. */
export async function tellingInterruption<T>(
  signal: AbortSignal,
  words: () => DfsError,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await soonUnlessAborted(signal, work());
  } catch (error) {
    throw signal.aborted && isDfsError(error) ? words() : error;
  }
}

const temporaryFiles = new Set<Buffer>();

/** Catches the signals that end a process; without this, a signal ends it with nothing cleaned up. */
export function catchInterruption(): Interruption {
  const controller = new AbortController();
  let exitCode: number | undefined;
  let cleanUpMs = DEFAULT_CLEAN_UP_MS;
  let tell = (): void => undefined;
  for (const [name, code] of Object.entries(SIGNALS)) {
    if (name === "SIGHUP" && isHangupIgnored()) continue;
    process.on(name, () => {
      if (exitCode !== undefined) process.exit(exitCode);
      exitCode = code;
      controller.abort(new DfsError("cancelled", "interrupted"));
      const giveUp = (): void => {
        tell();
        process.exit(code);
      };
      setTimeout(giveUp, cleanUpMs).unref();
    });
  }
  process.on("exit", removeTemporaryFiles);
  return {
    signal: controller.signal,
    exitCode: () => exitCode,
    allowCleanUp: (milliseconds) => (cleanUpMs = milliseconds),
    onGivenUp: (wanted) => (tell = wanted),
  };
}

/** True under nohup(1), which must go on working. Linux tells in /proc; bit 0 is signal 1. */
function isHangupIgnored(): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) & 1n) === 1n;
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return false; // no /proc: nobody can tell
  }
}

/** Remembers a temporary file, to be removed should the process end before {@link forgetTemporary}. */
export function rememberTemporary(path: Buffer): void {
  temporaryFiles.add(path);
}

export function forgetTemporary(path: Buffer): void {
  temporaryFiles.delete(path);
}

function removeTemporaryFiles(): void {
  for (const path of temporaryFiles) {
    try {
      unlinkSync(path);
    } catch {
      continue; // gone already, or its directory is: nothing is left behind
    }
  }
}

/**
 * Settles as `work` does; when the signal is aborted within a moment: what has been begun mostly ends by itself then, and can
 * be counted and cleaned up after. What it waits for may never come: after that moment it rejects with the signal's reason.
 */
export async function soonUnlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  try {
    return await unlessAborted(signal, work);
  } catch (error) {
    if (!signal.aborted) throw error;
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(error), LAST_STEP_MS);
    try {
      return await Promise.race([work, promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Rejects with the signal's reason when it is aborted; else settles as `work` does. */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  if (signal.aborted) {
    work.catch(() => undefined); // the interruption is what is told
    throw signal.reason;
  }
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
