// Every message of a data server, over real sockets, with every way it can be refused.

import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { firstBadPiece, verifyPieceList } from "../../../src/base/checksum.ts";
import { blockId, instanceId, reignId } from "../../../src/base/ids.ts";
import { PIECE_BYTES } from "../../../src/base/limits.ts";
import {
  blockDelete,
  blockGet,
  blockList,
  blockPut,
  dataStats,
} from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { flipBit } from "../../log/files.ts";
import { makeBlock } from "../../log/blocks.ts";
import { FaultDisk } from "../../log/fault-disk.ts";
import {
  cleanUp,
  callerOf,
  eventually,
  expectError,
  identityOf,
  newServer,
  putBlock,
  TIMEOUT_MS,
  type ScriptedService,
} from "./support.ts";

afterEach(cleanUp);

const timeoutMs = TIMEOUT_MS;
const none = blockId(0n);

function get(peer: Peer, block: bigint, offset: number, length: number) {
  return peer.request(blockGet, { block: blockId(block), offset, length }, { timeoutMs });
}

/** A data server with a connection of a client. */
async function served() {
  const opened = await newServer();
  return { ...opened, peer: await callerOf(opened.server) };
}

/** Deletes as the metadata service does. */
function deletes(
  service: ScriptedService,
  more: Partial<Parameters<typeof place>[1]> & { blocks?: bigint[]; number: bigint },
) {
  return service.member.request(blockDelete, place(service, more), { timeoutMs });
}

function place(
  service: ScriptedService,
  more: {
    number: bigint;
    reign?: bigint;
    instance?: bigint;
    blocks?: bigint[];
    ranges?: { first: bigint; count: number }[];
  },
) {
  return {
    reign: reignId(more.reign ?? service.reign),
    instance: instanceId(more.instance ?? service.registrations.at(-1)!.instance),
    number: more.number,
    blocks: (more.blocks ?? []).map(blockId),
    ranges: (more.ranges ?? []).map(({ first, count }) => ({ first: blockId(first), count })),
  };
}

