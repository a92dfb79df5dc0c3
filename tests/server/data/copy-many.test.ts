// data.copyMany and data.getMany over real sockets: small blocks, many at a time, and what becomes of each of them.

import { afterEach, describe, expect, test } from "bun:test";
import { blockId } from "../../../src/base/ids.ts";
import {
  MAX_BATCHABLE_BYTES,
  MAX_BATCHED_BLOCKS,
  MAX_BATCHED_BYTES,
  MAX_GIVEN_BYTES,
} from "../../../src/base/limits.ts";
import type { BlockLog, BlockToPut } from "../../../src/log/log.ts";
import { blockDelete, blockGetMany } from "../../../src/protocol/messages/data.ts";
import { readMany } from "../../../src/server/data/many.ts";
import { makeBlock } from "../../log/blocks.ts";
import {
  bytesOn,
  cleanUpRigs,
  deafSource,
  held,
  Rig,
  rot,
  sourceOf,
  type Member,
} from "./copy-rig.ts";
import {
  callerOf,
  dataOptions,
  eventually,
  expectError,
  freshDirectory,
  putBlock,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

const timeoutMs = TIMEOUT_MS;

afterEach(cleanUpRigs);

const blocksOf = (ids: readonly number[], length: number): BlockToPut[] =>
  ids.map((id) => makeBlock(id, length));

async function putAll({ caller }: Member, blocks: readonly BlockToPut[]): Promise<void> {
  await Promise.all(blocks.map((block) => putBlock(caller, block)));
}

function getMany({ caller }: Member, blocks: readonly { block: bigint; length: number }[]) {
  const wanted = blocks.map(({ block, length }) => ({ block: blockId(block), length }));
  return caller.request(blockGetMany, { blocks: wanted }, { timeoutMs });
}

describe("data.copyMany", () => {
  test("makes as many copies as a batch may hold, of different lengths", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const lengths = Array.from({ length: MAX_BATCHED_BLOCKS }, (_, at) => 1 + ((at * 37) % 4096));
    const blocks = lengths.map((length, at) => makeBlock(at + 1, length));
    await putAll(from, blocks);
    const results = await rig.copyMany(to, blocks, sourceOf(from));
    expect(results).toEqual(blocks.map(() => "stored"));
    for (const block of blocks) {
      expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);
    }
    // Ordered once more, of a source that is not there: nobody needs to be asked.
    await from.server.stop();
    expect(new Set(await rig.copyMany(to, blocks, sourceOf(from)))).toEqual(new Set(["stored"]));
  });

  test("blocks of more than one piece are copied as well", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const blocks = blocksOf([1, 2, 3], MAX_BATCHABLE_BYTES / 2);
    await putAll(from, blocks);
    rot(from, blocks[1]!); // they come unread, out of the system's memory
    expect(await rig.copyMany(to, blocks, sourceOf(from))).toEqual([
      "stored",
      "notGiven",
      "stored",
    ]);
    expect(await held(to)).toEqual([1n, 3n]);
    expect(Buffer.compare(await bytesOn(to, blocks[2]!), blocks[2]!.bytes)).toBe(0);
  });

  test("as many bytes as a batch may hold are asked for in parts", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const most = MAX_BATCHABLE_BYTES;
    const lengths = [most - 1, 1, 1, most - 1, most, 5000];
    while (lengths.reduce((sum, each) => sum + each) <= MAX_BATCHED_BYTES - most)
      lengths.push(most);
    const blocks = lengths.map((length, at) => makeBlock(at + 1, length));
    const [, , lacking] = blocks;
    await putAll(
      from,
      blocks.filter((block) => block !== lacking),
    );
    const results = await rig.copyMany(to, blocks, sourceOf(from));
    expect(results).toEqual(blocks.map((each) => (each === lacking ? "notGiven" : "stored")));
    for (const block of blocks.filter((each) => each !== lacking)) {
      expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);
    }
  });

  test("each block is fetched from the source that it names, and none suffers when one of them is away", async () => {
    const rig = await Rig.start();
    const [one, two, to] = [await rig.add(), await rig.add(), await rig.add()];
    const away = { ...sourceOf(one), address: "127.0.0.1:1" };
    const blocks = blocksOf([1, 2, 3, 4, 5, 6], 1000);
    const [first, second, third, ...others] = blocks;
    await putAll(one, [first!, third!]);
    await putAll(two, [second!, ...others]);
    const sources = [sourceOf(one), sourceOf(two), away];
    const places = [0, 1, 1, 2, 1, 0];
    const orders = blocks.map((block, at) => ({ ...block, source: places[at]! }));
    expect(await rig.copyFrom(to, orders, sources)).toEqual([
      "stored",
      "stored",
      "notGiven",
      "unreachable",
      "stored",
      "notGiven",
    ]);
    expect(await held(to)).toEqual([1n, 2n, 5n]);
  });

  test("of all batches and sources together, ten parts are asked for at a time", async () => {
    const rig = await Rig.start();
    const to = await rig.add();
    const deaf = await Promise.all([1, 2, 3, 4].map(() => deafSource()));
    const asked = (): number => deaf.reduce((sum, each) => sum + each.asked(), 0);
    const sources = deaf.map(({ source }) => source);
    const length = MAX_BATCHABLE_BYTES;
    const batches = [0, 4, 8, 12, 16, 20].map((first) =>
      rig.copyFrom(
        to,
        [0, 1, 2, 3].map((source) => ({ ...makeBlock(first + source + 1, length), source })),
        sources,
      ),
    );
    await eventually("ten are asked for", () => asked() === 10);
    await Bun.sleep(50);
    expect(asked()).toBe(10);
    for (const each of deaf) await each.leave();
    expect(new Set((await Promise.all(batches)).flat())).toEqual(new Set(["unreachable"]));
  });

  test("a source that goes away between two parts gives nothing more", async () => {
    const rig = await Rig.start();
    const to = await rig.add();
    const ids = Array.from({ length: 4 * 4 }, (_, at) => at + 1); // four parts of short ones
    const blocks = blocksOf(ids, MAX_GIVEN_BYTES / 16 - 1);
    const deaf = await deafSource();
    const copying = rig.copyMany(to, blocks, deaf.source);
    await eventually("two parts are asked for", () => deaf.asked() === 2);
    await deaf.leave();
    expect(await copying).toEqual(blocks.map(() => "unreachable"));
    expect(deaf.asked()).toBe(2); // the others were not asked for
  });

  test("tells for each block what became of it; one that fails harms no other", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const batch = blocksOf([1, 2, 3, 4, 5, 6, 7], 1000);
    const [good, , rotten, , , conflicting, last] = batch;
    const held4 = makeBlock(4, 999); // shorter than it should be
    const held5 = makeBlock(5, 1000, 1); // other bytes
    await putAll(from, [good!, rotten!, held4, held5, conflicting!, last!]); // 2 is lacking
    rot(from, rotten!);
    await putBlock(to.caller, makeBlock(6, 1000, 1));
    expect(await rig.copyMany(to, batch, sourceOf(from))).toEqual([
      "stored",
      "notGiven",
      "notGiven",
      "notGiven",
      "notGiven",
      "notStored",
      "stored",
    ]);
    expect(await held(to)).toEqual([1n, 6n, 7n]);
    expect(Buffer.compare(await bytesOn(to, last!), last!.bytes)).toBe(0);
    await eventually("the source has told of its rotten copy", () =>
      rig.service.rotten.flat().includes(rotten!.block),
    );
  });

  test("a source that is not there gives nothing", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    await from.server.stop();
    const results = await rig.copyMany(to, blocksOf([1, 2], 10), sourceOf(from));
    expect(results).toEqual(["unreachable", "unreachable"]);
  });

  test("a rotten copy is replaced", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const blocks = blocksOf([1, 2], 1000);
    for (const member of [from, to]) await putAll(member, blocks);
    rot(to, blocks[1]!);
    expect(await rig.copyMany(to, blocks, sourceOf(from))).toEqual(["stored", "stored"]);
    expect(Buffer.compare(await bytesOn(to, blocks[1]!), blocks[1]!.bytes)).toBe(0);
  });

  test("a full disk stores nothing and says so for each", async () => {
    const rig = await Rig.start();
    const from = await rig.add();
    const dir = freshDirectory();
    const options = dataOptions(rig.service, dir, { identity: "new", reserveBytes: 2 ** 60 });
    const server = await startData(rig.service, dir, options);
    const full = { server, dir, commands: rig.service.member, caller: await callerOf(server) };
    const blocks = blocksOf([1, 2], 1000);
    await putAll(from, blocks);
    expect(await rig.copyMany(full, blocks, sourceOf(from))).toEqual(["notStored", "notStored"]);
  });

  test("is refused when it is stale, with a block twice, an empty one, too many bytes, or a source that is not listed", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const [one] = blocksOf([1], 1000) as [BlockToPut];
    await putBlock(from.caller, one);
    await rig.delete(to, 7n, 10n);
    await expectError("wrongPeer", rig.copyMany(to, [one], sourceOf(from), 10n));
    await expectError("invalid", rig.copyMany(to, [one, one], sourceOf(from), 11n));
    await expectError("invalid", rig.copyMany(to, [{ ...one, length: 0 }], sourceOf(from), 12n));
    const lost = rig.copyFrom(to, [{ ...one, source: 1 }], [sourceOf(from)], 15n);
    await expectError("invalid", lost);
    await expectError("invalid", rig.copyFrom(to, [{ ...one, source: 0 }], [], 16n));
    const tooMany = MAX_BATCHED_BYTES / MAX_BATCHABLE_BYTES + 1;
    const large = Array.from({ length: tooMany }, (_, at) => ({
      ...one,
      block: blockId(BigInt(at + 2)),
      length: MAX_BATCHABLE_BYTES,
    }));
    await expectError("invalid", rig.copyMany(to, large, sourceOf(from), 17n));
    expect(await held(to)).toEqual([]);
    // None of that has left anything under way.
    expect(await rig.copyMany(to, [one], sourceOf(from), 18n)).toEqual(["stored"]);
  });

  test("a deletion ends the block that it names, at once, and no other", async () => {
    const rig = await Rig.start();
    const to = await rig.add();
    const deaf = await deafSource();
    let ended = false;
    const copying = rig.copyMany(to, blocksOf([1, 2], 10), deaf.source).finally(() => {
      ended = true;
    });
    await eventually("the source is asked", () => deaf.asked() === 1);
    expect(await rig.delete(to, 1n)).toEqual({ deleted: 0 });
    expect(ended).toBe(false);
    expect(await rig.delete(to, 2n)).toEqual({ deleted: 0 });
    expect(await copying).toEqual(["notStored", "notStored"]);
    expect(await held(to)).toEqual([]);
  });

  test("what is deleted while it is copied does not come back", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const blocks = blocksOf([1, 2, 3], 1000);
    await putAll(from, blocks);
    const copying = rig.copyMany(to, blocks, sourceOf(from));
    const deleting = rig.delete(to, 2n);
    const [results] = await Promise.all([copying, deleting]);
    expect([results[0], results[2]]).toEqual(["stored", "stored"]);
    expect(await held(to)).toEqual([1n, 3n]);
  });

  test("is over when the server has joined the service anew", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const deaf = await deafSource();
    const blocks = blocksOf([1, 2], 1000);
    await putAll(from, blocks);
    const copying = rig.copyMany(to, blocks, deaf.source).catch(() => undefined);
    await eventually("the source is asked", () => deaf.asked() === 1);
    const before = rig.service.registrations.length;
    to.commands.close("the test wants it to come back");
    await copying;
    await eventually(
      "the server has registered again",
      () => rig.service.registrations.length === before + 1,
    );
    const again = { ...to, commands: rig.service.member };
    expect(await rig.copyMany(again, blocks, sourceOf(from))).toEqual(["stored", "stored"]);
  });

  test("a batch that names a block of another one waits for what becomes of it there", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const deaf = await deafSource();
    const blocks = blocksOf([1, 2, 3], 1000);
    const [one, two, three] = blocks;
    await putAll(from, blocks);
    const first = rig.copyMany(to, [one!, two!], deaf.source);
    await eventually("the source is asked", () => deaf.asked() === 1);
    const second = rig.copyMany(to, [two!, three!], sourceOf(from));
    while (!(await held(to)).includes(3n)) await Bun.sleep(1);
    expect(await held(to)).toEqual([3n]);
    await rig.delete(to, 2n);
    expect(await second).toEqual(["notStored", "stored"]);
    await rig.delete(to, 1n);
    expect(await first).toEqual(["notStored", "notStored"]);
  });

  test("a range of ids that is deleted ends those blocks of a batch", async () => {
    const rig = await Rig.start();
    const to = await rig.add();
    const deaf = await deafSource();
    const copying = rig.copyMany(to, blocksOf([5, 1, 6, 2], 10), deaf.source);
    await eventually("the source is asked", () => deaf.asked() === 1);
    const ranges = [{ first: blockId(2n), count: 4 }];
    const deletion = { ...rig.place(to), blocks: [], ranges };
    await to.commands.request(blockDelete, deletion, { timeoutMs });
    await rig.delete(to, 1n);
    await rig.delete(to, 6n);
    expect(await copying).toEqual(["notStored", "notStored", "notStored", "notStored"]);
  });

  test("a single order for a block of a batch waits for what becomes of it there", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const deaf = await deafSource();
    const blocks = blocksOf([1, 2], 1000);
    await putAll(from, blocks);
    const batch = rig.copyMany(to, blocks, deaf.source);
    await eventually("the source is asked", () => deaf.asked() === 1);
    const single = rig.copy(to, blocks[0]!, [sourceOf(from)]);
    await rig.delete(to, 1n);
    expect(await single).toEqual({ stored: false, failures: [] });
    await rig.delete(to, 2n);
    await batch;
    expect((await rig.copy(to, blocks[0]!, [sourceOf(from)])).stored).toBe(true);
  });
});

