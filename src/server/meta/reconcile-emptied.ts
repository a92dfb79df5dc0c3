/**
 * Compares a data server that has lost its disk with what metadata has on record: of the stretches of block ids in which it holds
 * nothing all copies are given up together, where reconcile.ts looks at each. Most of what it had is one such stretch.
 */
import type { BlockId, ServerId } from "../../base/ids.ts";
import type { ReplyOf } from "../../protocol/message.ts";
import type { blockList } from "../../protocol/messages/data.ts";
import type { Engine } from "./engine.ts";
import { clusterView } from "./repair/need.ts";
import { loseStretch, nextStretch } from "./repair/refill-steps.ts";
import { ask } from "./store/store.ts";

/** Asks the server for what it holds behind a block, so many at most. */
export type ListHeld = (after: BlockId, limit: number) => Promise<ReplyOf<typeof blockList>>;

/** Whether the server has lost its disk and has not been refilled. */
export async function isBeingFilled(engine: Engine, server: ServerId): Promise<boolean> {
  return (await engine.question(() => ask("server.get", server)))?.filling === true;
}

/** Copies up to `last` have been given up, so many more than before. */
export interface GivenUp {
  readonly last: BlockId;
  readonly lost: number;
}

/**
 * Gives up the copies of the stretches behind `after` in which the server holds nothing, `limit` rows at a time, and ends at the
 * first in which it does, or in which copies are to be looked at one by one.
 *
 * A stretch is counted before the server is asked, and again in the transaction: what came on record in between may be
 * durable there, and then it is not for us to say that it is not.
 * @throws DfsError as `list`.
 */
export async function* giveUpEmptied(
  engine: Engine,
  server: ServerId,
  list: ListHeld,
  after: BlockId,
  limit: number,
): AsyncGenerator<GivenUp, void, void> {
  for (;;) {
    const stretch = await engine.question(() => nextStretch(server, after, limit));
    if (stretch === undefined) return;
    const [next] = (await list(after, 1)).blocks;
    if (next !== undefined && next.block <= stretch.last) return;
    const lost = await engine.change(function* () {
      const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
      return yield* loseStretch(view, server, stretch);
    });
    if (lost === undefined) return;
    after = stretch.last;
    yield { last: after, lost };
  }
}
