// A data server as a real process: how it ends, and what is left when it is killed under load.

import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { blockId } from "../../../src/base/ids.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { blockGet, blockList } from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { killedBlock } from "../../log/blocks.ts";
import {
  cleanUp,
  callerOf,
  eventually,
  freshDirectory,
  putBlock,
  ScriptedService,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

afterEach(cleanUp);

const KILLS = 5;

interface Process {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** What it printed when it was ready; undefined when it ended before. */
  readonly ready: string | undefined;
}

const children: Process["child"][] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL"); // of those that have ended, nobody is left to hear it
    await child.exited;
  }
});

async function startProcess(...args: string[]): Promise<Process> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "data-process.ts"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const { value } = await child.stdout.getReader().read();
  return { child, ready: value && new TextDecoder().decode(value).trim() };
}

function addressOf({ ready }: Process): string {
  if (ready === undefined) throw new Error("the data server did not start");
  return ready.split(" ")[1]!;
}

describe("a data server's process", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("ends in good order on %s", async (signal) => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const started = await startProcess(dir, service.address, "new");
    const peer = await callerOf({ address: addressOf(started) });
    await putBlock(peer, killedBlock(1));
    started.child.kill(signal);
    expect(await started.child.exited).toBe(0);
    await startData(service, dir); // nobody holds the directory
    expect(service.registrations.at(-1)!.blocks).toBe(1);
  });

  test("does not start on a port in use, or a second time on its directory, and says why", async () => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const first = await startProcess(dir, service.address, "new");
    const address = addressOf(first);
    const samePort = await startProcess(freshDirectory(), service.address, "new", address);
    expect(await samePort.child.exited).toBe(1);
    expect(await new Response(samePort.child.stderr).text()).toContain(
      `port ${address.split(":")[1]} is in use`,
    );
    const sameDirectory = await startProcess(dir, service.address, "present");
    expect(await sameDirectory.child.exited).toBe(1);
    expect(await new Response(sameDirectory.child.stderr).text()).toContain(
      `it is in use by process ${first.child.pid}`,
    );
    first.child.kill("SIGKILL");
    await first.child.exited;
    const again = await startProcess(dir, service.address, "present");
    expect(addressOf(again)).toBe(address);
    again.child.kill("SIGTERM");
    expect(await again.child.exited).toBe(0);
  });
});

/** Puts blocks from `firstId` on over four connections until the connection breaks; returns what was acknowledged. */
async function putUntilKilled(
  peers: readonly Peer[],
  firstId: number,
  onPut: (count: number) => void,
): Promise<number[]> {
  const acknowledged: number[] = [];
  let next = firstId;
  const writer = async (peer: Peer): Promise<void> => {
    while (peer.open) {
      const id = next++;
      try {
        await putBlock(peer, killedBlock(id));
      } catch {
        return; // killed: this one may or may not be there
      }
      acknowledged.push(id);
      onPut(acknowledged.length);
    }
  };
  await Promise.all(peers.flatMap((peer) => Array.from({ length: 4 }, () => writer(peer))));
  return acknowledged;
}

test(`killed ${KILLS} times under load, a data server holds every block that it acknowledged`, async () => {
  const seed = Number(
    process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
  );
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const service = await ScriptedService.start();
  const dir = freshDirectory();
  const acknowledged: number[] = [];
  for (let round = 0; round < KILLS; round++) {
    const started = await startProcess(dir, service.address, round === 0 ? "new" : "present");
    const address = addressOf(started);
    const peers = await Promise.all([1, 2, 3, 4].map(() => callerOf({ address })));
    const target = 50 + random.below(500);
    const put = await putUntilKilled(peers, 1 + round * 10_000, (count) => {
      if (count === target) started.child.kill("SIGKILL");
    });
    expect(await started.child.exited).toBe(137);
    acknowledged.push(...put);
  }
  const server = await startData(service, dir);
  const peer = await callerOf(server);
  await eventually("it is registered", () => service.registrations.length === KILLS + 1);
  const listed = new Set<number>();
  for (let after = 0n; ;) {
    const { body } = await service.member.request(
      blockList,
      { after: blockId(after), limit: 500 },
      { timeoutMs: TIMEOUT_MS },
    );
    for (const { block, checksum } of body.blocks) {
      expect(killedBlock(Number(block)).checksum).toBe(checksum);
      listed.add(Number(block));
    }
    if (!body.more) break;
    after = body.blocks.at(-1)!.block;
  }
  for (const id of acknowledged) {
    const { block, length, bytes } = killedBlock(id);
    expect(listed.has(id)).toBe(true);
    const { bulk } = await peer.request(
      blockGet,
      { block, offset: 0, length },
      { timeoutMs: TIMEOUT_MS },
    );
    expect(Buffer.compare(bulk, bytes)).toBe(0);
  }
  expect(acknowledged.length).toBeGreaterThanOrEqual(KILLS * 50);
  console.log(`${acknowledged.length} blocks were acknowledged, ${listed.size} are held`);
}, 60_000);
