/**
 * A time of change that is set after writes goes with their commit: programs that unpack or copy files write, set the time, and
 * close, and one transaction does for both.
 */
import type { SetAttributes } from "./api.ts";
import type { WriteBack } from "./write-back.ts";

/**
 * Flushes what was written with the time of `change`, when that sets nothing else and there is something to flush. False: it has
 * done nothing. @throws what `flush` fails with; what was not committed has its own time again then.
 */
export async function flushDated(
  writeBack: WriteBack,
  change: SetAttributes,
  flush: () => Promise<void>,
): Promise<boolean> {
  const { mtimeNs, ...others } = change;
  const isAlone = Object.values(others).every((value) => value === undefined);
  if (typeof mtimeNs !== "bigint" || !isAlone) return false;
  const before = writeBack.date(mtimeNs);
  if (before === undefined) return false;
  try {
    await flush();
  } catch (error) {
    if (writeBack.writtenNs === mtimeNs) writeBack.date(before);
    throw error;
  }
  return true;
}
