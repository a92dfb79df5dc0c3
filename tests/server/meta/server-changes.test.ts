// Servers are drained, replaced and removed, over real sockets with data servers that keep blocks in memory.

import { describe, expect, test } from "bun:test";
import { serverId, type InodeId } from "../../../src/base/ids.ts";
import {
  explain,
  holdings,
  plan,
  servers,
  setServer,
  status,
  type ServerChange,
} from "../../../src/protocol/messages/cluster.ts";
import type { MetaServerOptions } from "../../../src/server/meta/server.ts";
import { messageOfFailure } from "../../support/failure.ts";
import { temporaryDirectory, until } from "./support/durable.ts";
import { neededOf } from "../../../src/tools/shared/leaving.ts";
import { TestDataServer } from "./support/data-server.ts";
import { startMeta, TestClient } from "./support/service.ts";

/** Files are put where the tests want them: what is misplaced stays, unless it has to leave. */
const OPTIONS: Partial<MetaServerOptions> = {
  settings: { blockSize: 8 },
  outDelayMs: 3_600_000,
  moveMisplaced: false,
};

interface Parts {
  readonly client: TestClient;
  readonly data: readonly TestDataServer[];
  readonly address: string;
}

async function withServers(
  count: number,
  work: (parts: Parts) => Promise<void>,
  options: Partial<MetaServerOptions> = {},
): Promise<void> {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, { ...OPTIONS, ...options });
  const data: TestDataServer[] = [];
  for (let index = 0; index < count; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  try {
    await work({ client, data, address: meta.address });
  } finally {
    await meta.stop();
  }
}

const change = (client: TestClient, id: number, what: ServerChange) =>
  client.ask(setServer, { server: serverId(id), change: what });

const stateOf = async (client: TestClient, id: number): Promise<string | undefined> =>
  (await client.ask(servers, {})).servers.find(({ server }) => server === id)?.state;

async function untilEmpty(client: TestClient, id: number): Promise<void> {
  await until(async () => {
    const { present, bad, removing } = await client.ask(holdings, { server: serverId(id) });
    return present.copies + bad.copies + removing.copies === 0;
  });
}

/** The servers of the present copies of each block, and nothing else is on record. */
async function copies(client: TestClient, inode: InodeId) {
  const { rows } = await client.ask(explain, { inode, offset: 0, limit: 2000 });
  return rows.map(({ replicas }) => {
    expect(replicas.every(({ state }) => state === "present")).toBe(true);
    return replicas.map(({ server }) => Number(server)).toSorted((one, other) => one - other);
  });
}

