import { afterEach, describe, expect, test } from "bun:test";
import { blockChecksum } from "../../src/base/checksum.ts";
import { blockId, serverId } from "../../src/base/ids.ts";
import { PIECE_BYTES } from "../../src/base/limits.ts";
import { seededRandom } from "../../src/base/random.ts";
import { doneWith } from "../../src/client/read-memory.ts";
import { frameMemory } from "../../src/protocol/frame-memory.ts";
import type { MappedExtent } from "../../src/protocol/messages/common.ts";
import { turns } from "../support/manual-clock.ts";
import {
  FIRST_PATIENCE_MS,
  MAX_PATIENCE_MS,
  MIN_PATIENCE_MS,
  MOST_TOKENS,
  SLOW_MS,
} from "../../src/client/patience.ts";
import { plant, scriptedCluster, type ScriptedCluster } from "./support/scripted-servers.ts";
import { failureOf } from "../support/failure.ts";

let cluster: ScriptedCluster;
afterEach(() => cluster.stop());

const CONTENT = seededRandom(2).bytes(3 * PIECE_BYTES + 100);

async function clusterWithBlock(count = 3, readQuorum = 1): Promise<MappedExtent> {
  cluster = await scriptedCluster(count, { replicas: 3, writeQuorum: 2, readQuorum });
  plant(cluster, 7n, CONTENT, [1, 2, 3]);
  return {
    offset: 0,
    length: CONTENT.length,
    block: blockId(7n),
    blockOffset: 0,
    blockLength: CONTENT.length,
    checksum: blockChecksum(CONTENT),
    servers: [1, 2, 3].map(serverId),
  };
}

const byNumber = (a: number, b: number): number => a - b;

const read = (extent: MappedExtent, from = 0, length = CONTENT.length) =>
  cluster.reader.read({ extent, from, length });

