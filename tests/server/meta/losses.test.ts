// Blocks of which no copy counts any more: who is told, with which files; a server that has the last copies is not removed, unless
// it is given up by name, and what was given up is on record.

import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ROOT_INODE, serverId } from "../../../src/base/ids.ts";
import {
  explain,
  holdings,
  losses,
  plan,
  servers,
  setServer,
  status,
  type LossPage,
  type ServerChange,
} from "../../../src/protocol/messages/cluster.ts";
import { fsckPoll, fsckStart, fsckStop } from "../../../src/protocol/messages/fsck.ts";
import { unlink } from "../../../src/protocol/messages/namespace.ts";
import type { MetaServerOptions } from "../../../src/server/meta/server.ts";
import { messageOfFailure } from "../../support/failure.ts";
import { temporaryDirectory, until } from "./support/durable.ts";
import { TestDataServer } from "./support/data-server.ts";
import { startMeta, TestClient, text } from "./support/service.ts";

const OPTIONS: Partial<MetaServerOptions> = {
  settings: { blockSize: 8, writeQuorum: 1 },
  outDelayMs: 3_600_000,
  moveMisplaced: false,
};

interface Parts {
  readonly client: TestClient;
  readonly data: readonly TestDataServer[];
  readonly address: string;
  readonly dir: string;
}

async function withServers(
  work: (parts: Parts) => Promise<void>,
  options: Partial<MetaServerOptions> = {},
): Promise<void> {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, { ...OPTIONS, ...options });
  const data: TestDataServer[] = [];
  for (let index = 0; index < 4; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  try {
    await work({ client, data, address: meta.address, dir: dir.path });
  } finally {
    await meta.stop();
  }
}

const change = (client: TestClient, id: number, what: ServerChange) =>
  client.ask(setServer, { server: serverId(id), change: what });

const planOf = (client: TestClient, id: number, what: ServerChange) =>
  client.ask(plan, { server: serverId(id), change: what });

const holdingsOf = (client: TestClient, id: number) =>
  client.ask(holdings, { server: serverId(id) });

async function untilState(client: TestClient, id: number, state: string): Promise<void> {
  await until(async () => {
    const list = await client.ask(servers, {});
    return list.servers.find(({ server }) => server === id)?.state === state;
  });
}

/** Stores a file whose only copies are on server 1, which dies before anybody can copy them. */
async function putAlone({ client, data, address }: Parts, name: string, blocks: number) {
  const others = data.slice(1);
  for (const server of others) await server.kill();
  const file = await client.put(name, data.slice(0, 1), blocks);
  await data[0]!.kill();
  for (const server of others) await server.restart(address);
  return file;
}

/** The server is gone for good, and what that means has been found out. */
async function replace({ client, data }: Parts, id: number): Promise<void> {
  await data[id - 1]!.kill();
  await untilState(client, id, "down");
  await change(client, id, "replace");
  await until(async () => !(await holdingsOf(client, id)).judging);
}

async function allLosses(client: TestClient, id?: number): Promise<LossPage["losses"]> {
  const all: LossPage["losses"] = [];
  const server = id === undefined ? null : serverId(id);
  for (let after: LossPage["next"] = null; ;) {
    const page: LossPage = await client.ask(losses, { server, after });
    all.push(...page.losses);
    after = page.next;
    if (after === null) return all;
  }
}

/** "/f 8+1 of 2,3": path, offset, length, servers. */
const shown = (found: LossPage["losses"]): string[] =>
  found.map(({ path, offset, length, servers: ids }) => {
    const name = path === null ? "-" : Buffer.from(path).toString();
    return `${name} ${offset}+${length} of ${ids.join(",")}`;
  });

/** Findings of fsck, "outcome kind path". */
async function fsck(client: TestClient): Promise<string[]> {
  const start = { level: "full", inode: null, dryRun: false, patienceMs: 500 } as const;
  const { run } = await client.ask(fsckStart, start);
  const found: string[] = [];
  for (let after = 0; ;) {
    const { findings, finished } = await client.ask(fsckPoll, { run, after });
    after += findings.length;
    for (const { outcome, kind, path } of findings) {
      if (outcome !== "note")
        found.push(`${outcome} ${kind} ${Buffer.from(path ?? []).toString()}`);
    }
    if (finished) break;
    await Bun.sleep(10);
  }
  await client.ask(fsckStop, { run });
  return found.toSorted();
}

