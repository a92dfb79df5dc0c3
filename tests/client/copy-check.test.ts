// Checking single copies, damaging them and stopping servers through a client: requests to one server and no other.

import { afterEach, describe, expect, test } from "bun:test";
import { serverId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { CopyVote, ExplainRow, ReadVotes } from "../../src/client/api.ts";
import {
  bytesOf,
  collected,
  KiB,
  OWNER,
  patterned,
  startCluster,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const BLOCK = 256 * KiB;
const PATH = bytesOf("/file");
const content = patterned(BLOCK + 10);

let cluster: Cluster;
afterEach(() => cluster.stop());

/** A cluster with a file of two blocks; the rows that explain them. */
async function begin(): Promise<{ client: TestClient; rows: ExplainRow[] }> {
  cluster = await startCluster({ settings: { blockSize: BLOCK }, allowFaults: true });
  const client = await cluster.client();
  await client.put(PATH, [content], { ...OWNER, keepReplaced: true });
  return { client, rows: await Array.fromAsync(client.explain(PATH)) };
}

const serversOf = (row: ExplainRow) => row.replicas.map(({ server }) => server);
const states = (votes: readonly CopyVote[]): string[] => votes.map(({ state }) => state);
const kindsOf = ({ warnings }: TestClient): string[] => warnings.map(({ kind }) => kind);

/** A seed whose damage to a whole block begins at `offset` or later. */
function seedBehind(offset: number): number {
  for (let seed = 0; ; seed++) {
    const random = seededRandom(seed);
    const bytes = 1 + random.below(8);
    if (random.below(BLOCK - bytes + 1) >= offset) return seed;
  }
}

describe("checking copies", () => {
  test("finds damage in a later piece, loss and absence, each on its own server, and reports them", async () => {
    const { client, rows } = await begin();
    const row = rows[0]!;
    const servers = serversOf(row);
    expect(states(await client.checkCopies(row, servers))).toEqual(["right", "right", "right"]);
    expect(client.warnings).toEqual([]);
    const damage = { block: row.block, fault: "body", seed: seedBehind(64 * KiB) } as const;
    const { blockOffset } = await client.injectFault(servers[0]!, damage);
    expect(blockOffset).toBeGreaterThanOrEqual(64 * KiB); // in a piece that a read of the first bytes does not touch
    expect(states(await client.checkCopies(row, servers))).toEqual(["rotten", "right", "right"]);
    await client.injectFault(servers[1]!, { block: row.block, fault: "lose", seed: 0 });
    const gone = cluster.servers.find((each) => each.running!.server === servers[2])!;
    await cluster.stopServer(gone.index);
    const votes = await client.checkCopies(row, servers);
    expect(states(votes)).toEqual(["rotten", "missing", "unreachable"]);
    for (const { reason } of votes) expect(reason).not.toBe("");
    expect(kindsOf(client)).toEqual(["badReplica", "badReplica"]); // nobody is warned of a server that is down
  });

  test("a copy that is not the block that metadata means is rotten", async () => {
    const { client, rows } = await begin();
    const [one, two] = rows;
    const wrong = { block: one!.block, checksum: two!.checksum };
    expect(states(await client.checkCopies(wrong, serversOf(one!)))).toEqual(
      Array(3).fill("rotten"),
    );
  });
});

test("a server that comes back is asked again", async () => {
  const { client, rows } = await begin();
  const row = rows[0]!;
  const [server] = serversOf(row);
  const { index } = cluster.servers.find((each) => each.running!.server === server)!;
  await cluster.stopServer(index);
  expect(states(await client.checkCopies(row, [server!]))).toEqual(["unreachable"]);
  await cluster.startServer(index);
  const endMs = performance.now() + 20_000;
  while (states(await client.checkCopies(row, [server!]))[0] !== "right") {
    if (performance.now() > endMs) throw new Error("it was never asked again");
    await Bun.sleep(50);
  }
});

test("an unknown server is not found; one that is stopped is gone when the client hears of it", async () => {
  const { client, rows } = await begin();
  expect(await failureOf(client.stopServer(serverId(77), "inGoodOrder"))).toMatchObject({
    kind: "notFound",
  });
  const [server] = serversOf(rows[0]!);
  const { index } = cluster.servers.find((each) => each.running!.server === server)!;
  expect(await client.stopServer(server!, "inGoodOrder")).toEqual({ pid: process.pid });
  await cluster.startServer(index); // its directory is free
  expect(await failureOf(client.stopServer(server!, "crash"))).toMatchObject({
    kind: "unsupported",
  });
});

test("a client's own read quorum and its votes", async () => {
  const { rows } = await begin();
  const heard: ReadVotes[] = [];
  const client = await cluster.client({ readQuorum: 3, onVotes: (votes) => heard.push(votes) });
  expect(client.readQuorum).toBe(3);
  const file = await client.open(PATH);
  expect(Buffer.compare(await collected(file.stream()), content)).toBe(0);
  expect(heard.map((each) => each.offset).toSorted((a, b) => a - b)).toEqual([0, BLOCK]);
  for (const { path, votes, offset } of heard) {
    expect(path).toBe("/file");
    expect(votes.map(({ server }) => server)).toEqual(serversOf(rows[offset / BLOCK]!));
    expect(states(votes)).toEqual(["right", "right", "right"]);
  }
});
