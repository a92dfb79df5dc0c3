// A data server's process is killed under load, again and again: puts over four connections, and deletions, so that
// compaction and the deletion of segments are under way as well. After each start everything acknowledged is there.
//
// DFS_TEST_KILLS is the number of kills (20), DFS_TEST_SEED the seed.

import { afterEach, expect, test } from "bun:test";
import { blockId, type BlockId } from "../../../src/base/ids.ts";
import { seededRandom, type Random } from "../../../src/base/random.ts";
import {
  blockDelete,
  blockGet,
  blockList,
  dataStats,
} from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { killedBlock } from "../../log/blocks.ts";
import { addressOf, endProcesses, startProcess } from "./processes.ts";
import {
  cleanUp,
  callerOf,
  eventually,
  freshDirectory,
  putBlock,
  ScriptedService,
  TIMEOUT_MS,
} from "./support.ts";

afterEach(cleanUp);
afterEach(endProcesses);

const KILLS = Number(process.env["DFS_TEST_KILLS"] ?? 20);
const timeoutMs = TIMEOUT_MS;

/** More than these are not kept: each is read after each start. */
const MAX_HELD = 600;

/** What was asked of the server, and what it has acknowledged. */
class Told {
  readonly held = new Set<number>();
  /** Asked for, not acknowledged: there or not. */
  readonly unsure = new Set<number>();
  puts = 0;
  deletions = 0;
}

/** Puts blocks until the connection breaks. */
async function putUntilKilled(peer: Peer, told: Told, nextId: () => number): Promise<void> {
  while (peer.open) {
    const id = nextId();
    told.unsure.add(id);
    try {
      await putBlock(peer, killedBlock(id));
    } catch {
      return; // killed
    }
    told.unsure.delete(id);
    told.held.add(id);
    told.puts++;
  }
}

/** Deletes some of what is held, over and over, until the connection breaks. */
async function deleteUntilKilled(
  service: ScriptedService,
  told: Told,
  random: Random,
): Promise<void> {
  const { member, reign } = service;
  const { instance } = service.registrations.at(-1)!;
  for (let number = 1n; member.open; number++) {
    const share = told.held.size > MAX_HELD ? 3 : 100;
    const ids = [...told.held].filter(() => random.below(share) === 0);
    for (const id of ids) {
      told.held.delete(id);
      told.unsure.add(id);
    }
    const blocks = ids.map((id) => blockId(BigInt(id)));
    const command = { reign, instance, number, blocks, ranges: [] };
    try {
      await member.request(blockDelete, command, { timeoutMs });
    } catch {
      return; // killed
    }
    for (const id of ids) told.unsure.delete(id);
    told.deletions += ids.length;
  }
}

async function listed(member: Peer): Promise<Set<number>> {
  const found = new Set<number>();
  for (let after = 0n as BlockId; ;) {
    const { body } = await member.request(blockList, { after, limit: 500 }, { timeoutMs });
    for (const { block, checksum } of body.blocks) {
      expect(killedBlock(Number(block)).checksum).toBe(checksum);
      found.add(Number(block));
    }
    if (!body.more) return found;
    after = body.blocks.at(-1)!.block;
  }
}

/** Compares what is there with what was acknowledged; what was unsure is settled by it. */
async function compare(member: Peer, peer: Peer, told: Told): Promise<void> {
  const found = await listed(member);
  for (const id of told.unsure) if (found.has(id)) told.held.add(id);
  told.unsure.clear();
  expect([...found].toSorted((a, b) => a - b)).toEqual([...told.held].toSorted((a, b) => a - b));
  for (const id of found) {
    const { block, length, bytes } = killedBlock(id);
    const { bulk } = await peer.request(blockGet, { block, offset: 0, length }, { timeoutMs });
    if (Buffer.compare(bulk, bytes) !== 0) throw new Error(`block ${id} has other bytes`);
  }
}

test(
  `killed ${KILLS} times under load, a data server holds what it acknowledged, and no more`,
  async () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
    );
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const told = new Told();
    let next = 1;
    let segments = 0;
    for (let round = 0; round <= KILLS; round++) {
      const started = await startProcess(dir, service.address, round === 0 ? "new" : "present");
      await eventually("it is registered", () => service.registrations.length === round + 1);
      const address = addressOf(started);
      const peers = await Promise.all([1, 2, 3, 4].map(() => callerOf({ address })));
      await compare(service.member, peers[0]!, told);
      const { body } = await peers[0]!.request(dataStats, {}, { timeoutMs });
      segments = Math.max(segments, body.segments);
      if (round === KILLS) break;
      const target = told.puts + 50 + random.below(400);
      const work = peers.flatMap((peer) =>
        Array.from({ length: 4 }, () => putUntilKilled(peer, told, () => next++)),
      );
      work.push(deleteUntilKilled(service, told, random));
      await eventually("it has done enough", () => told.puts >= target);
      started.child.kill("SIGKILL");
      expect(await started.child.exited).toBe(137);
      await Promise.all(work);
      for (const peer of peers) peer.close("killed");
    }
    expect(told.puts).toBeGreaterThanOrEqual(KILLS * 50);
    console.log(
      `${KILLS} kills: ${told.puts} puts and ${told.deletions} deletions acknowledged, ` +
        `${told.held.size} blocks held at the end, at most ${segments} segments`,
    );
  },
  60_000 + KILLS * 10_000,
);
