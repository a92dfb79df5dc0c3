// data.corrupt and data.stop: what they do, when they are refused, and what comes when they come twice.

import { afterEach, describe, expect, test } from "bun:test";
import { blockId } from "../../../src/base/ids.ts";
import { blockCorrupt, blockGet, dataStop } from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { makeBlock } from "../../log/blocks.ts";
import { addressOf, endProcesses, startProcess } from "./processes.ts";
import {
  callerOf,
  cleanUp,
  eventually,
  expectError,
  freshDirectory,
  newServer,
  putBlock,
  ScriptedService,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

afterEach(cleanUp);
afterEach(endProcesses);

const timeoutMs = TIMEOUT_MS;
const BLOCK = makeBlock(7, 3000);

function corrupt(peer: Peer, fault: "body" | "header" | "lose", seed = 1) {
  const body = { block: BLOCK.block, fault, seed };
  return peer.request(blockCorrupt, body, { timeoutMs });
}

function get(peer: Peer) {
  const body = { block: BLOCK.block, offset: 0, length: BLOCK.length };
  return peer.request(blockGet, body, { timeoutMs });
}

function stop(peer: Peer, crash: boolean) {
  return peer.request(dataStop, { crash }, { timeoutMs });
}

async function served(allowFaults: boolean) {
  const opened = await newServer({ allowFaults });
  const peer = await callerOf(opened.server);
  await putBlock(peer, BLOCK);
  return { ...opened, peer };
}

describe("data.corrupt", () => {
  test("damages the copy, and a put mends it", async () => {
    const { peer } = await served(true);
    const { body } = await corrupt(peer, "body");
    const { blockOffset, before, after } = body;
    const held = BLOCK.bytes.subarray(blockOffset, blockOffset + before.length);
    expect(Buffer.compare(before, held)).toBe(0);
    expect(Buffer.compare(before, after)).not.toBe(0);
    await expectError("badChecksum", get(peer));
    await putBlock(peer, BLOCK);
    expect(Buffer.compare((await get(peer)).bulk, BLOCK.bytes)).toBe(0);
  });

  test("twice damages twice; of a header as well", async () => {
    const { peer } = await served(true);
    const one = (await corrupt(peer, "body")).body;
    const two = (await corrupt(peer, "body")).body;
    expect(two.before).toEqual(one.after);
    await corrupt(peer, "header");
    await expectError("badChecksum", get(peer));
  });

  test("loses the copy; the second time there is none", async () => {
    const { peer } = await served(true);
    expect((await corrupt(peer, "lose")).body.before).toHaveLength(0);
    await expectError("noBlock", get(peer));
    await expectError("noBlock", corrupt(peer, "lose"));
  });

  test("of a block that is not held is an error", async () => {
    const { peer } = await served(true);
    const body = { block: blockId(8n), fault: "body", seed: 1 } as const;
    await expectError("noBlock", peer.request(blockCorrupt, body, { timeoutMs }));
  });

  test("is refused, saying how to allow it, and the copy is left alone", async () => {
    const { peer } = await served(false);
    for (const fault of ["body", "header", "lose"] as const) {
      const { message } = await expectError("notPermitted", corrupt(peer, fault));
      expect(message).toContain("--allow-faults");
    }
    expect(Buffer.compare((await get(peer)).bulk, BLOCK.bytes)).toBe(0);
  });
});

describe("data.stop", () => {
  test("ends a server in good order, the asker's connection last", async () => {
    const { service, dir, server, peer } = await served(false);
    const other = await callerOf(server);
    const [one, two] = await Promise.all([stop(peer, false), stop(peer, false)]);
    expect([one.body.pid, two.body.pid]).toEqual([process.pid, process.pid]);
    await peer.closed;
    expect(other.open).toBe(false);
    const again = await startData(service, dir); // the directory is free by then
    expect(Buffer.compare((await get(await callerOf(again))).bulk, BLOCK.bytes)).toBe(0);
  });

  test("does not crash a server that does not allow it, or shares its process", async () => {
    const { peer } = await served(false);
    const { message } = await expectError("notPermitted", stop(peer, true));
    expect(message).toContain("--allow-faults");
    await expectError("unsupported", stop((await served(true)).peer, true));
    expect(Buffer.compare((await get(peer)).bulk, BLOCK.bytes)).toBe(0);
  });

  test("crashes one whose end somebody has taken on", async () => {
    const ends: string[] = [];
    const ending = { stop: () => void ends.push("stop"), crash: () => void ends.push("crash") };
    const { server } = await newServer({ allowFaults: true, ending });
    const peer = await callerOf(server);
    await stop(peer, true);
    await stop(peer, false);
    await eventually("both have been passed on", () => ends.length === 2);
    expect(ends).toEqual(["crash", "stop"]);
  });

  test("ends the process: exit 0, or by SIGKILL without an answer", async () => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const first = await startProcess(dir, service.address, "new", "", "allowFaults");
    const peer = await callerOf({ address: addressOf(first) });
    await putBlock(peer, BLOCK);
    expect((await stop(peer, false)).body.pid).toBe(first.child.pid);
    await peer.closed;
    const second = await startProcess(dir, service.address, "present", "", "allowFaults");
    expect(await first.child.exited).toBe(0);
    const next = await callerOf({ address: addressOf(second) });
    await expectError("unreachable", stop(next, true));
    await second.child.exited;
    expect(second.child.signalCode).toBe("SIGKILL");
    const again = await startData(service, dir);
    expect(Buffer.compare((await get(await callerOf(again))).bulk, BLOCK.bytes)).toBe(0);
  });
});
