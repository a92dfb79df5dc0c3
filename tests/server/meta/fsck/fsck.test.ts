// Runs of fsck over real sockets, with data servers that keep blocks in memory: what is found, what is corrected by way of
// the planner, what is left, and who may run it.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { systemClock } from "../../../../src/base/clock.ts";
import { ROOT_INODE, type BlockId } from "../../../../src/base/ids.ts";
import { MAX_LINES } from "../../../../src/base/limited-lines.ts";
import { lineLogger } from "../../../../src/base/logger.ts";
import { reportReplica } from "../../../../src/protocol/messages/cluster.ts";
import { reserve } from "../../../../src/protocol/messages/content.ts";
import {
  fsckPoll,
  fsckStart,
  fsckStop,
  type FsckFinding,
} from "../../../../src/protocol/messages/fsck.ts";
import { getattr, unlink } from "../../../../src/protocol/messages/namespace.ts";
import { until } from "../support/durable.ts";
import { blockBytes, TestClient, text } from "../support/service.ts";
import { damage, firstThree, run, runWhole, shown, withCluster, type Cluster } from "./support.ts";

setDefaultTimeout(60_000);

/** A block that nobody has ever reserved. */
const NOBODYS = 77_777n as BlockId;

describe("a sound cluster", () => {
  test("has no finding at any level", () =>
    withCluster(4, async (cluster) => {
      await cluster.client.put("f", firstThree(cluster), 40);
      for (const level of ["meta", "presence", "full"] as const) {
        expect(shown(await run(cluster.client, { level }))).toEqual([]);
      }
      expect(cluster.data[0]!.verified.length).toBe(40);
    }));
});

describe("copies", () => {
  test("that are rotten or lost are made again, each told with path and server", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 3);
      const [one, other] = cluster.data;
      one!.rotten.add(blocks[0]!);
      other!.held.delete(blocks[1]!);
      const findings = await run(cluster.client);
      expect(shown(findings)).toEqual(["corrected lostCopy /f 2", "corrected rottenCopy /f 1"]);
      expect(new Set(findings.map(({ offset }) => offset))).toEqual(new Set([0, 8]));
      expect(one!.rotten.size).toBe(0);
      expect(other!.held.has(blocks[1]!)).toBe(true);
      expect(shown(await run(cluster.client))).toEqual([]);
    }));

  test("that are lost are found at the presence level, without reading the others", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 5);
      cluster.data[0]!.held.delete(blocks[3]!);
      cluster.data[1]!.rotten.add(blocks[0]!);
      expect(shown(await run(cluster.client, { level: "presence" }))).toEqual([
        "corrected lostCopy /f 1",
      ]);
      expect(cluster.data[1]!.verified).toEqual([]);
    }));

  test("are only told of by a dry run", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 2);
      cluster.data[0]!.rotten.add(blocks[0]!);
      for (let again = 0; again < 2; again++) {
        expect(shown(await run(cluster.client, { dryRun: true }))).toEqual([
          "left rottenCopy /f 1",
        ]);
      }
      expect(cluster.data.flatMap(({ copied }) => copied)).toEqual([]);
    }));

  test("that are all rotten are left, and two of three are mended", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 2);
      for (const server of firstThree(cluster)) server.rotten.add(blocks[0]!);
      for (const server of cluster.data.slice(0, 2)) server.rotten.add(blocks[1]!);
      expect(shown(await run(cluster.client))).toEqual([
        "corrected rottenCopy /f 1",
        "corrected rottenCopy /f 2",
        "left rottenCopy /f 1",
        "left rottenCopy /f 2",
        "left rottenCopy /f 3",
      ]);
    }));

  test("that cannot be made again for now are left when patience is over", () =>
    withCluster(3, async (cluster) => {
      const { blocks } = await cluster.client.put("f", cluster.data, 1);
      cluster.data[0]!.held.delete(blocks[0]!);
      const gate = Promise.withResolvers<void>();
      cluster.data[0]!.copyGate = () => gate.promise;
      const [finding, ...more] = await run(cluster.client, { patienceMs: 300 });
      gate.resolve();
      expect(more).toEqual([]);
      expect(shown([finding!])).toEqual(["left lostCopy /f 1"]);
      expect(finding!.detail).toContain("not mended");
    }));

  test("that nobody knows are told of and left alone", () =>
    withCluster(4, async (cluster) => {
      await cluster.client.put("f", firstThree(cluster), 1);
      cluster.data[3]!.store(NOBODYS, blockBytes(NOBODYS));
      expect(shown(await run(cluster.client))).toEqual(["note orphans - 4"]);
      expect(cluster.data[3]!.held.has(NOBODYS)).toBe(true);
    }));

  test("on a server that is away are noted; a block that is nowhere else is an error", () =>
    withCluster(4, async (cluster) => {
      await cluster.client.put("f", firstThree(cluster), 1);
      await cluster.client.put("alone", [cluster.data[2]!, cluster.data[3]!], 1);
      await run(cluster.client); // mends the short write
      await cluster.data[0]!.kill();
      expect(shown(await run(cluster.client))).toEqual(["note unchecked - 1"]);
      for (const server of cluster.data.slice(1)) await server.kill();
      const findings = shown(await run(cluster.client, { patienceMs: 200 }));
      expect(findings).toContain("left unavailableBlock /f -");
      expect(findings).toContain("left unavailableBlock /alone -");
    }));
});