describe("blocks without a copy that counts", () => {
  test("are listed with their files, and a server that has the last copies is not removed", () =>
    withServers(async (parts) => {
      const { client, data, address } = parts;
      await client.put("safe", data.slice(0, 3), 4);
      await putAlone(parts, "alone", 3);
      await untilState(client, 1, "down");
      expect(await allLosses(client)).toEqual([]); // it may come back at any moment
      expect((await holdingsOf(client, 1)).lost).toEqual({ copies: 0, bytes: 0 });
      await replace(parts, 1);
      expect(shown(await allLosses(client))).toEqual([
        "/alone 0+1 of 1",
        "/alone 8+1 of 1",
        "/alone 16+1 of 1",
      ]);
      expect(await allLosses(client, 2)).toEqual([]);
      await until(async () => (await holdingsOf(client, 1)).lacking.copies === 3);
      expect((await holdingsOf(client, 1)).lost).toEqual({ copies: 3, bytes: 3 });
      for (const asked of [change(client, 1, "remove"), planOf(client, 1, "remove")]) {
        const refusal = await messageOfFailure(asked);
        expect(refusal).toContain('3 blocks have no other copy, of "/alone"');
        expect(refusal).toContain("dfs server remove 1 --force");
      }
      await data[0]!.restart(address); // and it does
      await until(async () => (await allLosses(client)).length === 0);
    }));

  test("are lost when their server is given up: on record, told by fsck, and gone with their file", () =>
    withServers(async (parts) => {
      const { client, data, address, dir } = parts;
      await client.put("safe", data.slice(0, 3), 2);
      const alone = await putAlone(parts, "alone", 2);
      await replace(parts, 1);
      await until(async () => (await holdingsOf(client, 1)).lacking.copies === 2);
      expect(await planOf(client, 1, "abandon")).toMatchObject({ copies: 0, moves: [] });
      await change(client, 1, "abandon");
      await change(client, 1, "abandon"); // said twice
      expect((await client.ask(servers, {})).servers.length).toBe(3);
      expect(shown(await allLosses(client))).toEqual(["/alone 0+1 of 1", "/alone 8+1 of 1"]);
      expect((await allLosses(client, 1)).length).toBe(2);
      const { rows } = await client.ask(explain, { inode: alone.inode, offset: 0, limit: 10 });
      expect(rows.map(({ replicas }) => replicas)).toEqual([[], []]);
      const lost = ["left missingCopies /alone", "left missingCopies /alone"];
      expect((await fsck(client)).filter((each) => each.includes("missingCopies"))).toEqual(lost);
      expect((await client.ask(status, {})).blocksByCopies).toEqual([2, 0, 0, 2]);
      // Its disk is found again, too late.
      expect(await messageOfFailure(data[0]!.register(address))).toContain("was removed");
      await client.change(unlink, { parent: ROOT_INODE, name: text("alone") });
      expect(await allLosses(client)).toEqual([]);
      const database = new Database(join(dir, "meta.db"), { readonly: true });
      await until(() => database.query("SELECT 1 FROM abandoned").get() === null);
      const dead = database.query("SELECT 1 FROM forgotten WHERE ? BETWEEN first AND last");
      await until(() => alone.blocks.every((block) => dead.get(block) !== null));
      database.close();
      expect(await fsck(client)).toEqual([]);
    }));

  test("are those only whose good copies are all gone: a server is not given up with copies that can be read", () =>
    withServers(
      async ({ client, data }) => {
        const file = await client.put("f", data.slice(0, 1), 2);
        await change(client, 1, "drain");
        expect(await messageOfFailure(change(client, 1, "abandon"))).toContain(
          "2 of its copies can still be read",
        );
        expect(await messageOfFailure(change(client, 2, "abandon"))).toContain("it is up");
        expect(data[0]!.held.size).toBe(file.blocks.length);
        expect((await client.ask(servers, {})).servers.length).toBe(4);
      },
      { copiesPerServer: 0 },
    ));

  test("come in pages", () =>
    withServers(
      async (parts) => {
        const { client, data } = parts;
        await client.put("many", data.slice(0, 1), 300);
        await replace(parts, 1);
        await until(async () => (await holdingsOf(client, 1)).lost?.copies === 300);
        const found = await allLosses(client, 1);
        expect(found.map(({ offset }) => offset)).toEqual(
          Array.from({ length: 300 }, (_, index) => index * 8),
        );
        const page = await client.ask(losses, { server: null, after: found[298]!.block });
        expect(page).toMatchObject({ losses: [found[299]!], next: null });
      },
      { copiesPerServer: 0 },
    ));

  test("do not keep a refilled server from being counted again", () =>
    withServers(async (parts) => {
      const { client, data, address } = parts;
      await client.put("safe", data.slice(0, 3), 5);
      await putAlone(parts, "alone", 2);
      data[0]!.held.clear();
      data[0]!.recovered = true;
      await data[0]!.restart(address);
      await until(async () => {
        const { filling, lost, bad, judging } = await holdingsOf(client, 1);
        return !judging && !filling && lost?.copies === 2 && bad.copies === 2;
      });
      expect(shown(await allLosses(client))).toEqual(["/alone 0+1 of 1", "/alone 8+1 of 1"]);
    }));
});
