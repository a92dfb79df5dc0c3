// Reading a file whose map changes while it is read.

import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { blockId, serverId } from "../../src/base/ids.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { BlockReader } from "../../src/client/block-reader.ts";
import { FileMap } from "../../src/client/file-map.ts";
import { FileReader } from "../../src/client/file-reader.ts";
import type { MappedExtent } from "../../src/protocol/messages/common.ts";

function extent(offset: number, length: number, block: bigint): MappedExtent {
  return {
    offset,
    length,
    block: blockId(block),
    blockOffset: 0,
    blockLength: length,
    checksum: 0n,
    servers: [serverId(1)],
  };
}

test("what is known of the new map may end inside what is read", async () => {
  const now = [extent(0, 50, 2n), extent(50, 50, 3n)];
  const map = new FileMap((offset) => {
    const [first, ...rest] = now.filter((each) => each.offset + each.length > offset);
    return Promise.resolve({ version: 2n, size: 100, extents: [first!], more: rest.length > 0 });
  });
  map.seed(0, { version: 1n, size: 100, extents: [extent(0, 100, 1n)], more: false });
  // Block 1 is gone; the bytes of the others are their numbers.
  const blocks: Pick<BlockReader, "read"> = {
    read: ({ extent: { block }, length }) =>
      Promise.resolve({
        bytes: block === 1n ? undefined : new Uint8Array(length).fill(Number(block)),
        verified: block === 1n ? 0 : 1,
        failures: block === 1n ? [{ server: serverId(1), kind: "noBlock", reason: "gone" }] : [],
      }),
  };
  const reader = new FileReader(
    {
      blocks: blocks as BlockReader,
      mayComeBack: () => false,
      onMissingReplica: () => undefined,
      clock: systemClock,
      random: systemRandom,
    },
    { path: "/file" },
    map,
  );
  const bytes = await reader.range(0, 100);
  expect([...bytes]).toEqual([...new Array(50).fill(2), ...new Array(50).fill(3)]);
});