describe("a drain", () => {
  test("of two servers at once empties both, and every block keeps three copies", () =>
    withServers(5, async ({ client, data }) => {
      const { inode } = await client.put("f", data.slice(0, 3), 40);
      await change(client, 1, "drain");
      await change(client, 2, "drain");
      await change(client, 2, "drain"); // said twice
      await untilEmpty(client, 1);
      await untilEmpty(client, 2);
      expect(new Set((await copies(client, inode)).map(String))).toEqual(new Set(["3,4,5"]));
      expect(data[0]!.held.size + data[1]!.held.size).toBe(0);
      expect(data[3]!.copied.length + data[4]!.copied.length).toBe(80);
      expect(await messageOfFailure(change(client, 3, "drain"))).toContain(
        "2 other servers are left",
      );
    }));

  // Removals come behind all moves: a drain of hours showed that nothing was done in the first half of them.
  test("tells of which copies there are enough others, before any has been removed", () =>
    withServers(4, async ({ client, data }) => {
      await client.put("f", data.slice(0, 3), 40);
      const gate = Promise.withResolvers<void>();
      for (const server of data) server.verifyGate = () => gate.promise; // before a removal the others are read
      await change(client, 1, "drain");
      const server = serverId(1);
      await until(async () => (await client.ask(holdings, { server })).surplus?.copies === 40);
      const found = await client.ask(holdings, { server });
      expect(found.surplus).toEqual(found.present);
      expect(neededOf(server, found)).toEqual({ copies: 0, bytes: 0, removals: 40 });
      gate.resolve();
      await untilEmpty(client, 1);
      const left = neededOf(server, await client.ask(holdings, { server }));
      expect(left).toEqual({ copies: 0, bytes: 0, removals: 0 });
    }));

  test("goes around a server that is full, although the table has the copies there", () =>
    withServers(5, async ({ client, data }) => {
      const { inode } = await client.put("f", data.slice(0, 3), 40);
      data[3]!.full = true;
      await until(async () => (await client.ask(servers, {})).servers[3]!.full);
      const { moves } = await client.ask(plan, { server: serverId(1), change: "drain" });
      expect(
        moves.map(({ server }) => Number(server)).toSorted((one, other) => one - other),
      ).toContain(4);
      await change(client, 1, "drain");
      await untilEmpty(client, 1);
      expect(new Set((await copies(client, inode)).map(String))).toEqual(new Set(["2,3,5"]));
    }));

  // The room of the server that is to be emptied was counted as well.
  test("tells how much room the others have for what has no place yet", () =>
    withServers(5, async ({ client, data }) => {
      await client.put("f", data.slice(0, 3), 40);
      const roomFor = async (id: number | null): Promise<number> => {
        const { moves } = await client.ask(plan, { server: serverId(1), change: "drain" });
        return moves.find(({ server }) => server === id)!.freeBytes;
      };
      const each = await roomFor(4); // up to the few bytes that are on some
      expect(Math.round((await roomFor(null)) / each)).toBe(4);
      await change(client, 5, "drain");
      expect(Math.round((await roomFor(null)) / each)).toBe(3);
    }));

  test("waits for a server that is away, and goes on without it when it is out", () =>
    withServers(
      5,
      async ({ client, data }) => {
        const { inode } = await client.put("f", data.slice(0, 3), 40);
        const { moves } = await client.ask(plan, { server: serverId(1), change: "drain" });
        const heir = moves.find(({ server }) => server === 4)!;
        await data[3]!.kill();
        await until(async () => (await stateOf(client, 4)) === "down");
        await change(client, 1, "drain");
        const held = async (): Promise<number> =>
          (await client.ask(holdings, { server: serverId(1) })).present.copies;
        await until(async () => (await held()) <= heir.copies);
        await until(async () => (await stateOf(client, 4)) === "out");
        await untilEmpty(client, 1);
        expect(new Set((await copies(client, inode)).map(String))).toEqual(new Set(["2,3,5"]));
      },
      { outDelayMs: 3_000 },
    ));

  test("of a server that dies for good goes on from the other copies, and when it returns it is emptied", () =>
    withServers(
      5,
      async ({ client, data, address }) => {
        const { inode } = await client.put("f", data.slice(0, 3), 40);
        for (const server of data) server.copyGate = () => Bun.sleep(20);
        await change(client, 1, "drain");
        await until(() => data.some(({ copied }) => copied.length > 0));
        await data[0]!.kill();
        await until(async () => (await stateOf(client, 1)) === "out");
        await until(async () => (await client.ask(status, {})).missingCopies === 0);
        await data[0]!.restart(address);
        await until(async () => (await stateOf(client, 1)) === "draining");
        await untilEmpty(client, 1);
        const sets = await copies(client, inode);
        expect(sets.every((each) => each.length === 3 && !each.includes(1))).toBe(true);
        expect(data[0]!.held.size).toBe(0);
      },
      { outDelayMs: 600 },
    ));

  test("that is ended gives the server its share again", () =>
    withServers(
      4,
      async ({ client, data }) => {
        await client.put("f", data.slice(0, 3), 40);
        await change(client, 1, "drain");
        await untilEmpty(client, 1);
        expect(await change(client, 2, "undrain")).toEqual({}); // it is up
        const { copies: back } = await client.ask(plan, { server: serverId(1), change: "undrain" });
        expect(back).toBeGreaterThan(0);
        await change(client, 1, "undrain");
        await until(() => data[0]!.held.size === back);
      },
      { moveMisplaced: true },
    ));
});