describe("data.put and data.get", () => {
  test("many long blocks at the same time, twice over in the same memory, do not mix", async () => {
    const { peer, server } = await served();
    const other = await callerOf(server);
    const blocks = Array.from({ length: 24 }, (_, at) => makeBlock(at + 1, 2 ** 20));
    for (const half of [blocks.slice(0, 12), blocks.slice(12)]) {
      await Promise.all(half.map((block, at) => putBlock(at % 2 === 0 ? peer : other, block)));
    }
    for (const { block, length, bytes } of blocks) {
      expect(Buffer.compare((await get(peer, block, 0, length)).bulk, bytes)).toBe(0);
    }
  });

  test.each([1, 13, PIECE_BYTES, PIECE_BYTES + 1, 2 ** 20, 2 ** 24])(
    "store and bring back %d bytes, verifiable by the reader",
    async (length) => {
      const { peer, server } = await served();
      const block = makeBlock(5, length);
      const { instance, sequence } = await putBlock(peer, block);
      expect(instance).toBe(server.instance);
      expect(sequence > 0n).toBe(true);
      const { body, bulk } = await get(peer, 5n, 0, length);
      expect(body.blockLength).toBe(length);
      expect(verifyPieceList(length, body.pieces, block.checksum)).toBe(true);
      expect(Buffer.compare(bulk, block.bytes)).toBe(0);
    },
  );

  test("bring the whole pieces that a range touches", async () => {
    const { peer } = await served();
    const block = makeBlock(5, 5 * PIECE_BYTES + 17);
    await putBlock(peer, block);
    for (const [offset, length, from, to] of [
      [3 * PIECE_BYTES - 1, 2, 2, 4],
      [5 * PIECE_BYTES, 17, 5, 6],
      [PIECE_BYTES, 1, 1, 2],
    ] as const) {
      const { body, bulk } = await get(peer, 5n, offset, length);
      expect(verifyPieceList(block.length, body.pieces, block.checksum)).toBe(true);
      expect(firstBadPiece(bulk, from, body.pieces)).toBe(-1);
      expect(Buffer.compare(bulk, block.bytes.subarray(from * PIECE_BYTES, to * PIECE_BYTES))).toBe(
        0,
      );
    }
  });

  test("are open to other data servers as well, and to nobody who says he is the service", async () => {
    const { server, peer } = await served();
    await putBlock(peer, makeBlock(5, 100));
    const other = await callerOf(server, identityOf("data"));
    expect((await get(other, 5n, 0, 100)).bulk.length).toBe(100);
    await expectError("wrongPeer", callerOf(server, identityOf("meta")));
  });

  test("many at once over several connections", async () => {
    const { server } = await served();
    const callers = await Promise.all([1, 2, 3, 4].map(() => callerOf(server)));
    const ids = Array.from({ length: 200 }, (_, index) => index + 1);
    await Promise.all(ids.map((id) => putBlock(callers[id % 4]!, makeBlock(id, 1 + id * 97))));
    await Promise.all(
      ids.map(async (id) => {
        const block = makeBlock(id, 1 + id * 97);
        const { bulk } = await get(callers[(id + 1) % 4]!, BigInt(id), 0, block.length);
        expect(Buffer.compare(bulk, block.bytes)).toBe(0);
      }),
    );
    const { body } = await callers[0]!.request(dataStats, {}, { timeoutMs });
    expect(body).toMatchObject({ puts: 200, gets: 200, blocks: 200 });
    expect(body.syncs).toBeLessThan(200);
  });

  test("a get of what is not there, or of a range that is not inside", async () => {
    const { peer } = await served();
    await expectError("noBlock", get(peer, 77n, 0, 1));
    await putBlock(peer, makeBlock(5, 100));
    await expectError("invalid", get(peer, 5n, 50, 51));
    await expectError("invalid", get(peer, 5n, 0, 0));
  });

  test("a put whose bytes are not what they should be is refused and stores nothing", async () => {
    const { peer } = await served();
    const block = makeBlock(5, 3 * PIECE_BYTES);
    const damaged = block.bytes.slice();
    damaged[PIECE_BYTES + 5]! ^= 1;
    const onTheWay = await expectError("badChecksum", putBlock(peer, { ...block, bytes: damaged }));
    expect(onTheWay.message).toContain("piece 1");
    await expectError("badChecksum", putBlock(peer, { ...block, bytes: damaged.subarray(1) }));
    await expectError("badChecksum", putBlock(peer, { ...block, checksum: block.checksum ^ 1n }));
    await expectError("badChecksum", putBlock(peer, { ...block, length: block.length - 1 }));
    await expectError("badChecksum", putBlock(peer, { ...block, pieces: block.pieces.slice(8) }));
    await expectError("invalid", putBlock(peer, { ...makeBlock(0, 10), block: none }));
    await expectError(
      "invalid",
      putBlock(peer, { ...block, length: 0, bytes: new Uint8Array(0), pieces: new Uint8Array(0) }),
    );
    await expectError("noBlock", get(peer, 5n, 0, 1));
  });

  test("a put of what is held: the same succeeds, another is a conflict, a rotten copy is replaced", async () => {
    const { peer, dir } = await served();
    const block = makeBlock(5, 5000);
    const first = await putBlock(peer, block);
    expect(await putBlock(peer, block)).toEqual(first);
    await expectError("conflict", putBlock(peer, makeBlock(5, 5000, 1)));
    const log = join(dir, "log");
    flipBit(
      join(
        log,
        readdirSync(log).find((name) => name.endsWith(".seg"))!,
      ),
      64 + 120 + 8 + 100,
    );
    await expectError("badChecksum", get(peer, 5n, 0, 5000));
    await putBlock(peer, block);
    expect(Buffer.compare((await get(peer, 5n, 0, 5000)).bulk, block.bytes)).toBe(0);
    const { body } = await peer.request(dataStats, {}, { timeoutMs });
    expect(body.badReplicas).toBeGreaterThan(0);
  });

  test("a full disk refuses puts and goes on with the rest", async () => {
    const disk = new FaultDisk();
    const { server, service } = await newServer({ disk, reserveBytes: 1000 });
    const peer = await callerOf(server);
    await putBlock(peer, makeBlock(5, 100));
    disk.availableBytes = 900;
    await expectError("noSpace", putBlock(peer, makeBlock(6, 100)));
    expect((await get(peer, 5n, 0, 100)).bulk.length).toBe(100);
    await eventually("the service has been told", () => service.heartbeats.at(-1)?.full === true);
    expect((await deletes(service, { number: 1n, blocks: [5n] })).body).toEqual({ deleted: 1 });
    disk.availableBytes = undefined;
    await putBlock(peer, makeBlock(6, 100));
  });

  test("a failed sync is an error and nothing else", async () => {
    const disk = new FaultDisk();
    const { server } = await newServer({ disk });
    const peer = await callerOf(server);
    await putBlock(peer, makeBlock(5, 100));
    disk.syncErrors = ["EIO"];
    await expectError("io", putBlock(peer, makeBlock(6, 100)));
    await putBlock(peer, makeBlock(6, 100));
    for (const id of [5n, 6n]) expect((await get(peer, id, 0, 100)).bulk.length).toBe(100);
  });
});