describe("data.getMany", () => {
  test("gives what it holds, in the order of the request, and leaves out the rest", async () => {
    const rig = await Rig.start();
    const member = await rig.add();
    const blocks = [3, 1, 2].map((id) => makeBlock(id, 1000 + id));
    await putAll(member, blocks);
    rot(member, blocks[1]!);
    const { body, bulk } = await getMany(member, [
      blocks[0]!,
      { block: 99n, length: 10 },
      blocks[1]!,
      { block: 2n, length: 1001 }, // held with another length
    ]);
    expect(body.given).toEqual([true, false, false, false]);
    expect(Buffer.compare(bulk, blocks[0]!.bytes)).toBe(0);
    expect((await getMany(member, [])).body.given).toEqual([]);
  });

  test("gives long blocks one behind the other, be they in the system's memory or not", async () => {
    const rig = await Rig.start();
    const member = await rig.add();
    const blocks = blocksOf([1, 2, 3, 4], MAX_BATCHABLE_BYTES);
    await putAll(member, blocks);
    const whole = Buffer.concat(blocks.map(({ bytes }) => bytes));
    const all = await getMany(member, blocks);
    expect(all.body.given).toEqual([true, true, true, true]);
    expect(Buffer.compare(all.bulk, whole)).toBe(0);
    const without = await getMany(member, [...blocks.slice(1), { block: 9n, length: 200_000 }]);
    expect(without.body.given).toEqual([true, true, true, false]);
    expect(Buffer.compare(without.bulk, whole.subarray(MAX_BATCHABLE_BYTES))).toBe(0);
  });

  // All of them were read before they were left out, and the answer was counted as short: 200 such requests together, each for
  // 256 blocks of 1 MiB as if they had one byte, brought a data server to 3.8 GiB, and a client waited 10 s.
  test("does not read what it holds with another length", async () => {
    const gets: bigint[] = [];
    const log = {
      lengthOf: (block: bigint) => (block === 3n ? undefined : block === 2n ? 1 : 1000),
      find: () => Promise.resolve(undefined),
      getNear: async (wanted: readonly unknown[]) => wanted.map(() => false),
      get: async (block: bigint) => {
        gets.push(block);
        return { blockLength: 1, bytes: new Uint8Array([7]), release: () => undefined };
      },
    };
    const blocks = [1, 2, 3, 4].map((id) => ({ block: blockId(BigInt(id)), length: 1 }));
    const read = await readMany(log as unknown as BlockLog, blocks);
    expect(read.given).toEqual([false, true, false, false]);
    expect(read.bytes).toEqual(new Uint8Array([7]));
    expect(gets).toEqual([2n]);
    read.release();
  });

  // 256 blocks of one byte take a buffer each: counted as 256 bytes, 200 requests took 676 MiB.
  test("reads a few at a time what does not lie together", async () => {
    let running = 0;
    let most = 0;
    const log = {
      lengthOf: () => 1,
      find: () => Promise.resolve(undefined),
      getNear: async (wanted: readonly unknown[]) => wanted.map(() => false),
      get: async () => {
        most = Math.max(most, ++running);
        await Bun.sleep(0);
        running--;
        return { blockLength: 1, bytes: new Uint8Array([7]), release: () => undefined };
      },
    };
    const ids = Array.from({ length: MAX_BATCHED_BLOCKS }, (_, at) => blockId(BigInt(at + 1)));
    const read = await readMany(
      log as unknown as BlockLog,
      ids.map((block) => ({ block, length: 1 })),
    );
    expect(read.given).toEqual(ids.map(() => true));
    expect(most).toBe(8);
    read.release();
  });

  test("is refused with a block twice, an empty one, or too many bytes", async () => {
    const rig = await Rig.start();
    const member = await rig.add();
    const [block] = blocksOf([1], 1000) as [BlockToPut];
    await putBlock(member.caller, block);
    await expectError("invalid", getMany(member, [block, block]));
    await expectError("invalid", getMany(member, [{ block: 1n, length: 0 }]));
    const tooMuch = [1n, 2n, 3n, 4n, 5n].map((block) => ({ block, length: MAX_BATCHABLE_BYTES }));
    await expectError("invalid", getMany(member, tooMuch));
    expect((await getMany(member, [block])).body.given).toEqual([true]);
  });

  test("is refused with more blocks than a batch may hold", async () => {
    const rig = await Rig.start();
    const member = await rig.add();
    const many = Array.from({ length: MAX_BATCHED_BLOCKS + 1 }, (_, at) => ({
      block: BigInt(at + 1),
      length: 1,
    }));
    await expectError("protocol", getMany(member, many));
    await expectError("protocol", getMany(member, [{ block: 0n, length: 1 }]));
  });
});
