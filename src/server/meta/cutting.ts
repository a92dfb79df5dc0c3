/**
 * Cuts of long files that are on record (`namespace/content/cuts.ts`): working them off, and operations that have to wait for
 * that because their file would grow.
 */
import type { InodeId } from "../../base/ids.ts";
import type { Engine } from "./engine.ts";
import { CutPending, cutStep } from "./namespace/operations.ts";

/**
 * Works off the cut of an inode, until `isEnough` says that what is left begins far enough behind. Nobody waits for the disk:
 * a step that a power cut takes back is made again, and with it goes whatever was executed after it. `owner` is who waits, if
 * anybody does.
 */
export async function finishCut(
  engine: Engine,
  inode: InodeId,
  isEnough: (start: number) => boolean,
  owner?: unknown,
): Promise<void> {
  let start: number | undefined = 0;
  while (start !== undefined && !isEnough(start)) {
    start = await engine.lazy(
      () => cutStep({ nowNs: engine.nowNs, ids: engine.idSource }, inode),
      owner,
    );
  }
}

/**
 * Executes `run`, again and again as long as it comes upon a cut, which is worked off first as far as it has to be. `owner` is
 * who asked for it.
 */
export async function behindCuts<T>(
  engine: Engine,
  owner: unknown,
  run: () => Promise<T>,
): Promise<T> {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof CutPending)) throw error;
      const { inode, size } = error;
      await finishCut(engine, inode, (start) => start >= size, owner);
    }
  }
}
