// "The cluster is whole again": every live block has as many copies as it should have, each read and verified on its own
// server, and nothing is left to repair or to delete.

import { firstBadPiece, verifyPieceList } from "../../src/base/checksum.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { ServerId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { DfsClient, ExplainRow } from "../../src/client/api.ts";
import { connectPeer } from "../../src/protocol/endpoint.ts";
import { blockGet } from "../../src/protocol/messages/data.ts";
import type { Peer } from "../../src/protocol/peer.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { bytesOf, until } from "./cluster.ts";

const TIMEOUT_MS = 10_000;

/** Urgency of blocks that are to be moved back. */
const MISPLACED = 100;

/**
 * Waits until the service says that nothing is left to do. While a server is away, what should be moved back to it does not
 * count.
 */
export async function untilHealed(client: DfsClient, patienceMs = 60_000): Promise<void> {
  let last = "";
  try {
    await until(
      "the cluster is whole again",
      async () => {
        const { repair, missingCopies, deadBlocks, blocksByCopies, liveBlocks } =
          await client.status();
        const allUp = (await client.servers()).every(({ state }) => state === "up");
        const left = repair?.queue.filter(({ urgency }) => allUp || urgency !== MISPLACED);
        last = JSON.stringify({ repair, missingCopies, deadBlocks, blocksByCopies, liveBlocks });
        return (
          repair !== null &&
          left?.length === 0 &&
          repair.copying === 0 &&
          repair.suspects === 0 &&
          missingCopies === 0 &&
          deadBlocks === 0 &&
          blocksByCopies[client.replicas] === liveBlocks
        );
      },
      patienceMs,
    );
  } catch (error) {
    throw new Error(`${String(error)}; the last figures were ${last}`, { cause: error });
  }
}

/** Waits until the cluster is whole again, and all copies of these files are right, one on each of as many servers. */
export async function untilWhole(client: DfsClient, paths: readonly string[]): Promise<void> {
  await untilHealed(client);
  let problems: string[] = [];
  const whole = async (): Promise<boolean> =>
    (problems = await badCopies(client, paths)).length === 0;
  try {
    await until("all copies are right", whole);
  } catch (error) {
    throw new Error(`${String(error)}:\n${problems.join("\n")}`, { cause: error });
  }
}

/** What is wrong with the copies of these files, each read on its own server; empty when nothing is. */
export async function badCopies(client: DfsClient, paths: readonly string[]): Promise<string[]> {
  const addresses = new Map((await client.servers()).map((each) => [each.server, each.address]));
  const peers = new Map<ServerId, Promise<Peer>>();
  const problems: string[] = [];
  try {
    for (const path of paths) {
      for await (const row of client.explain(bytesOf(path))) {
        const states = row.replicas.map((each) => `${each.server}:${each.state}`);
        const present = row.replicas.filter((each) => each.state === "present");
        if (present.length !== client.replicas || states.length !== present.length) {
          problems.push(`${path}: block ${row.block} has copies ${states.join(" ")}`);
        }
        for (const { server } of present) {
          const peer = peers.get(server) ?? connect(client, server, addresses.get(server)!);
          peers.set(server, peer);
          const problem = await problemOn(peer, row);
          if (problem === undefined) continue;
          problems.push(`${path}: block ${row.block} on server ${server}: ${problem}`);
        }
      }
    }
  } finally {
    for (const peer of await Promise.allSettled(peers.values())) {
      if (peer.status === "fulfilled") peer.value.close("the test has what it wanted");
    }
  }
  return problems;
}

async function problemOn(
  connecting: Promise<Peer>,
  { block, checksum }: ExplainRow,
): Promise<string | undefined> {
  try {
    const peer = await connecting;
    // The extent may show a part of the block: any byte tells how long it is.
    const first = await peer.request(
      blockGet,
      { block, offset: 0, length: 1 },
      { timeoutMs: TIMEOUT_MS },
    );
    const length = first.body.blockLength;
    const { body, bulk } = await peer.request(
      blockGet,
      { block, offset: 0, length },
      { timeoutMs: TIMEOUT_MS },
    );
    const right =
      bulk.length === length &&
      verifyPieceList(length, body.pieces, checksum) &&
      firstBadPiece(bulk, 0, body.pieces) === -1;
    return right ? undefined : "other bytes";
  } catch (error) {
    return String(error);
  }
}

function connect(client: DfsClient, server: ServerId, address: string): Promise<Peer> {
  return connectPeer({
    transport: tcpTransport(systemClock),
    address,
    identity: {
      role: "client",
      cluster: client.cluster,
      server: undefined,
      incarnation: undefined,
      instance: undefined,
      reign: undefined,
      label: "a test that verifies copies",
    },
    expect: { role: "data", server, cluster: client.cluster },
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    timeoutMs: TIMEOUT_MS,
  });
}
