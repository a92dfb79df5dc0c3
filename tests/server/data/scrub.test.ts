// A data server's scrub as others see it: told what to do over the wire, and telling the metadata service what it finds.

import { afterEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { blockId } from "../../../src/base/ids.ts";
import { DfsError } from "../../../src/base/errors.ts";
import type { RequestOf } from "../../../src/protocol/message.ts";
import { blockGet, dataScrub, dataStats } from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { makeBlock } from "../../log/blocks.ts";
import { flipBit } from "../../log/files.ts";
import {
  callerOf,
  cleanUp,
  eventually,
  expectError,
  keptWarnings,
  newServer,
  putBlock,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

afterEach(cleanUp);

const timeoutMs = TIMEOUT_MS;
const RATE = 2 ** 40;

async function tell(peer: Peer, action: RequestOf<typeof dataScrub>["action"], rate?: number) {
  const request = { action, bytesPerSecond: rate ?? null };
  return (await peer.request(dataScrub, request, { timeoutMs })).body;
}

/** A whole pass; returns how the scrub is after it. */
async function scrub(peer: Peer) {
  const { lastPassNs } = await tell(peer, "status");
  await tell(peer, "start", RATE);
  await eventually("the pass is over", async () => {
    const status = await tell(peer, "status");
    return status.lastPassNs !== lastPassNs;
  });
  return tell(peer, "status");
}

/** A server that has put blocks 1 to 9, and a connection to it. */
async function served(more: Parameters<typeof newServer>[0] = {}) {
  const opened = await newServer(more);
  const peer = await callerOf(opened.server);
  for (let id = 1; id <= 9; id++) await putBlock(peer, makeBlock(id, 1001));
  return { ...opened, peer, log: join(opened.dir, "log") };
}

/** Flips a bit of the content of a block, where it lies in a log of one segment. */
function rot(log: string, block: number): void {
  const path = join(
    log,
    readdirSync(log).find((name) => name.endsWith(".seg"))!,
  );
  flipBit(path, readFileSync(path).indexOf(makeBlock(block, 1001).bytes) + 500);
}

describe("data.scrub", () => {
  test("tells how it is, begins a pass and tells what that came to", async () => {
    const { peer, server, log } = await served();
    const before = await tell(peer, "status");
    expect(before).toMatchObject({ server: server.server, state: "idle", lastPassNs: null });
    expect(before.nextNs).toBeGreaterThan(0n);
    rot(log, 4);
    const after = await scrub(peer);
    expect(after).toMatchObject({ state: "idle", records: 8, damage: 1, rotten: 1, rottenEver: 1 });
    expect(after.bytesPerSecond).toBe(RATE);
    const { body: stats } = await peer.request(dataStats, {}, { timeoutMs });
    expect(stats).toMatchObject({ scrub: "idle", scrubbedNs: after.lastPassNs, scrubRotten: 1 });
  });

  test("pause and resume, told twice as if once, and remembered over a restart", async () => {
    const { service, server, dir, peer } = await served();
    for (let time = 0; time < 2; time++) {
      expect(await tell(peer, "pause", 4096)).toMatchObject({ state: "paused" });
    }
    await server.stop();
    const again = await startData(service, dir);
    const other = await callerOf(again);
    const status = await tell(other, "status");
    expect(status).toMatchObject({ state: "paused", bytesPerSecond: 4096 });
    for (let time = 0; time < 2; time++) {
      expect(await tell(other, "resume")).toMatchObject({ state: "idle", bytesPerSecond: 4096 });
    }
    const first = await tell(other, "start");
    const second = await tell(other, "start");
    expect(first).toMatchObject({ state: "running", hurried: true });
    expect(second.startedNs).toBe(first.startedNs);
  });

  test("a rate that cannot be, or one with a question, is refused", async () => {
    const { peer } = await served();
    await expectError("invalid", tell(peer, "start", 1));
    await expectError("invalid", tell(peer, "status", 4096));
    expect(await tell(peer, "status")).toMatchObject({ state: "idle" });
  });
});

describe("the metadata service", () => {
  test("is told of what a scrub finds, again with the next pass", async () => {
    const { service, peer, log } = await served();
    rot(log, 4);
    rot(log, 7);
    for (let pass = 1; pass <= 2; pass++) {
      await scrub(peer);
      await eventually("it was told", () => service.rotten.flat().length >= 2 * pass);
    }
    expect(service.rotten.flat()).toEqual([4n, 7n, 4n, 7n]);
  });

  test("is told of what a read meets, once", async () => {
    const { service, peer, log } = await served();
    rot(log, 2);
    const request = { block: blockId(2n), offset: 0, length: 1001 };
    for (let read = 0; read < 3; read++) {
      await expectError("badChecksum", peer.request(blockGet, request, { timeoutMs }));
    }
    await eventually("it was told", () => service.rotten.length > 0);
    const beats = service.heartbeats.length;
    await eventually("some time has passed", () => service.heartbeats.length > beats + 3);
    expect(service.rotten).toEqual([[2n]]);
  });

  test("is told when it is there again, of everything that was found meanwhile", async () => {
    const { logger, lines } = keptWarnings();
    const { service, peer, log } = await served({ logger });
    service.rottenRefusal = new DfsError("io", "the database cannot be written");
    rot(log, 3);
    await scrub(peer);
    await eventually("it was tried", () => lines.some((line) => line.includes("cannot tell")));
    service.rottenRefusal = undefined;
    await service.stop();
    rot(log, 6);
    await scrub(peer);
    await service.restart();
    await eventually("both were told", () => service.rotten.flat().length >= 2);
    expect(new Set(service.rotten.flat())).toEqual(new Set([3n, 6n]));
  });
});
