// The table of inodes beside a Map that is given the same, at random.

import { expect, test } from "bun:test";
import { inodeId, type InodeId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { InodeTable, NOWHERE } from "../../src/mount/inode-table.ts";

const SEED = Number(process.env["DFS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const ROUNDS = 60_000;

interface Expected {
  references: number;
  version: bigint;
}

test(`keeps what it was told of each inode, through growing and shrinking (seed ${SEED})`, () => {
  const random = seededRandom(SEED);
  const table = new InodeTable();
  const expected = new Map<InodeId, Expected>();
  const inodes = Array.from({ length: 5_000 }, (_, index) =>
    inodeId(index % 3 === 0 ? (1n << 62n) + BigInt(index) * 4_294_967_296n : BigInt(index + 1)),
  );
  for (let round = 0; round < ROUNDS; round++) {
    const inode = inodes[random.below(inodes.length)]!;
    // First mostly more, then mostly less.
    const adds = random.below(10) < (round < ROUNDS / 2 ? 8 : 2);
    const known = expected.get(inode);
    if (adds) {
      const slot = table.enter(inode);
      const version = BigInt(round) << 20n;
      table.refer(slot, 1);
      table.setVersion(slot, version);
      expected.set(inode, { references: (known?.references ?? 0) + 1, version });
    } else {
      const slot = table.find(inode);
      expect(slot === NOWHERE).toBe(known === undefined);
      if (slot !== NOWHERE) table.removeAt(slot);
      expected.delete(inode);
    }
    expect(table.size).toBe(expected.size);
  }
  expect(new Set(table.all())).toEqual(new Set(expected.keys()));
  for (const inode of inodes) {
    const slot = table.find(inode);
    const known = expected.get(inode);
    expect(slot === NOWHERE).toBe(known === undefined);
    if (known === undefined) continue;
    const told = { references: table.referencesAt(slot), version: table.versionAt(slot) };
    expect(told).toEqual(known);
  }
});
