// What a commit puts on record of a block's copies is what judging the block finds.

import { expect, test } from "bun:test";
import { isDfsError } from "../../../../src/base/errors.ts";
import { incarnationId, serverId } from "../../../../src/base/ids.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import { clusterView, REFILL } from "../../../../src/server/meta/repair/need.ts";
import { judge } from "../../../../src/server/meta/repair/steps.ts";
import { Harness, SERVERS, STANDINGS } from "./harness.ts";
import { blockAt, commit, createFile, reserve, wholeBlocks } from "./support.ts";

/** Of a disk that the server has lost since. */
const FORMER = incarnationId(2n);
const CURRENT = incarnationId(1n);

function change(harness: Harness, server: number, fields: object): void {
  const row = harness.primitives["server.get"](serverId(server))!;
  harness.primitives["server.put"]({ ...row, ...fields });
}

test("a copy in doubt is on record for the refill of its server, when it is all that the block lacks", async () => {
  const harness = new Harness();
  const session = await harness.openSession();
  const { inode } = await createFile(session, "f");
  const [block] = await reserve(session, 1);
  change(harness, 2, { filling: true });
  const incarnations = [CURRENT, FORMER, CURRENT];
  const blocks = [{ ...blockAt(block!, 0), incarnations }];
  await commit(session, { ...wholeBlocks(inode, [block!]), blocks });
  expect(harness.primitives["repair.get"](block!)).toMatchObject({ missing: 1, urgency: REFILL });
  harness.close();
});

test("whatever servers are like, judging a block that was just committed changes nothing", async () => {
  const seed = systemRandom.below(2 ** 31);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const harness = new Harness();
  const session = await harness.openSession();
  const { inode } = await createFile(session, "f");
  let committed = 0;
  for (let round = 0; round < 300; round++) {
    for (const id of SERVERS) {
      const fields = STANDINGS[random.below(STANDINGS.length)]!;
      change(harness, id, { state: "up", filling: false, ...fields });
    }
    const [id] = await reserve(session, 1);
    const servers = [1, 2, 3, 4].filter(() => random.below(5) > 0);
    const incarnations = servers.map(() => (random.below(4) === 0 ? FORMER : CURRENT));
    const index = random.below(16);
    const block = { ...blockAt(id!, index, servers), incarnations };
    try {
      await commit(session, { ...wholeBlocks(inode, [id!], [index]), blocks: [block] });
    } catch (error) {
      if (!isDfsError(error, "quorum")) throw error;
      continue;
    }
    committed++;
    const recorded = harness.primitives["repair.get"](id!);
    await harness.run(
      (function* () {
        yield* judge(yield* clusterView(3, 7n), [id!], "badReplica");
      })(),
    );
    expect(harness.primitives["repair.get"](id!)).toEqual(recorded);
  }
  expect(committed).toBeGreaterThan(10);
  harness.close();
});
