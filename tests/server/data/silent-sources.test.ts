// Copies whose source stands still: its connections are open and nothing comes. The source was waited for for half a minute, and
// with it blocks that had one good copy left elsewhere.

import { afterEach, expect, test } from "bun:test";
import { makeBlock } from "../../log/blocks.ts";
import { HoldingProxy } from "../../support/holding-proxy.ts";
import { cleanUpRigs, deafSource, held, Rig, sourceOf } from "./copy-rig.ts";
import { eventually, putBlock } from "./support.ts";

afterEach(cleanUpRigs);

/** A source that stands still after it has given one block. */
async function frozenSource(rig: Rig) {
  const [behind, good, to] = [await rig.add(), await rig.add(), await rig.add()];
  const blocks = [1, 2, 3].map((id) => makeBlock(id, 1000));
  for (const member of [behind, good])
    for (const block of blocks) await putBlock(member.caller, block);
  const proxy = await HoldingProxy.to(behind.server.address);
  const frozen = { server: behind.server.server, address: proxy.address };
  expect((await rig.copy(to, blocks[0]!, [frozen])).stored).toBe(true);
  proxy.releaseAndLoseAnswers();
  return { to, blocks, frozen, good: sourceOf(good), proxy };
}

test("a copy is made from the next source soon", async () => {
  const rig = await Rig.start();
  const { to, blocks, frozen, good, proxy } = await frozenSource(rig);
  const { stored, failures } = await rig.copy(to, blocks[1]!, [frozen, good]);
  expect([stored, failures.map(({ problem }) => problem)]).toEqual([true, ["unreachable"]]);
  proxy.close();
});

test("a batch ends soon, with the copies of the other sources made", async () => {
  const rig = await Rig.start();
  const { to, blocks, frozen, good, proxy } = await frozenSource(rig);
  const orders = blocks.slice(1).map((block, source) => ({ ...block, source }));
  const results = await rig.copyFrom(to, orders, [frozen, good]);
  expect(results).toEqual(["unreachable", "stored"]);
  proxy.close();
});

test("one that runs and takes long is waited for", async () => {
  const rig = await Rig.start();
  const to = await rig.add();
  const slow = await deafSource();
  let hasEnded = false;
  const copying = rig.copy(to, makeBlock(1, 1000), [slow.source]).finally(() => (hasEnded = true));
  await eventually("it is asked, and greeted twice more", () => slow.greeted() === 3);
  expect(hasEnded).toBe(false);
  await slow.leave();
  expect((await copying).failures.map(({ problem }) => problem)).toEqual(["unreachable"]);
  expect(await held(to)).toEqual([]);
});
