import { afterEach, describe, expect, test } from "bun:test";
import { blockChecksum } from "../../src/base/checksum.ts";
import { blockId, inodeId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { turns } from "../support/manual-clock.ts";
import { scriptedCluster, type ScriptedCluster } from "./support/scripted-servers.ts";
import { failureOf, messageOfFailure } from "../support/failure.ts";

let cluster: ScriptedCluster;
afterEach(() => cluster.stop());

const CONTENT = seededRandom(1).bytes(100_000);

/** Writes a block of group 0, whose servers are 1, 2 and 3; 4 is the stand-in. */
function write(signal = new AbortController().signal) {
  const outgoing = {
    block: blockId(7n),
    bytes: CONTENT,
    group: 0,
    inode: inodeId(1n),
    fileOffset: 0,
  };
  const state = { settled: false };
  const result = cluster.writer.write(outgoing, signal);
  const settle = (): void => void (state.settled = true);
  result.then(settle, settle);
  return { result, state };
}

const kinds = (): string[] => cluster.warnings.map(({ kind }) => kind);

describe("writing a block", () => {
  test("all copies are made on the servers of its group", async () => {
    cluster = await scriptedCluster(4);
    const stored = await write().result;
    expect(stored.servers.map(Number)).toEqual([1, 2, 3]);
    expect(stored.incarnations?.map(Number)).toEqual([1, 1, 1]); // as their hellos showed
    expect(stored.checksum).toBe(blockChecksum(CONTENT));
    for (const id of [1, 2, 3]) {
      expect(cluster.server(id).blocks.get(blockId(7n))?.bytes).toEqual(CONTENT);
    }
    expect(cluster.server(4).puts).toBe(0);
    expect(cluster.warnings).toEqual([]);
  });

  test("a server that is not there is replaced at once, and its user warned once", async () => {
    cluster = await scriptedCluster(4);
    await cluster.server(2).stop();
    expect((await write().result).servers.map(Number)).toEqual([1, 3, 4]);
    expect((await write().result).servers.map(Number)).toEqual([1, 3, 4]);
    expect(kinds()).toEqual(["serverUnreachable"]);
    expect(cluster.warnings[0]?.server).toBe(cluster.server(2).id);
  });

  test("a server that fails is replaced at once", async () => {
    cluster = await scriptedCluster(4);
    cluster.server(1).behaviour = "fail";
    expect((await write().result).servers.map(Number)).toEqual([2, 3, 4]);
  });

  test("a server that hangs is replaced after 5 s, and not asked again", async () => {
    cluster = await scriptedCluster(4);
    cluster.server(3).behaviour = "hang";
    const { result, state } = write();
    await cluster.clock.advance(4_999);
    expect(state.settled).toBe(false);
    await cluster.clock.advance(1);
    expect((await result).servers.map(Number)).toEqual([1, 2, 4]);
    expect((await write().result).servers.map(Number)).toEqual([1, 2, 4]);
    expect(cluster.server(3).puts).toBe(1);
    expect(kinds()).toEqual(["serverUnreachable"]);
  });

  test("a writer that was stopped takes the answers that came meanwhile: no server is late for that", async () => {
    cluster = await scriptedCluster(4);
    for (const id of [1, 2, 3]) cluster.server(id).behaviour = "hang";
    const { result } = write();
    await turns();
    cluster.clock.holdUp(20_000);
    await cluster.clock.advance(0); // what was due meanwhile happens before anything is read
    for (const id of [1, 2, 3]) cluster.server(id).letGo();
    expect((await result).servers.map(Number)).toEqual([1, 2, 3]);
    expect(cluster.server(4).puts).toBe(0);
    expect(cluster.warnings).toEqual([]);
  });

  test("a server that is slow but answers others is waited for longer", async () => {
    cluster = await scriptedCluster(4);
    await write().result;
    cluster.server(3).behaviour = "hang";
    const { result, state } = write();
    await cluster.clock.advance(4_000);
    // Something else is answered meanwhile: the server lives.
    const [hung] = [cluster.server(3)];
    hung.behaviour = "serve";
    await write().result;
    hung.behaviour = "hang";
    await cluster.clock.advance(4_000);
    expect(state.settled).toBe(false);
    hung.letGo();
    await turns();
    expect((await result).servers.map(Number)).toEqual([1, 2, 3]);
    expect(cluster.server(4).puts).toBe(0);
  });

  test("with fewer usable servers than copies the write quorum is enough, said once", async () => {
    cluster = await scriptedCluster(4);
    await cluster.server(2).stop();
    await cluster.server(3).stop();
    expect((await write().result).servers.map(Number)).toEqual([1, 4]);
    await write().result;
    expect(kinds().filter((kind) => kind === "missingCopies")).toHaveLength(1);
  });

  test("servers that the service calls down or draining are left out", async () => {
    cluster = await scriptedCluster(5);
    cluster.server(1).state = "down";
    cluster.server(2).state = "draining";
    expect((await write().result).servers.map(Number)).toEqual([3, 4, 5]);
    expect(cluster.server(1).puts + cluster.server(2).puts).toBe(0);
  });

  test("below the write quorum the write waits, says so, and goes on when a server is back", async () => {
    cluster = await scriptedCluster(4);
    for (const id of [1, 2, 3]) await cluster.server(id).stop();
    const { result, state } = write();
    await cluster.clock.advance(10_000);
    expect(state.settled).toBe(false);
    expect(kinds()).toContain("belowQuorum");
    await cluster.start(cluster.server(2));
    await cluster.clock.advance(2_000);
    expect((await result).servers.map(Number).toSorted((a, b) => a - b)).toEqual([2, 4]);
    expect(cluster.server(4).puts).toBe(1);
  });

  test("below the write quorum for too long is an error that names the servers", async () => {
    cluster = await scriptedCluster(4);
    for (const id of [1, 2, 3]) await cluster.server(id).stop();
    const { result } = write();
    result.catch(() => undefined);
    await cluster.clock.advance(62_000);
    expect(await failureOf(result)).toMatchObject({ kind: "quorum", details: { copies: 1 } });
    expect(await messageOfFailure(result)).toMatch(/1 of the 2 copies.*server 1/);
  });

  test("a full server is replaced; when all are full it is an error at once", async () => {
    cluster = await scriptedCluster(4);
    cluster.server(1).behaviour = "noSpace";
    expect((await write().result).servers.map(Number)).toEqual([2, 3, 4]);
    expect((await write().result).servers.map(Number)).toEqual([2, 3, 4]);
    expect(cluster.server(1).puts).toBe(1);
    expect(cluster.warnings).toEqual([]);
    for (const server of cluster.servers) server.full = true;
    cluster.placement.invalidate();
    expect(await failureOf(write().result)).toMatchObject({ kind: "noSpace" });
  });

  test("a write quorum of all copies is strict: no stand-ins", async () => {
    cluster = await scriptedCluster(4, { replicas: 3, writeQuorum: 3 });
    await cluster.server(3).stop();
    const { result, state } = write();
    await cluster.clock.advance(5_000);
    expect(state.settled).toBe(false);
    expect(cluster.server(4).puts).toBe(0);
    await cluster.start(cluster.server(3));
    await cluster.clock.advance(2_000);
    expect((await result).servers.map(Number)).toEqual([1, 2, 3]);
  });

  test("a write that waits says for whom and for how many, again every few seconds and not more often", async () => {
    cluster = await scriptedCluster(4, { replicas: 3, writeQuorum: 3 });
    cluster.server(3).state = "down";
    const { result, state } = write();
    const told = (): string[] =>
      cluster.warnings.filter(({ kind }) => kind === "belowQuorum").map(({ message }) => message);
    await cluster.clock.advance(1_000);
    expect(told()).toEqual([
      "waiting for server 3 (down): 2 of the 3 copies that the write quorum asks for, for which no other servers " +
        "stand in, could be made so far; giving up in 60 s",
    ]);
    await cluster.clock.advance(30_000);
    expect(told().length).toBeGreaterThan(3);
    expect(told().length).toBeLessThan(8);
    expect(state.settled).toBe(false);
    cluster.server(3).state = "up";
    await cluster.clock.advance(2_000);
    expect((await result).servers.map(Number)).toEqual([1, 2, 3]);
  });

  test("a server that is being refilled takes its copy, and another one is asked when too few others count", async () => {
    cluster = await scriptedCluster(4);
    cluster.server(1).filling = true;
    cluster.server(2).filling = true;
    expect((await write().result).servers.map(Number)).toEqual([1, 2, 3, 4]);
  });

  test("copies on servers that are being refilled are not enough: the write waits for others, or for the refill", async () => {
    cluster = await scriptedCluster(4);
    cluster.server(1).filling = true;
    for (const id of [2, 4]) cluster.server(id).state = "down";
    const { result, state } = write();
    await cluster.clock.advance(5_000);
    expect(state.settled).toBe(false);
    expect(cluster.warnings.map(({ message }) => message).join()).toContain(
      "waiting for server 1 (being refilled), server 2 (down), server 4 (down): 1 of the 2 copies",
    );
    cluster.server(1).filling = false;
    await cluster.clock.advance(2_000);
    expect((await result).servers.map(Number)).toEqual([1, 3]);
    expect(cluster.server(1).puts).toBe(1);
  });

  test("a server that goes out while the write waits is not reckoned with any more", async () => {
    cluster = await scriptedCluster(4);
    for (const id of [2, 3, 4]) cluster.server(id).state = "down";
    const { result, state } = write();
    await cluster.clock.advance(1_000);
    cluster.server(1).state = "out";
    cluster.server(2).state = "up";
    await cluster.clock.advance(5_000);
    expect(state.settled).toBe(false);
    cluster.server(3).state = "up";
    await cluster.clock.advance(2_000);
    expect((await result).servers.map(Number)).toEqual([2, 3]);
  });

  test("what a server answers in several lines is told in one", async () => {
    cluster = await scriptedCluster(4);
    for (const id of [1, 2, 3]) cluster.server(id).behaviour = "fail";
    write().result.catch(() => undefined);
    await cluster.clock.advance(1_000);
    const [told] = cluster.warnings.filter(({ kind }) => kind === "belowQuorum");
    expect(told?.message).toContain("server 2 (the disk is broken), server 3 (the disk is broken)");
  });

  test("in the strict mode a full server of the group is an error that says so", async () => {
    cluster = await scriptedCluster(4, { replicas: 3, writeQuorum: 3 });
    cluster.server(2).behaviour = "noSpace";
    expect(await messageOfFailure(write().result)).toContain("no other stands in");
  });

  test("a cancelled write ends at once", async () => {
    cluster = await scriptedCluster(4);
    cluster.server(1).behaviour = "hang";
    const stop = new AbortController();
    const { result } = write(stop.signal);
    await turns();
    stop.abort();
    expect(await failureOf(result)).toMatchObject({ kind: "cancelled" });
  });
});