describe("reading a block", () => {
  test("any range, also over the border of pieces", async () => {
    const extent = await clusterWithBlock();
    for (const [from, length] of [
      [0, CONTENT.length],
      [0, 1],
      [CONTENT.length - 1, 1],
      [PIECE_BYTES - 1, 2],
      [PIECE_BYTES, PIECE_BYTES],
      [3 * PIECE_BYTES, 100],
    ] as const) {
      const { bytes, failures } = await read(extent, from, length);
      expect(bytes).toEqual(CONTENT.subarray(from, from + length));
      expect(failures).toEqual([]);
    }
    expect(cluster.server(2).gets + cluster.server(3).gets).toBe(0);
  });

  test("memory of a read is used again when its reader is done with it, and only then", async () => {
    const extent = await clusterWithBlock();
    const first = (await read(extent)).bytes!;
    const second = (await read(extent, PIECE_BYTES, PIECE_BYTES)).bytes!;
    expect(second.buffer).not.toBe(first.buffer);
    doneWith(first.subarray(1)); // another view says nothing
    const third = (await read(extent)).bytes!;
    expect(third.buffer).not.toBe(first.buffer);
    expect(first).toEqual(CONTENT);
    doneWith(first);
    doneWith(first);
    const again = frameMemory.take(first.buffer.byteLength);
    expect(again.buffer).toBe(first.buffer);
    expect(frameMemory.take(first.buffer.byteLength).buffer).not.toBe(first.buffer);
    expect(third).toEqual(CONTENT);
    expect(second).toEqual(CONTENT.subarray(PIECE_BYTES, 2 * PIECE_BYTES));
  });

  for (const behaviour of ["rot", "rotList", "short"] as const) {
    test(`a replica with the fault "${behaviour}" is found out, and the next one is read`, async () => {
      const extent = await clusterWithBlock();
      cluster.server(1).behaviour = behaviour;
      const { bytes, failures } = await read(extent, 3 * PIECE_BYTES + 10, 20);
      expect(bytes).toEqual(CONTENT.subarray(3 * PIECE_BYTES + 10, 3 * PIECE_BYTES + 30));
      expect(failures).toMatchObject([{ server: 1, kind: "badChecksum" }]);
      expect(cluster.badReplicas).toHaveLength(1);
    });
  }

  test("bytes of another block under the right id are found out", async () => {
    const extent = await clusterWithBlock();
    plant(cluster, 7n, seededRandom(3).bytes(CONTENT.length), [1]);
    plant(cluster, 7n, CONTENT.subarray(0, PIECE_BYTES), [2]);
    const { bytes, failures } = await read(extent, 10, 20);
    expect(bytes).toEqual(CONTENT.subarray(10, 30));
    expect(failures.map(({ kind }) => kind)).toEqual(["badChecksum", "badChecksum"]);
  });

  test("when no replica can be verified there are no bytes, and a reason for each", async () => {
    const extent = await clusterWithBlock();
    cluster.server(1).behaviour = "rot";
    cluster.server(2).blocks.clear();
    await cluster.server(3).stop();
    const { bytes, failures } = await read(extent);
    expect(bytes).toBeUndefined();
    expect(failures.map(({ server, kind }) => `${server} ${kind}`)).toEqual([
      "1 badChecksum",
      "2 noBlock",
      "3 unreachable",
    ]);
    expect(cluster.badReplicas.map(({ server }) => Number(server))).toEqual([1]);
  });

  test("a server that hangs at the first contact is raced against the next one, then avoided", async () => {
    const extent = await clusterWithBlock();
    cluster.server(1).behaviour = "hang";
    const first = read(extent);
    await cluster.clock.advance(FIRST_PATIENCE_MS - 1);
    expect(cluster.server(2).gets).toBe(0);
    await cluster.clock.advance(1);
    expect((await first).bytes).toEqual(CONTENT);
    expect((await read(extent)).bytes).toEqual(CONTENT);
    expect(cluster.server(1).gets).toBe(1);
    expect(cluster.server(2).gets).toBe(2);
  });

  test("a server that has been fast is raced soon after it has stopped answering", async () => {
    const extent = await clusterWithBlock();
    for (let round = 0; round < 10; round++) await read(extent);
    await cluster.clock.advance(MIN_PATIENCE_MS); // it answers nothing for so long before it is told to hang, too
    cluster.server(1).behaviour = "hang";
    const all = Array.from({ length: 200 }, () => read(extent));
    await cluster.clock.advance(MIN_PATIENCE_MS - 1);
    expect(cluster.server(2).gets).toBe(0);
    await cluster.clock.advance(1);
    expect(cluster.server(2).gets).toBe(200);
    for (const { bytes } of await Promise.all(all)) expect(bytes).toEqual(CONTENT);
  });

  test("servers that are all slow get a tenth more to do, not twice as much", async () => {
    const extent = await clusterWithBlock();
    for (const id of [1, 2, 3]) cluster.server(id).delayMs = MAX_PATIENCE_MS + 100;
    // Few, small reads: each costs the turns of its timers. Twice as many requests are still more than the limit below.
    const reads = 240;
    expect(2 * reads).toBeGreaterThan(1.1 * reads + 2 * MOST_TOKENS);
    for (let round = 0; round < reads / 8; round++) {
      const some = Array.from({ length: 8 }, () => read(extent, 0, 1));
      await cluster.clock.advance(2 * SLOW_MS);
      for (const { bytes } of await Promise.all(some)) expect(bytes).toEqual(CONTENT.slice(0, 1));
    }
    const gets = [1, 2, 3].reduce((sum, id) => sum + cluster.server(id).gets, 0);
    expect(gets).toBeGreaterThan(reads);
    expect(gets).toBeLessThan(1.1 * reads + 2 * MOST_TOKENS);
  });

  test("a server that is slow without having a token for a race is raced after 1 s", async () => {
    const extent = await clusterWithBlock();
    for (const id of [1, 2, 3]) cluster.server(id).delayMs = MAX_PATIENCE_MS + 100;
    for (let round = 0; round < 2 * MOST_TOKENS; round++) {
      const reading = read(extent);
      await cluster.clock.advance(2 * SLOW_MS);
      await reading;
    }
    const before = [2, 3].map((id) => cluster.server(id).gets);
    cluster.server(1).behaviour = "hang";
    const reading = read(extent);
    await cluster.clock.advance(SLOW_MS - 1);
    const during = [2, 3].map((id) => cluster.server(id).gets);
    expect(during).toEqual(before);
    await cluster.clock.advance(2 * SLOW_MS);
    expect((await reading).bytes).toEqual(CONTENT);
  });

  test("a client that was held up itself looks for the answer before it asks another server", async () => {
    const extent = await clusterWithBlock();
    cluster.server(1).behaviour = "hang";
    const reading = read(extent);
    await turns();
    cluster.clock.holdUp(FIRST_PATIENCE_MS + 200);
    await cluster.clock.advance(49);
    expect(cluster.server(2).gets).toBe(0);
    cluster.server(1).letGo();
    expect((await reading).bytes).toEqual(CONTENT);
    await cluster.clock.advance(SLOW_MS);
    expect(cluster.server(2).gets).toBe(0);
  });

  test("a server that is avoided is probed, and used again once it has answered", async () => {
    const extent = await clusterWithBlock();
    await cluster.server(1).stop();
    await read(extent);
    await cluster.start(cluster.server(1));
    await read(extent);
    expect(cluster.server(1).gets).toBe(0);
    await cluster.clock.advance(600);
    await read(extent); // sets the probe going
    await turns();
    await read(extent);
    expect(cluster.server(1).gets).toBe(1);
    expect(cluster.warnings.map(({ kind }) => kind)).toEqual(["serverUnreachable"]);
  });

  test("another server at a server's address is not taken for it", async () => {
    const extent = await clusterWithBlock();
    await cluster.server(1).stop();
    plant(cluster, 7n, CONTENT, [1]);
    await cluster.startInPlaceOf(1, 4);
    const { bytes, failures } = await read(extent);
    expect(bytes).toEqual(CONTENT);
    expect(failures).toMatchObject([{ server: 1, kind: "wrongPeer" }]);
    expect(cluster.server(1).gets).toBe(0);
  });

  test("a read quorum asks several servers at once", async () => {
    const extent = await clusterWithBlock(3, 2);
    const { bytes, right } = await read(extent);
    expect(bytes).toEqual(CONTENT);
    expect(right.map(Number).toSorted(byNumber)).toEqual([1, 2]);
    expect([1, 2, 3].map((id) => cluster.server(id).gets)).toEqual([1, 1, 0]);
  });

  test("a wrong copy is an answer, and the right one beside it is enough", async () => {
    const extent = await clusterWithBlock(3, 2);
    cluster.server(1).behaviour = "rot";
    const one = await read(extent);
    expect([one.bytes, one.right.map(Number)]).toEqual([CONTENT, [2]]);
    expect(one.failures).toMatchObject([{ server: 1, kind: "badChecksum" }]);
    expect(cluster.server(3).gets).toBe(0);
    cluster.server(2).blocks.clear();
    const two = await read(extent);
    expect([two.bytes, two.right.map(Number)]).toEqual([CONTENT, [3]]);
  });

  test("fewer answers than the read quorum give no bytes, though one was right", async () => {
    const extent = await clusterWithBlock(3, 2);
    await cluster.server(1).stop();
    expect((await read(extent)).right.map(Number).toSorted(byNumber)).toEqual([2, 3]);
    await cluster.server(2).stop();
    const { bytes, right, failures } = await read(extent);
    expect([bytes, right.map(Number)]).toEqual([undefined, [3]]);
    expect(failures.map(({ server, kind }) => `${server} ${kind}`).toSorted()).toEqual([
      "1 unreachable",
      "2 unreachable",
    ]);
  });

  test("with a read quorum, a server that hangs is raced against the next one", async () => {
    const extent = await clusterWithBlock(3, 2);
    cluster.server(2).behaviour = "hang";
    const reading = read(extent);
    await cluster.clock.advance(1_000);
    expect((await reading).right.map(Number).toSorted(byNumber)).toEqual([1, 3]);
  });

  test("a cancelled read ends at once", async () => {
    const extent = await clusterWithBlock();
    cluster.server(1).behaviour = "hang";
    const stop = new AbortController();
    const reading = cluster.reader.read({ extent, from: 0, length: 10 }, stop.signal);
    await turns();
    stop.abort();
    expect(await failureOf(reading)).toMatchObject({ kind: "cancelled" });
  });
});
