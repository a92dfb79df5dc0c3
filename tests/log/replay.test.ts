// From records to the index, whatever the order in which they are met: compaction may put old records behind new ones.

import { expect, test } from "bun:test";
import { blockId, inodeId, lsn } from "../../src/base/ids.ts";
import { seededRandom, type Random } from "../../src/base/random.ts";
import { CompactIndex } from "../../src/log/index.ts";
import { SegmentLedger } from "../../src/log/ledger.ts";
import type { Finding } from "../../src/log/reader.ts";
import { putBodyLength } from "../../src/log/record.ts";
import { Replay } from "../../src/log/replay.ts";

const BLOCKS = 8;
const SEGMENTS = 5;

function putRecord(block: number, number: number): Finding {
  const length = 1 + number;
  const header = {
    kind: "put" as const,
    position: number * 1000,
    synced: 64,
    lsn: lsn(BigInt(number)),
    bodyLength: putBodyLength(length),
    bodyChecksum: BigInt(number),
    block: blockId(BigInt(block)),
    length,
    inode: inodeId(1n),
    fileOffset: 0,
  };
  return { type: "record", header, end: header.position + 8, blocks: [] };
}

function tombstone(blocks: readonly number[], number: number): Finding {
  const header = {
    kind: "tombstone" as const,
    position: number * 1000,
    synced: 64,
    lsn: lsn(BigInt(number)),
    bodyLength: blocks.length * 8,
    bodyChecksum: 0n,
  };
  return {
    type: "record",
    header,
    end: header.position + 8,
    blocks: blocks.map((block) => blockId(BigInt(block))),
  };
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const left = [...items];
  return items.map(() => left.splice(random.below(left.length), 1)[0]!);
}

test("the record with the highest number decides about each block, in every order of records and segments", () => {
  const seed = Number(
    process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
  );
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 300; round++) {
    const wanted = new Map<number, number>();
    const segments: Finding[][] = Array.from({ length: SEGMENTS }, () => []);
    for (let number = 1; number <= 40; number++) {
      const block = 1 + random.below(BLOCKS);
      const segment = segments[random.below(SEGMENTS)]!;
      if (random.below(2) === 0) {
        segment.push(putRecord(block, number));
        wanted.set(block, number);
      } else {
        const also = 1 + random.below(BLOCKS);
        segment.push(tombstone([block, also], number));
        wanted.delete(block);
        wanted.delete(also);
      }
    }
    const index = new CompactIndex();
    const ledger = new SegmentLedger();
    const replay = new Replay(index, ledger);
    for (let number = 1; number <= SEGMENTS; number++) ledger.add(number, 100);
    for (const number of shuffled(random, [1, 2, 3, 4, 5])) {
      replay.takeSegment(number, shuffled(random, segments[number - 1]!));
    }
    const held = index.listAfter(blockId(0n), 100);
    expect(held.map(({ block, lsn: number }) => [Number(block), Number(number)])).toEqual(
      [...wanted].sort(([one], [other]) => one - other),
    );
    expect(replay.nextLsn).toBe(lsn(41n));
    for (let number = 1; number <= SEGMENTS; number++) {
      const live = held.filter(({ segment }) => segment === number).length;
      expect(ledger.state(number).livePuts).toBe(live);
    }
  }
});
