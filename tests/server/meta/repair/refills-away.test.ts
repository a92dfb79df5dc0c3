// A server that lost its disk is refilled in a pass also while another one is away, being drained or not compared yet.

import { expect, test } from "bun:test";
import type { BlockId } from "../../../../src/base/ids.ts";
import { servers, setServer } from "../../../../src/protocol/messages/cluster.ts";
import { BATCH_BLOCKS } from "../../../../src/server/meta/repair/batches.ts";
import type { TestDataServer } from "../support/data-server.ts";
import { until } from "../support/durable.ts";
import { BLOCKS, withFiles, type Cluster } from "../support/refill-cluster.ts";

/** What the lost server had, by whether another server has a copy of it. */
function sharedWith(
  { lost }: Cluster,
  other: TestDataServer,
): { shared: BlockId[]; rest: BlockId[] } {
  const ids = [...lost.held.keys()];
  return {
    shared: ids.filter((block) => other.held.has(block)),
    rest: ids.filter((block) => !other.held.has(block)),
  };
}

const stateOf = async ({ client }: Cluster, { id }: TestDataServer) =>
  (await client.ask(servers, {})).servers.find(({ server }) => server === id)?.state;

/** It was ordered many blocks at a time, and no block twice. */
function expectPass({ lost }: Cluster, blocks: number): void {
  expect(lost.held.size).toBe(blocks);
  expect(lost.copied.length).toBe(blocks);
  expect(Math.max(...lost.batches)).toBeGreaterThan(BATCH_BLOCKS);
}

test("while another server is away, of three", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { data, address } = cluster;
    await data[2]!.kill();
    await cluster.loseDisk();
    await cluster.whenFilled();
    expectPass(cluster, BLOCKS);
    expect(data[2]!.given).toBe(0);
    await data[2]!.restart(address);
    await cluster.whenWhole(BLOCKS);
  }));

test("while another server is away, of four: what has one copy within reach comes first", () =>
  withFiles(
    BLOCKS,
    async (cluster) => {
      const { data, lost, address } = cluster;
      const { shared, rest } = sharedWith(cluster, data[3]!);
      await data[3]!.kill();
      await cluster.loseDisk();
      await cluster.whenFilled();
      expectPass(cluster, shared.length + rest.length);
      expect(new Set(lost.copied.slice(0, shared.length))).toEqual(new Set(shared));
      await data[3]!.restart(address);
      await cluster.whenWhole(BLOCKS);
    },
    { servers: 4 },
  ));

// At this rate the others take a minute.
test("no rate applies to these, and they do not wait when a server goes away in the middle", () =>
  withFiles(
    BLOCKS,
    async (cluster) => {
      const { data, lost } = cluster;
      const { shared, rest } = sharedWith(cluster, data[3]!);
      await cluster.loseDisk();
      await until(() => lost.copied.length > 0);
      await data[3]!.kill();
      await until(() => shared.every((block) => lost.held.has(block)));
      expect(rest.filter((block) => lost.held.has(block)).length).toBeLessThan(rest.length);
    },
    { servers: 4, repairBytesPerSecond: 10 },
  ));

test("while another server is being drained, which ends empty", () =>
  withFiles(
    BLOCKS,
    async (cluster) => {
      const { data, lost, client } = cluster;
      const drained = data[3]!;
      const had = [...lost.held.keys()];
      // What the drained server has stays there until then, but for what the lost one takes.
      for (const server of data.slice(1)) server.full = true;
      await until(async () => {
        const list = (await client.ask(servers, {})).servers;
        return list.filter(({ full }) => full).length === 3;
      });
      await lost.kill();
      await client.ask(setServer, { server: drained.id, change: "drain" });
      await cluster.loseDisk();
      await until(() => had.every((block) => lost.held.has(block)));
      expect(Math.max(...lost.batches)).toBeGreaterThan(BATCH_BLOCKS);
      for (const server of data) server.full = false;
      await until(() => drained.held.size === 0);
      await cluster.whenWhole(BLOCKS);
    },
    { servers: 4 },
  ));

test("while another server is out, whose copies do not count", () =>
  withFiles(
    BLOCKS,
    async (cluster) => {
      const { data, lost, client, address } = cluster;
      const gone = data[3]!;
      await gone.kill();
      await until(async () => (await stateOf(cluster, gone)) === "down");
      await client.ask(setServer, { server: gone.id, change: "replace" });
      await cluster.whenWhole(BLOCKS); // its copies are made elsewhere
      const had = lost.held.size;
      lost.copied.length = lost.batches.length = 0;
      await cluster.loseDisk();
      await cluster.whenFilled();
      expectPass(cluster, had);
      await gone.restart(address);
      await until(() => gone.held.size === 0); // it has no slots any more
      await cluster.whenWhole(BLOCKS);
    },
    { servers: 4, downDelayMs: 300 },
  ));

test("while another server is being compared with the record, from which nothing is read", () =>
  withFiles(BLOCKS, async (cluster) => {
    const { data, lost, address } = cluster;
    const late = data[2]!;
    const gate = Promise.withResolvers<void>();
    late.listGate = () => gate.promise;
    await late.kill();
    await late.restart(address);
    await cluster.loseDisk();
    await until(() => lost.held.size === BLOCKS);
    expectPass(cluster, BLOCKS);
    expect(late.given).toBe(0);
    gate.resolve();
    await cluster.whenWhole(BLOCKS);
  }));
