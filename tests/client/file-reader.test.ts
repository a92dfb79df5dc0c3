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

/** What reading one block comes to. */
type Outcome = number | "noBlock" | "busy";

/** A reader that gets from each block what `read` says: bytes of that value, or a failure of server 1. */
function readerOf(map: FileMap, read: (block: bigint) => Outcome): FileReader {
  const blocks: Pick<BlockReader, "read"> = {
    read: ({ extent: { block }, length }) => {
      const outcome = read(block);
      const bytes = typeof outcome === "number" ? new Uint8Array(length).fill(outcome) : undefined;
      const failures =
        typeof outcome === "number" ? [] : [{ server: serverId(1), kind: outcome, reason: "" }];
      const right = bytes === undefined ? [] : [serverId(1)];
      return Promise.resolve({ bytes, right, failures });
    },
  };
  const options = {
    blocks: blocks as BlockReader,
    retryTimeoutMs: 5_000,
    mayComeBack: () => false,
    onMissingReplica: () => undefined,
    onDoubt: () => undefined,
    readQuorum: () => 1,
    onVotes: undefined,
    clock: systemClock,
    random: systemRandom,
  };
  return new FileReader(options, { path: "/file" }, map);
}

test("what is known of the new map may end inside what is read", async () => {
  const now = [extent(0, 50, 2n), extent(50, 50, 3n)];
  const map = new FileMap((offset) => {
    const [first, ...rest] = now.filter((each) => each.offset + each.length > offset);
    return Promise.resolve({ version: 2n, size: 100, extents: [first!], more: rest.length > 0 });
  });
  map.seed(0, { version: 1n, size: 100, extents: [extent(0, 100, 1n)], more: false });
  const reader = readerOf(map, (block) => (block === 1n ? "noBlock" : Number(block)));
  const bytes = await reader.range(0, 100);
  expect(bytes.length).toBe(100);
  expect(bytes.subarray(0, 50).every((byte) => byte === 2)).toBe(true);
  expect(bytes.subarray(50).every((byte) => byte === 3)).toBe(true);
});

test("a server that says that it is starting is waited for, though the service calls it down", async () => {
  const page = { version: 1n, size: 100, extents: [extent(0, 100, 1n)], more: false };
  let asked = 0;
  const reader = readerOf(new FileMap(() => Promise.resolve(page)), () =>
    asked++ === 0 ? "busy" : 7,
  );
  expect((await reader.range(0, 100)).every((byte) => byte === 7)).toBe(true);
});
