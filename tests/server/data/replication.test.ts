// data.copy and data.verify over real sockets: servers that make themselves copies of what others hold, and say what their
// own are worth.

import { afterEach, describe, expect, test } from "bun:test";
import { serverId } from "../../../src/base/ids.ts";
import { blockVerify } from "../../../src/protocol/messages/data.ts";
import { makeBlock } from "../../log/blocks.ts";
import { bytesOn, cleanUpRigs, deafSource, held, Rig, rot, sourceOf } from "./copy-rig.ts";
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

describe("data.copy", () => {
  test.each([1, 100_000, 2 ** 24])("fetches %d bytes from another server", async (length) => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const block = makeBlock(5, length);
    await putBlock(from.caller, block);
    expect(await rig.copy(to, block, [sourceOf(from)])).toEqual({ stored: true, failures: [] });
    expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);
    // Ordered once more: nobody needs to be asked.
    expect(await rig.copy(to, block, [])).toEqual({ stored: true, failures: [] });
    expect(await held(to)).toEqual([5n]);
  });

  test("goes from source to source, and tells what is wrong with those that were of no use", async () => {
    const rig = await Rig.start();
    const [good, rotten, lacking, gone, to] = [
      await rig.add(),
      await rig.add(),
      await rig.add(),
      await rig.add(),
      await rig.add(),
    ];
    const block = makeBlock(5, 100_000);
    for (const member of [good, rotten]) await putBlock(member.caller, block);
    rot(rotten, block);
    await gone.server.stop();
    const sources = [lacking, rotten, gone, good].map(sourceOf);
    const { stored, failures } = await rig.copy(to, block, sources);
    expect(stored).toBe(true);
    expect(failures.map(({ server, problem }) => [server as number, problem])).toEqual([
      [lacking.server.server, "noBlock"],
      [rotten.server.server, "badChecksum"],
      [gone.server.server, "unreachable"],
    ]);
    expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);
  });

  test("stores nothing when no source has the bytes that metadata knows", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    await putBlock(from.caller, makeBlock(5, 1000));
    const other = { ...makeBlock(5, 1000, 1) };
    const { stored, failures } = await rig.copy(to, other, [sourceOf(from)]);
    expect([stored, failures.map(({ problem }) => problem)]).toEqual([false, ["badChecksum"]]);
    const shorter = makeBlock(5, 999, 1);
    const longer = makeBlock(5, 1001, 1);
    for (const each of [shorter, longer]) {
      expect((await rig.copy(to, each, [sourceOf(from)])).stored).toBe(false);
    }
    expect(await held(to)).toEqual([]);
  });

  test("does not believe a server that is another one than was meant", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const block = makeBlock(5, 1000);
    await putBlock(from.caller, block);
    const { stored, failures } = await rig.copy(to, block, [
      { server: serverId(77), address: from.server.address },
    ]);
    expect([stored, failures[0]?.problem]).toEqual([false, "unreachable"]);
  });

  test("replaces a rotten copy, and refuses to replace other bytes", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const block = makeBlock(5, 100_000);
    for (const member of [from, to]) await putBlock(member.caller, block);
    rot(to, block);
    expect((await rig.copy(to, block, [sourceOf(from)])).stored).toBe(true);
    expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);

    const third = await rig.add();
    const other = makeBlock(5, 100_000, 1);
    await putBlock(third.caller, other);
    await expectError("conflict", rig.copy(to, other, [sourceOf(third)]));
    expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);
  });

  test("is refused when it is stale, in one order with deletions", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const block = makeBlock(5, 1000);
    await putBlock(from.caller, block);
    await rig.delete(to, 7n, 10n);
    await expectError("wrongPeer", rig.copy(to, block, [sourceOf(from)], 10n));
    expect((await rig.copy(to, block, [sourceOf(from)], 11n)).stored).toBe(true);
    await expectError("wrongPeer", rig.delete(to, 5n, 11n));
    expect(await held(to)).toEqual([5n]);
  });

  test("many at once are all made", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const blocks = Array.from({ length: 40 }, (_, index) => makeBlock(index + 1, 10_000));
    for (const block of blocks) await putBlock(from.caller, block);
    const made = await Promise.all(blocks.map((block) => rig.copy(to, block, [sourceOf(from)])));
    expect(made.every(({ stored }) => stored)).toBe(true);
    expect((await held(to)).length).toBe(40);
  });

  test("large ones at the same time, twice over in the same memory, do not mix", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const blocks = Array.from({ length: 24 }, (_, index) => makeBlock(index + 1, 2 ** 20));
    for (const block of blocks) await putBlock(from.caller, block);
    await Promise.all(blocks.map((block) => rig.copy(to, block, [sourceOf(from)])));
    for (const block of blocks) {
      expect(Buffer.compare(await bytesOn(to, block), block.bytes)).toBe(0);
    }
  });

  test("is ended by a deletion of its block: what is deleted does not come back", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const deaf = await deafSource();
    const block = makeBlock(5, 1000);
    await putBlock(from.caller, block);
    const copying = rig.copy(to, block, [deaf.source, sourceOf(from)]);
    const ended = expectError("cancelled", copying);
    await eventually("the source is asked", () => deaf.asked() === 1);
    expect(await rig.delete(to, 5n)).toEqual({ deleted: 0 });
    await ended;
    expect(await held(to)).toEqual([]);
    // Another block's copy is not touched by a deletion.
    const other = makeBlock(6, 1000);
    const stillCopying = rig.copy(to, other, [deaf.source]);
    const untouched = stillCopying.then(
      () => "done",
      () => "failed",
    );
    await eventually("the source is asked again", () => deaf.asked() === 2);
    await rig.delete(to, 5n);
    expect(await Promise.race([untouched, Bun.sleep(50).then(() => "under way")])).toBe(
      "under way",
    );
    await rig.delete(to, 6n);
    expect(await untouched).toBe("failed");
  });

  test("is over when the server has joined the service anew", async () => {
    const rig = await Rig.start();
    const [from, to] = [await rig.add(), await rig.add()];
    const deaf = await deafSource();
    const block = makeBlock(5, 1000);
    await putBlock(from.caller, block);
    const copying = rig.copy(to, block, [deaf.source, sourceOf(from)]).catch(() => undefined);
    await eventually("the source is asked", () => deaf.asked() === 1);
    const before = rig.service.registrations.length;
    to.commands.close("the test wants it to come back");
    await copying;
    await eventually(
      "the server has registered again",
      () => rig.service.registrations.length === before + 1,
    );
    const again = { ...to, commands: rig.service.member };
    expect(await held(again)).toEqual([]);
    expect((await rig.copy(again, block, [sourceOf(from)])).stored).toBe(true);
  });

  test("ends with its server", async () => {
    const rig = await Rig.start();
    const to = await rig.add();
    const deaf = await deafSource();
    const copying = rig.copy(to, makeBlock(5, 10), [deaf.source]).catch(() => "ended");
    await eventually("the source is asked", () => deaf.asked() === 1);
    await to.server.stop();
    expect(await copying).toBe("ended");
  });

  test("that finds no room says so", async () => {
    const rig = await Rig.start();
    const from = await rig.add();
    const dir = freshDirectory();
    const options = dataOptions(rig.service, dir, { identity: "new", reserveBytes: 2 ** 60 });
    const server = await startData(rig.service, dir, options);
    const full = { server, dir, commands: rig.service.member, caller: await callerOf(server) };
    const block = makeBlock(5, 1000);
    await putBlock(from.caller, block);
    await expectError("noSpace", rig.copy(full, block, [sourceOf(from)]));
  });
});

