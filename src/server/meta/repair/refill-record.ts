/**
 * Copies that an order of a pass has made go on record: together, but for those whose blocks are to be judged.
 */
import { isDfsError } from "../../../base/errors.ts";
import type { BlockId } from "../../../base/ids.ts";
import type { Engine } from "../engine.ts";
import type { Member } from "../members.ts";
import type { Operation } from "../store/store.ts";
import { clusterView, type ClusterView } from "./need.ts";
import { finishEach, finishRefills, type Refilled, type RefillPage } from "./refill-steps.ts";

/**
 * These blocks, which were chosen from the page, are durable on the server that is refilled. Returns how many copies are present by
 * that.
 */
export async function recordMade(
  engine: Engine,
  { server, instance }: Member,
  blocks: readonly BlockId[],
  { misplaced, mark }: RefillPage,
): Promise<number> {
  const made = { server, instance, mark };
  if (misplaced.size === 0) return recordTogether(engine, { ...made, blocks });
  const odd = blocks.filter((block) => misplaced.has(block));
  const others = blocks.filter((block) => !misplaced.has(block));
  const together =
    others.length === 0 ? 0 : await recordTogether(engine, { ...made, blocks: others });
  return together + (odd.length === 0 ? 0 : await recordEach(engine, { ...made, blocks: odd }));
}

/** Of blocks that need nothing more when they have this copy, unless something has changed. */
async function recordTogether(engine: Engine, made: Refilled): Promise<number> {
  try {
    await change(engine, (view) => finishRefills(view, made));
    return made.blocks.length;
  } catch (error) {
    if (!isDfsError(error, "conflict")) throw error;
    return recordEach(engine, made);
  }
}

function recordEach(engine: Engine, made: Refilled): Promise<number> {
  return change(engine, (view) => finishEach(view, made));
}

function change<T>(engine: Engine, step: (view: ClusterView) => Operation<T>): Promise<T> {
  return engine.change(function* () {
    return yield* step(yield* clusterView(engine.settings.replicas, engine.nowNs));
  });
}