describe("a cluster that goes on meanwhile", () => {
  /** Starts a run, and calls `meanwhile` when server 1 is asked for verdicts, which it gives only then. */
  async function runAnd(cluster: Cluster, meanwhile: () => Promise<void>): Promise<string[]> {
    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    cluster.data[0]!.verifyGate = () => {
      reached.resolve();
      return gate.promise;
    };
    const findings = run(cluster.client);
    await reached.promise;
    await meanwhile();
    gate.resolve();
    return shown(await findings);
  }

  test("has no finding when a file and its copies go between the record and the server", () =>
    withCluster(4, async (cluster) => {
      await cluster.client.put("f", firstThree(cluster), 20);
      const findings = await runAnd(cluster, async () => {
        await cluster.client.change(unlink, { parent: ROOT_INODE, name: text("f") });
        await until(() => cluster.data.every(({ held }) => held.size === 0));
      });
      expect(findings).toEqual([]);
      expect(cluster.data[0]!.verified.length).toBeGreaterThan(0);
    }));

  test("is told of a copy that somebody else has mended by then as corrected, or not at all", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 2);
      cluster.data[0]!.rotten.add(blocks[0]!);
      await cluster.client.ask(reportReplica, {
        block: blocks[0]!,
        server: cluster.data[0]!.id,
        problem: "badChecksum",
        detail: "",
      });
      const findings = await run(cluster.client);
      for (const { outcome } of findings) expect(outcome).toBe("corrected");
      await until(() => cluster.data[0]!.rotten.size === 0);
      expect(shown(await run(cluster.client))).toEqual([]);
    }));

  test("is not told of blocks that a session is writing", () =>
    withCluster(4, async (cluster) => {
      const { first } = await cluster.client.change(reserve, { count: 3 });
      for (let index = 0n; index < 3n; index++) {
        const id = (first + index) as BlockId;
        cluster.data[1]!.store(id, blockBytes(id));
      }
      expect(shown(await run(cluster.client))).toEqual([]);
    }));
});

describe("what is no error", () => {
  test("is noted: copies on stand-ins, for the whole cluster", () =>
    withCluster(4, async (cluster) => {
      await cluster.client.put("f", firstThree(cluster), 8);
      const [note, ...more] = await runWhole(cluster.client);
      expect(more).toEqual([]);
      expect(shown([note!])).toEqual(["note misplaced - -"]);
    }));
});

describe("the record", () => {
  test("gets a wrong link count and a wrong count of bytes corrected", () =>
    withCluster(4, async (cluster) => {
      const { inode } = await cluster.client.put("f", firstThree(cluster), 2);
      await damage(cluster, `UPDATE inodes SET nlink = 7, allocated = 99 WHERE id = ${inode}`);
      const { client } = cluster;
      expect(shown(await run(client, { level: "meta", dryRun: true }))).toEqual([
        "left wrongAllocated /f -",
        "left wrongLinkCount /f -",
      ]);
      const findings = await run(client, { level: "meta" });
      expect(shown(findings)).toEqual([
        "corrected wrongAllocated /f -",
        "corrected wrongLinkCount /f -",
      ]);
      const { attributes } = await client.ask(getattr, { inode });
      expect(attributes).toMatchObject({ nlink: 1, allocated: 2 });
      await client.change(unlink, { parent: ROOT_INODE, name: text("f") });
      await until(() => cluster.data.every(({ held }) => held.size === 0));
    }));

  test("keeps what contradicts itself, and tells of it", () =>
    withCluster(4, async (cluster) => {
      const { inode } = await cluster.client.put("f", firstThree(cluster), 2);
      await damage(cluster, `UPDATE inodes SET size = 5 WHERE id = ${inode}`);
      for (let again = 0; again < 2; again++) {
        expect(shown(await run(cluster.client))).toEqual(["left extentBeyondEnd /f -"]);
      }
    }));

  test("that misses copies without knowing has them made", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 2);
      cluster.data[0]!.held.delete(blocks[0]!);
      await damage(cluster, `DELETE FROM replicas WHERE block = ${blocks[0]} AND server = 1`);
      expect(shown(await run(cluster.client, { level: "meta" }))).toEqual([
        "corrected missingCopies /f -",
      ]);
      expect(shown(await run(cluster.client))).toEqual([]);
    }));
});