describe("data.verify", () => {
  test("tells right, rotten and missing copies apart", async () => {
    const rig = await Rig.start();
    const member = await rig.add();
    const blocks = [1, 2, 3].map((id) => makeBlock(id, 100_000));
    for (const block of blocks) await putBlock(member.caller, block);
    rot(member, blocks[1]!);
    const wanted = [
      ...blocks,
      makeBlock(4, 10),
      makeBlock(1, 100_000, 1), // other bytes under the same id
      makeBlock(1, 99_999, 1),
      makeBlock(1, 100_001, 1),
    ].map(({ block, length, checksum }) => ({ block, length, checksum }));
    const { body } = await member.commands.request(blockVerify, { blocks: wanted }, { timeoutMs });
    expect(body.verdicts).toEqual([
      "right",
      "rotten",
      "right",
      "missing",
      "rotten",
      "rotten",
      "rotten",
    ]);
  });

  test("a long list is answered, and clients are answered meanwhile", async () => {
    const rig = await Rig.start();
    const member = await rig.add();
    const blocks = Array.from({ length: 256 }, (_, index) => makeBlock(index + 1, 70_000));
    await Promise.all(blocks.map((block) => putBlock(member.caller, block)));
    const list = blocks.map(({ block, length, checksum }) => ({ block, length, checksum }));
    const verifying = member.commands.request(blockVerify, { blocks: list }, { timeoutMs });
    expect(Buffer.compare(await bytesOn(member, blocks[9]!), blocks[9]!.bytes)).toBe(0);
    const { body } = await verifying;
    expect(new Set(body.verdicts)).toEqual(new Set(["right"]));
    expect(body.verdicts.length).toBe(256);
  });
});