describe("data.stats", () => {
  test("tells who answers and how full it is", async () => {
    const { peer, server } = await served();
    await putBlock(peer, makeBlock(5, 1000));
    await get(peer, 5n, 0, 1);
    const { body } = await peer.request(dataStats, {}, { timeoutMs });
    expect(body).toMatchObject({
      server: server.server,
      instance: server.instance,
      blocks: 1,
      blockBytes: 1000,
      segments: 1,
      puts: 1,
      gets: 1,
      deletes: 0,
      badReplicas: 0,
    });
    expect(body.segmentBytes).toBe(64 + 1128);
    expect(body.capacityBytes).toBe(body.availableBytes + body.segmentBytes);
  });
});

describe("data.list and data.delete", () => {
  test("list goes page by page through all ids", async () => {
    const { peer, service } = await served();
    for (const id of [9, 2, 30, 4]) await putBlock(peer, makeBlock(id, id));
    const list = (after: bigint, limit: number) =>
      service.member.request(blockList, { after: blockId(after), limit }, { timeoutMs });
    const { length, checksum } = makeBlock(2, 2);
    const first = (await list(0n, 3)).body;
    expect(first.blocks[0]).toEqual({ block: blockId(2n), length, checksum });
    expect(first.blocks.map(({ block }) => Number(block))).toEqual([2, 4, 9]);
    expect(first.more).toBe(true);
    expect((await list(9n, 3)).body).toMatchObject({ blocks: [{ block: 30n }], more: false });
  });

  test("delete removes blocks and ranges, and skips what is not held", async () => {
    const { peer, service } = await served();
    for (const id of [1, 2, 3, 10, 11, 12]) await putBlock(peer, makeBlock(id, 10));
    const ranges = [{ first: 10n, count: 2 }];
    const command = place(service, { number: 1n, blocks: [2n, 99n], ranges });
    const { body } = await service.member.request(blockDelete, command, { timeoutMs });
    expect(body).toEqual({ deleted: 3 });
    await expectError("noBlock", get(peer, 2n, 0, 1));
    expect((await get(peer, 12n, 0, 10)).bulk.length).toBe(10);
    expect((await peer.request(dataStats, {}, { timeoutMs })).body.deletes).toBe(3);
  });

  test("stale commands are refused: a number again or lower, another instance, another reign", async () => {
    const { peer, service } = await served();
    await putBlock(peer, makeBlock(1, 10));
    await deletes(service, { number: 5n });
    const blocks = [1n];
    await expectError("wrongPeer", deletes(service, { number: 5n, blocks }));
    await expectError("wrongPeer", deletes(service, { number: 4n, blocks }));
    await expectError("wrongPeer", deletes(service, { number: 6n, blocks, instance: 12345n }));
    await expectError("wrongPeer", deletes(service, { number: 6n, blocks, reign: 999n }));
    expect((await get(peer, 1n, 0, 10)).bulk.length).toBe(10);
    expect((await deletes(service, { number: 6n, blocks })).body).toEqual({ deleted: 1 });
  });

  test("after a restart of the service numbers begin anew and the former reign's commands are stale", async () => {
    const { peer, service } = await served();
    await putBlock(peer, makeBlock(1, 10));
    await deletes(service, { number: 500n });
    const former = service.reign;
    await service.restart();
    await eventually("it has registered again", () => service.registrations.length === 2);
    await expectError("wrongPeer", deletes(service, { number: 501n, reign: former, blocks: [1n] }));
    expect((await deletes(service, { number: 1n, blocks: [1n] })).body).toEqual({ deleted: 1 });
  });

  test("are not for clients", async () => {
    const { peer, service } = await served();
    await expectError(
      "unsupported",
      peer.request(blockDelete, place(service, { number: 1n }), { timeoutMs }),
    );
    await expectError(
      "unsupported",
      peer.request(blockList, { after: none, limit: 1 }, { timeoutMs }),
    );
  });

  test("and the service does not put or get over its connection", async () => {
    const { service } = await served();
    const { bytes, ...body } = makeBlock(1, 10);
    await expectError(
      "unsupported",
      service.member.request(blockPut, body, { bulk: bytes, timeoutMs }),
    );
  });
});