describe("a run", () => {
  const START = { level: "full", inode: null, dryRun: false, patienceMs: 1000 } as const;

  // Each has a thread: 256 at a time made the server grow to 1,199 MiB, and others wait for eight seconds.
  test("is not begun again and again before former ones have ended", () =>
    withCluster(3, async (cluster) => {
      const { client } = cluster;
      const asked = Array.from({ length: 32 }, () => client.ask(fsckStart, START));
      const outcomes = await Promise.allSettled(asked);
      const refused = outcomes.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.length).toBeLessThan(asked.length);
      for (const each of refused) expect(each).toMatchObject({ kind: "locked" });
      await until(
        async () => (await client.ask(fsckStart, START).catch(() => undefined)) !== undefined,
      );
    }));

  test("is told of in the log, but not in as many lines as somebody asks for runs", async () => {
    const lines: string[] = [];
    const logger = lineLogger(systemClock, "meta", (line) => lines.push(line));
    const told = () => lines.filter((line) => /fsck (?:begins|ends)|runs of fsck/.test(line));
    const runs = MAX_LINES;
    const work = async ({ client }: Cluster) => {
      for (let number = 0; number < runs; number++) {
        let begun: { run: bigint } | undefined;
        await until(async () => {
          begun = await client.ask(fsckStart, START).catch(() => undefined); // while others end
          return begun !== undefined;
        });
        await client.ask(fsckStop, begun!);
      }
      expect(told()).toHaveLength(MAX_LINES);
    };
    await withCluster(1, work, { logger });
    const sum = /: (\d+) more runs of fsck began or ended in the last \d+ s: /;
    const left = told().reduce((count, line) => count + Number(sum.exec(line)?.[1] ?? 0), 0);
    expect(left).toBe(2 * runs - MAX_LINES);
  });

  test("is the only one, and ends with the connection that asked for it", () =>
    withCluster(3, async ({ client, meta, data }) => {
      await client.put("f", data, 2);
      const other = await TestClient.open(meta.address);
      const { run: id } = await client.ask(fsckStart, START);
      const refusal = await other.ask(fsckStart, START).catch((error: unknown) => error);
      expect(refusal).toMatchObject({ kind: "locked" });
      const stranger = await other
        .ask(fsckPoll, { run: id, after: 0 })
        .catch((error: unknown) => error);
      expect(stranger).toMatchObject({ kind: "stale" });
      client.peer.close("it goes away");
      await until(
        async () => (await other.ask(fsckStart, START).catch(() => undefined)) !== undefined,
      );
      other.peer.close("the test is over");
    }));

  test("that is asked for again begins anew, and its end may be told twice", () =>
    withCluster(3, async ({ client, data }) => {
      await client.put("f", data, 2);
      const { run: first } = await client.ask(fsckStart, START);
      const { run: second } = await client.ask(fsckStart, START);
      expect(second).not.toBe(first);
      const gone = await client
        .ask(fsckPoll, { run: first, after: 0 })
        .catch((error: unknown) => error);
      expect(gone).toMatchObject({ kind: "stale" });
      await client.ask(fsckStop, { run: first });
      await client.ask(fsckPoll, { run: second, after: 0 });
      for (let again = 0; again < 2; again++) await client.ask(fsckStop, { run: second });
    }));

  test("tells the same findings again until they are acknowledged", () =>
    withCluster(4, async (cluster) => {
      const { client } = cluster;
      const { blocks } = await client.put("f", firstThree(cluster), 2);
      cluster.data[0]!.rotten.add(blocks[0]!);
      const { run: id } = await client.ask(fsckStart, { ...START, dryRun: true });
      await until(async () => (await client.ask(fsckPoll, { run: id, after: 0 })).finished);
      const first = await client.ask(fsckPoll, { run: id, after: 0 });
      const { length } = first.findings;
      expect(shown(first.findings)).toContain("left rottenCopy /f 1");
      expect(await client.ask(fsckPoll, { run: id, after: 0 })).toEqual(first);
      expect((await client.ask(fsckPoll, { run: id, after: length })).findings).toEqual([]);
    }));

  test("goes on where it was when a server comes back, and counts and tells nothing twice", () =>
    withCluster(4, async (cluster) => {
      const { client, meta } = cluster;
      const { blocks } = await client.put("f", firstThree(cluster), 2000);
      const [server] = cluster.data;
      for (const block of blocks.filter((_, index) => index % 100 === 0)) server!.rotten.add(block);
      const { run: id } = await client.ask(fsckStart, { ...START, dryRun: true });
      const poll = (after: number) => client.ask(fsckPoll, { run: id, after });
      await until(async () => server!.verified.length > 0);
      await server!.kill();
      await server!.restart(meta.address);
      const findings: FsckFinding[] = [];
      for (let page = await poll(0); ; page = await poll(findings.length)) {
        findings.push(...page.findings);
        if (!page.finished) continue;
        expect([page.doneCopies, page.totalCopies]).toEqual([6000, 6000]);
        break;
      }
      const rotten = findings.filter(({ kind }) => kind !== "misplaced");
      expect(rotten.length).toBe(20);
      expect(new Set(shown(rotten))).toEqual(new Set(["left rottenCopy /f 1"]));
      expect(new Set(rotten.map(({ block }) => block)).size).toBe(20);
    }));

  test("of many findings hands them over in pages", () =>
    withCluster(4, async (cluster) => {
      const { blocks } = await cluster.client.put("f", firstThree(cluster), 700);
      for (const block of blocks) cluster.data[0]!.held.delete(block);
      const findings = await run(cluster.client, { dryRun: true, level: "presence" });
      expect(new Set(findings.map(({ block }) => block)).size).toBe(700);
    }));
});
