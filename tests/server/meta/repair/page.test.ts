// A page writes back what has changed on it, and nothing else.

import { expect, test } from "bun:test";
import { blockId, inodeId, serverId, type BlockId } from "../../../../src/base/ids.ts";
import { clusterView } from "../../../../src/server/meta/repair/need.ts";
import { onPage, type BlockPage } from "../../../../src/server/meta/repair/page.ts";
import type { Operation, StoreRequest } from "../../../../src/server/meta/store/store.ts";
import { failureOf } from "../../../support/failure.ts";
import { Harness } from "../namespace/harness.ts";

const S1 = serverId(1);
const S2 = serverId(2);
const S3 = serverId(3);
const S4 = serverId(4);

const idOf = (number: number): BlockId => blockId(BigInt(number));

/** Blocks 1 to 3 of group 0, which wants servers 1, 2 and 3, with copies on 1 and 3; block 3 is dead. */
function filled(): Harness {
  const harness = new Harness();
  for (const number of [1, 2, 3]) {
    harness.primitives["block.insert"]({
      id: idOf(number),
      state: number === 3 ? "dead" : "live",
      length: 1,
      checksum: 1n,
      group: 0,
      refs: 1,
      inode: inodeId(0n),
      fileOffset: 0,
      diedNs: number === 3 ? 1n : undefined,
    });
    for (const server of [S3, S1]) {
      harness.primitives["replica.put"]({ block: idOf(number), server, state: "present" });
    }
  }
  return harness;
}

/** Runs a change on a page of these blocks; returns what it gave, and the names of the changes that were written. */
async function changed<T>(
  harness: Harness,
  ids: readonly BlockId[],
  change: (page: BlockPage) => T,
) {
  const written: string[] = [];
  function* operation(): Operation<T> {
    const view = yield* clusterView(3, harness.nowNs);
    return yield* noting(onPage(view, ids, change), written);
  }
  return { result: await harness.run(operation()), written };
}

function* noting<T>(operation: Operation<T>, names: string[]): Operation<T> {
  let step = operation.next();
  while (!step.done) {
    const request: StoreRequest = step.value;
    if (/put|delete/i.test(request.name)) names.push(request.name);
    step = operation.next(yield request);
  }
  return step.value;
}

test("a page that was only looked at writes nothing", async () => {
  using harness = closing(filled());
  const ids = [1, 2, 3, 9].map(idOf);
  const { result, written } = await changed(harness.value, ids, (page) =>
    ids.map((id) => [
      page.block(id)?.state,
      page.live(id)?.id,
      page.copies(id).map(({ server }) => server),
      page.copyOn(id, S1),
    ]),
  );
  expect(result).toEqual([
    ["live", idOf(1), [S1, S3], "present"],
    ["live", idOf(2), [S1, S3], "present"],
    ["dead", undefined, [S1, S3], "present"],
    [undefined, undefined, [], undefined],
  ]);
  expect(written).toEqual([]);
});

test("copies are put and taken away, in order of servers, and what is as before is not written", async () => {
  using harness = closing(filled());
  const { result, written } = await changed(harness.value, [idOf(1), idOf(2)], (page) => {
    page.setCopy(idOf(1), S4, "adding");
    page.setCopy(idOf(1), S2, "bad");
    page.setCopy(idOf(1), S2, "adding");
    page.setCopy(idOf(1), S1, undefined);
    page.setCopy(idOf(2), S2, "adding");
    page.setCopy(idOf(2), S2, undefined);
    page.setCopy(idOf(2), S1, "present");
    page.setCopy(idOf(2), S4, undefined);
    return page.copies(idOf(1)).map(({ server, state }) => `${server}:${state}`);
  });
  expect(result).toEqual(["2:adding", "3:present", "4:adding"]);
  expect(written).toEqual(["replica.putMany", "replica.delete"]);
  const { primitives } = harness.value;
  const onRecord = (number: number) =>
    primitives["replica.list"](idOf(number)).map(({ server, state }) => `${server}:${state}`);
  expect(onRecord(1)).toEqual(result);
  expect(onRecord(2)).toEqual(["1:present", "3:present"]);
});

test("what blocks need goes on record once, keeps its beginning, and goes when nothing is needed", async () => {
  using harness = closing(filled());
  const { primitives } = harness.value;
  const ids = [idOf(1), idOf(2)];
  const judgeAll = (page: BlockPage): void => {
    for (const id of ids) page.judge(page.live(id)!, "serverOut");
  };
  const first = await changed(harness.value, ids, judgeAll);
  expect(first.written).toEqual(["repair.putMany"]);
  const entry = { missing: 1, urgency: 2, reason: "serverOut" as const };
  const [since] = ids.map((id) => primitives["repair.get"](id)!.sinceNs);
  for (const id of ids) {
    expect(primitives["repair.get"](id)).toEqual({ ...entry, block: id, sinceNs: since! });
  }
  expect((await changed(harness.value, ids, judgeAll)).written).toEqual([]);
  const worse = await changed(harness.value, ids, (page) => {
    page.setCopy(idOf(1), S1, "bad");
    page.judge(page.live(idOf(1))!, "badReplica");
    page.setCopy(idOf(2), S2, "present");
    page.judge(page.live(idOf(2))!, "badReplica");
  });
  expect(worse.written).toEqual(["replica.putMany", "repair.putMany", "repair.deleteMany"]);
  const now = { ...entry, block: idOf(1), missing: 2, urgency: 1, sinceNs: since! };
  expect(primitives["repair.get"](idOf(1))).toEqual(now);
  expect(primitives["repair.get"](idOf(2))).toBeUndefined();
});

test("a block that is not on the page is refused", async () => {
  using harness = closing(filled());
  const refused = changed(harness.value, [idOf(1)], (page) => page.setCopy(idOf(2), S1, "bad"));
  expect(await failureOf(refused)).toMatchObject({
    message: "block 2 is not on the page that is judged",
  });
});

function closing(value: Harness): { readonly value: Harness } & Disposable {
  return { value, [Symbol.dispose]: () => value.close() };
}
