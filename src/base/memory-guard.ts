/**
 * Collects garbage when the memory of this process rises above what it has ever been, from MANY_BYTES on.
 *
 * The collector goes by the size of the heap that was left by the last collection, so after a rush of large objects it lets as
 * much garbage come together again, of whatever kind; and the allocator keeps what was freed (bin/.runtime.sh). Without this the
 * most that a server ever held rose with each new kind of rush. A collection takes some hundredths of a second; as memory is
 * not given back to the system, there are few of them in the life of a process.
 */
import type { Clock } from "./clock.ts";

const LOOK_MS = 50;
const MANY_BYTES = 140 * 1024 * 1024;
/** Rising by less is not worth a collection. */
const STEP_BYTES = 8 * 1024 * 1024;

export interface MemoryGuardOptions {
  readonly clock: Clock;
  /** Resident bytes of this process. */
  readonly residentBytes: () => number;
  readonly collect: () => void;
}

/** Starts looking; returns how to stop. */
export function guardMemory({ clock, residentBytes, collect }: MemoryGuardOptions): () => void {
  let most = MANY_BYTES;
  const look = (): void => {
    if (residentBytes() > most + STEP_BYTES) {
      collect();
      most = Math.max(most, residentBytes());
    }
    timer = clock.setTimer(LOOK_MS, look, { background: true });
  };
  let timer = clock.setTimer(LOOK_MS, look, { background: true });
  return () => timer.cancel();
}

/** For this process as it is. */
export function guardOwnMemory(clock: Clock): () => void {
  return guardMemory({
    clock,
    residentBytes: () => process.memoryUsage.rss(),
    collect: () => Bun.gc(true),
  });
}
