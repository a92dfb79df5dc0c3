// Ids out of many reservations in one commit: each comes out of its own, and no id is compared with all of them.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { blockId, sessionId, type BlockId } from "../../../../src/base/ids.ts";
import { claimBlocks } from "../../../../src/server/meta/namespace/content/reservations.ts";
import type { Reservation } from "../../../../src/server/meta/store/rows.ts";
import {
  runSync,
  type Operation,
  type Primitives,
} from "../../../../src/server/meta/store/store.ts";
import { Harness, type TestSession } from "./harness.ts";
import { failsWith, reserve } from "./support.ts";

let harness: Harness;
let session: TestSession;

beforeEach(async () => {
  harness = new Harness();
  session = await harness.openSession();
});

afterEach(() => harness.close());

const used = (block: BlockId): number[] | undefined => {
  const found = harness.primitives["reservation.find"](block);
  return found === undefined ? undefined : [...found.used];
};

test("each id comes out of its own reservation, in whatever order they are named", async () => {
  const a = await reserve(session, 9);
  const b = await reserve(session, 1);
  const c = await reserve(session, 17);
  const some = [c[16]!, a[8]!, b[0]!, c[0]!, a[0]!, c[8]!];
  await harness.run(claimBlocks(session.id, some));
  expect(used(a[0]!)).toEqual([1, 1]);
  expect(used(b[0]!)).toBeUndefined();
  expect(used(c[0]!)).toEqual([1, 1, 1]);
  await failsWith(harness.run(claimBlocks(session.id, [c[1]!, a[8]!])), "stale");
  await failsWith(harness.run(claimBlocks(session.id, [c[1]!, c[1]!])), "stale");
  expect(used(c[0]!)).toEqual([1, 1, 1]);
  await harness.run(claimBlocks(session.id, a.slice(1, 8)));
  expect(used(a[0]!)).toBeUndefined();
  await harness.run(claimBlocks(session.id, [...c.slice(1, 8), ...c.slice(9, 16)].toReversed()));
  expect(used(c[0]!)).toBeUndefined();
});

// Each id was compared with all reservations before its own: a commit of 2,048 blocks, each out of a reservation of one,
// held up the metadata server for 0.1 to 0.2 s.
test("the work is that of the ids, however many reservations they are from", () => {
  const count = 1000;
  let comparisons = 0;
  const counted = (id: bigint): BlockId =>
    ({
      [Symbol.toPrimitive]: () => {
        comparisons++;
        return id;
      },
    }) as unknown as BlockId;
  const owner = sessionId(1n);
  const find = (block: BlockId): Reservation => ({
    first: blockId(BigInt(block)),
    count: 1,
    session: owner,
    used: new Uint8Array(1),
    endedNs: undefined,
  });
  const primitives = {
    "reservation.find": find,
    "reservation.delete": () => undefined,
  } as unknown as Primitives;
  const blocks = Array.from({ length: count }, (_, index) => counted(BigInt(2 * index + 1)));
  const claim: Operation<void> = claimBlocks(owner, blocks);
  runSync(primitives, claim);
  expect(comparisons).toBeWithin(count, 30 * count);
});