describe("a replacement", () => {
  // It was begun, and nothing could be made of it: the command that watches it waited for ever.
  test("is refused while too few of the others are up and not full, as a plan too", () =>
    withServers(5, async ({ client, data, address }) => {
      await client.put("f", data.slice(0, 3), 10);
      for (const index of [0, 1, 2]) await data[index]!.kill();
      for (const id of [1, 2, 3]) await until(async () => (await stateOf(client, id)) === "down");
      const refused = async (): Promise<string> => {
        const words = await messageOfFailure(change(client, 1, "replace"));
        const planned = client.ask(plan, { server: serverId(1), change: "replace" });
        expect(await messageOfFailure(planned)).toBe(words);
        return words;
      };
      const that =
        "cannot replace data server 1: that takes 3 other servers that are up and not full, there";
      expect(await refused()).toContain(`${that} are 2\nstart those again that are not up`);
      await data[1]!.restart(address);
      await until(async () => (await stateOf(client, 2)) === "up");
      data[4]!.full = true;
      await until(async () => (await client.ask(servers, {})).servers[4]!.full);
      expect(await refused()).toContain(`${that} are 2\n`);
      data[4]!.full = false;
      await until(async () => !(await client.ask(servers, {})).servers[4]!.full);
      await change(client, 1, "replace");
      await until(async () => (await client.ask(status, {})).missingCopies === 0);
      await data[1]!.kill(); // from here on it is watched, whoever is up
      await until(async () => (await stateOf(client, 2)) === "down");
      await change(client, 1, "replace");
    }));
});

describe("a removal", () => {
  test("is refused while copies are needed, can be said twice, and the id is never given again", () =>
    withServers(4, async ({ client, data, address }) => {
      await client.put("f", data.slice(0, 3), 10);
      expect(await messageOfFailure(change(client, 9, "remove"))).toContain(
        "there is no data server 9",
      );
      expect(await messageOfFailure(change(client, 1, "remove"))).toContain("dfs server drain 1");
      data[3]!.full = true; // so that nothing can be moved
      await until(async () => (await client.ask(servers, {})).servers[3]!.full);
      await change(client, 1, "drain");
      expect(await messageOfFailure(change(client, 1, "remove"))).toContain(
        "it still holds 10 copies (10 B)",
      );
      data[3]!.full = false;
      await untilEmpty(client, 1);
      await change(client, 1, "remove");
      await change(client, 1, "remove");
      await until(() => data[0]!.peer?.open !== true);
      expect(await messageOfFailure(data[0]!.register(address))).toContain(
        "was removed from this cluster",
      );
      const next = await TestDataServer.join(address);
      expect(Number(next.id)).toBe(5);
    }));

  test("of a server that is out needs that its blocks have been copied elsewhere", () =>
    withServers(4, async ({ client, data }) => {
      const { inode } = await client.put("f", data.slice(0, 3), 10);
      const gate = Promise.withResolvers<void>();
      for (const server of data) server.copyGate = () => gate.promise; // so that nothing can be copied
      await data[0]!.kill();
      await until(async () => (await stateOf(client, 1)) === "down");
      await change(client, 1, "replace");
      await until(async () => (await client.ask(status, {})).missingCopies === 10);
      expect(await messageOfFailure(change(client, 1, "remove"))).toContain(
        "10 of its blocks have not been copied elsewhere (10 B)",
      );
      gate.resolve();
      await until(async () => (await client.ask(status, {})).missingCopies === 0);
      await change(client, 1, "remove");
      expect(new Set((await copies(client, inode)).map(String))).toEqual(new Set(["2,3,4"]));
    }));

  test("between a write and its commit costs the write that copy and nothing else", () =>
    withServers(4, async ({ client, data }) => {
      await change(client, 4, "drain");
      await change(client, 4, "remove");
      const { inode } = await client.put("f", [data[0]!, data[1]!, data[3]!], 5);
      await until(async () => (await client.ask(status, {})).missingCopies === 0);
      expect(new Set((await copies(client, inode)).map(String))).toEqual(new Set(["1,2,3"]));
      data[3]!.server = serverId(77); // an id that was never given is still a mistake
      const wrong = client.put("g", [data[0]!, data[1]!, data[3]!], 1);
      expect(await messageOfFailure(wrong)).toContain(
        "names server 77, which is not in the cluster",
      );
    }));
});
