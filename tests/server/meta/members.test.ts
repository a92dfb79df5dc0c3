import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { incarnationId, lsn, reignId, serverId, type ServerId } from "../../../src/base/ids.ts";
import { decodeRows } from "../../../src/base/placement.ts";
import { systemRandom } from "../../../src/base/random.ts";
import { HandlerTable } from "../../../src/protocol/endpoint.ts";
import { clusterChanged, placement, servers } from "../../../src/protocol/messages/cluster.ts";
import { memberChain } from "../../../src/protocol/messages/member.ts";
import { reserve } from "../../../src/protocol/messages/content.ts";
import { statfs } from "../../../src/protocol/messages/namespace.ts";
import { LivenessTracker, type Liveness } from "../../../src/server/meta/liveness.ts";
import { failureOf, temporaryDirectory, until } from "./support/durable.ts";
import { ManualClock } from "./support/manual-clock.ts";
import { connect } from "./support/connecting.ts";
import { TestDataServer } from "./support/data-server.ts";
import { startMeta, TestClient } from "./support/service.ts";

const TIMEOUT = { timeoutMs: 20_000 };

/** Waits until the cluster shows these states, in order of server id. */
async function states(client: TestClient, wanted: readonly string[]): Promise<void> {
  await until(async () => {
    const list = await client.ask(servers, {});
    return list.servers.map((each) => each.state).join() === wanted.join();
  });
}

describe("LivenessTracker", () => {
  const one = serverId(1);
  const make = () => {
    const clock = new ManualClock();
    const changes: Liveness[] = [];
    const tracker = new LivenessTracker({
      clock,
      heartbeatIntervalMs: 1_000,
      downDelayMs: 5_000,
      outDelayMs: 60_000,
      onChange: (_server, state) => changes.push(state),
    });
    return { clock, changes, tracker };
  };

  test("a lost connection makes a server suspect at once, and down after the delay", () => {
    const { clock, changes, tracker } = make();
    tracker.heard(one);
    tracker.lost(one);
    expect(changes).toEqual(["up", "suspect"]);
    clock.advance(4_900);
    expect(changes).toHaveLength(2);
    clock.advance(1_200);
    expect(changes).toEqual(["up", "suspect", "down"]);
  });

  test("tells how long until a silent server is out, and when too many are silent for that", () => {
    const { clock, changes, tracker } = make();
    for (const id of [1, 2, 3]) tracker.heard(serverId(id));
    expect(tracker.outlookOf(one)).toEqual({ outInMs: undefined, heldBack: false });
    tracker.lost(one);
    const beat = (ms: number): void => {
      for (let done = 0; done < ms; done += 500) {
        clock.advance(500);
        for (const id of [2, 3]) tracker.heard(serverId(id));
      }
    };
    expect(tracker.outlookOf(one)).toEqual({ outInMs: 61_000, heldBack: false });
    beat(20_000);
    expect(tracker.outlookOf(one)).toEqual({ outInMs: 41_000, heldBack: false });
    tracker.lost(serverId(2));
    expect(tracker.outlookOf(one)).toEqual({ outInMs: undefined, heldBack: true });
    tracker.heard(serverId(2));
    const { outInMs } = tracker.outlookOf(one);
    beat(outInMs! - 1_000);
    expect(changes.at(-1)).toBe("up"); // of the second one
    expect(tracker.stateOf(one)).toBe("down");
    beat(1_500);
    expect(tracker.stateOf(one)).toBe("out");
    expect(tracker.outlookOf(one)).toEqual({ outInMs: undefined, heldBack: false });
  });

  test("missing heartbeats make a connected server suspect, then down; one brings it back", () => {
    const { clock, changes, tracker } = make();
    tracker.heard(one);
    clock.advance(2_900);
    expect(changes).toEqual(["up"]);
    clock.advance(1_200);
    expect(changes).toEqual(["up", "suspect"]);
    clock.advance(6_100);
    expect(changes).toEqual(["up", "suspect", "down"]);
    tracker.heard(one);
    expect(changes.at(-1)).toBe("up");
  });

  test("a stall of this process changes nothing", () => {
    const { clock, changes, tracker } = make();
    tracker.heard(one);
    clock.stall(600_000);
    expect(changes).toEqual(["up"]);
    tracker.lost(one);
    clock.stall(600_000);
    expect(tracker.stateOf(one)).toBe("suspect");
  });

  test("after a start servers are suspect until they are heard of; one that was down stays down", () => {
    const { clock, changes, tracker } = make();
    tracker.begin(one, "up");
    tracker.begin(serverId(2), "down");
    expect(changes).toEqual(["suspect"]);
    clock.advance(10_000);
    expect(changes).toEqual(["suspect", "down"]);
    expect(tracker.stateOf(serverId(2))).toBe("down");
  });

  describe("and the out-delay", () => {
    const servers = (count: number) =>
      Array.from({ length: count }, (_, index) => serverId(index + 1));

    /** A tracker that has heard of so many servers, and goes on hearing of those that are not lost. */
    const cluster = (count: number) => {
      const { clock, tracker } = make();
      const lost = new Set<ServerId>();
      for (const server of servers(count)) tracker.heard(server);
      const pass = (seconds: number): void => {
        for (let second = 0; second < seconds; second++) {
          clock.advance(1_000);
          for (const server of servers(count)) if (!lost.has(server)) tracker.heard(server);
        }
      };
      const lose = (...numbers: number[]): void => {
        for (const server of numbers.map(serverId)) {
          lost.add(server);
          tracker.lost(server);
        }
      };
      const find = (number: number): void => {
        lost.delete(serverId(number));
        tracker.heard(serverId(number));
      };
      const states = (): string =>
        servers(count)
          .map((each) => tracker.stateOf(each))
          .join(" ");
      return { clock, tracker, pass, lose, find, states };
    };

    test("a silent server goes out after it, and one sign of life brings it back", () => {
      const { pass, lose, find, states } = cluster(4);
      lose(1);
      pass(55);
      expect(states()).toBe("down up up up");
      pass(10);
      expect(states()).toBe("out up up up");
      find(1);
      expect(states()).toBe("up up up up");
    });

    test.each([
      [3, [1], "out up up"],
      [4, [1, 2], "down down up up"],
      [6, [1, 2], "out out up up up up"],
      [6, [1, 2, 3], "down down down up up up"],
      [2, [1], "down up"],
    ])("of %d servers, %j silent: %s", (count, silent, wanted) => {
      const { pass, lose, states } = cluster(count);
      lose(...silent);
      pass(300);
      expect(states()).toBe(wanted);
    });

    test("when enough have come back, the others go out; those that are out count no more", () => {
      const { pass, lose, find, states } = cluster(4);
      lose(1, 2);
      pass(300);
      find(2);
      pass(5);
      expect(states()).toBe("out up up up");
      lose(3); // one of three that are left
      pass(100);
      expect(states()).toBe("out up out up");
    });

    test("a stall of this process puts nobody out", () => {
      const { clock, lose, pass, states } = cluster(4);
      lose(1);
      pass(20);
      for (let stall = 0; stall < 5; stall++) {
        clock.stall(3_600_000);
        pass(1); // the others are heard of again
      }
      expect(states()).toBe("down up up up");
    });

    test("it begins anew with this process; who was out stays that", () => {
      const { clock, tracker } = make();
      for (const server of servers(6).slice(2)) tracker.heard(server);
      tracker.begin(serverId(1), "down");
      tracker.begin(serverId(2), "out");
      const pass = (seconds: number): void => {
        for (let second = 0; second < seconds; second++) {
          clock.advance(1_000);
          for (const server of servers(6).slice(2)) tracker.heard(server);
        }
      };
      pass(55);
      expect(tracker.stateOf(serverId(1))).toBe("down");
      pass(10);
      expect([1, 2].map((each) => tracker.stateOf(serverId(each)))).toEqual(["out", "out"]);
    });
  });
});

describe("data servers", () => {
  test("get ids in order; one that comes back keeps its id, whatever its address", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const one = await TestDataServer.join(meta.address);
    const two = await TestDataServer.join(meta.address);
    expect([one.id, two.id]).toEqual([1, 2] as ServerId[]);
    await one.kill();
    one.address = "127.0.0.1:9";
    await one.restart(meta.address);
    expect(one.id).toBe(serverId(1));
    const client = await TestClient.open(meta.address);
    const list = await client.ask(servers, {});
    expect(list.servers.map((each) => each.address)).toEqual(["127.0.0.1:9", two.address]);
    await meta.stop();
  });

  test("a new server that did not hear its id gets the same one again", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = await TestDataServer.join(meta.address);
    await server.kill();
    server.server = null; // the reply was lost before the directory had the id
    await server.restart(meta.address);
    expect(server.id).toBe(serverId(1));
    await meta.stop();
  });

  test("are told the settings, the reign and how often to report", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { settings: { blockSize: 4096 } });
    const server = new TestDataServer();
    const reply = await server.register(meta.address);
    expect(reply.settings).toEqual(meta.settings);
    expect(reply.heartbeatIntervalMs).toBe(100);
    expect(reply.lsn).toBeGreaterThan(0n);
    await meta.stop();
  });

  test("a second live process with the same id is refused", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = await TestDataServer.join(meta.address);
    const twin = new TestDataServer();
    twin.server = server.server;
    twin.incarnation = server.incarnation;
    const failure = await failureOf(twin.register(meta.address));
    expect(failure).toMatchObject({ kind: "wrongPeer" });
    expect(String(failure)).toContain("running already");
    // Two at the same moment: one of them is refused.
    await server.kill();
    const results = await Promise.allSettled([
      twin.register(meta.address),
      server.restart(meta.address),
    ]);
    expect(results.filter((each) => each.status === "rejected")).toHaveLength(1);
    await meta.stop();
  });

  test("the address of a live server is refused, that of a dead one is not", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = await TestDataServer.join(meta.address);
    const other = new TestDataServer(server.address);
    expect(await failureOf(other.register(meta.address))).toMatchObject({ kind: "wrongPeer" });
    await server.kill();
    await other.register(meta.address);
    expect(other.id).toBe(serverId(2));
    await meta.stop();
  });

  test("an id that was never given, and another directory under a known id, are refused", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = await TestDataServer.join(meta.address);
    const stranger = new TestDataServer();
    stranger.server = serverId(7);
    const failure = await failureOf(stranger.register(meta.address));
    expect(failure).toMatchObject({ kind: "wrongPeer" });
    expect(String(failure)).toContain("no data server 7");
    await server.kill();
    server.incarnation = incarnationId(systemRandom.id64());
    expect(String(await failureOf(server.register(meta.address)))).toContain("--recover 1");
    server.recovered = true;
    await server.register(meta.address);
    // Once accepted, the new incarnation is the known one.
    await server.kill();
    await server.restart(meta.address);
    await meta.stop();
  });

  test("states follow connections and heartbeats, and clients are told", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    let notices = 0;
    const table = new HandlerTable();
    table.onNotice(clusterChanged, () => notices++);
    const client = await TestClient.open(meta.address, table);
    const [one, two] = [
      await TestDataServer.join(meta.address),
      await TestDataServer.join(meta.address),
    ];
    await states(client, ["up", "up"]);
    await until(() => notices > 0);
    notices = 0;
    await one.kill();
    await states(client, ["down", "up"]);
    await until(() => notices >= 2); // suspect, down
    const [dead] = (await client.ask(servers, {})).servers;
    expect(dead!.heardNs).not.toBeNull();
    expect(dead!.capacityBytes).toBe(1_000_000); // what it said last
    two.stopBeating();
    await states(client, ["down", "down"]);
    await one.restart(meta.address);
    await two.register(meta.address);
    two.beat();
    await states(client, ["up", "up"]);
    two.full = true;
    await until(async () => {
      const { servers: ring } = await client.ask(placement, {});
      return ring.map((each) => each.full).join() === "false,true";
    });
    await meta.stop();
  });

  // What was asked of one that stood still was waited for for three minutes: copies of blocks, too, that others could have made.
  test("one that is connected and silent is hung up on when it is down, and comes back by registering", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = await TestDataServer.join(meta.address);
    server.stopBeating();
    await server.peer!.closed;
    const client = await TestClient.open(meta.address);
    await states(client, ["down"]);
    await server.register(meta.address);
    server.beat();
    await states(client, ["up"]);
    await meta.stop();
  });

  test("a server that reconnects while its old connection hangs takes its place", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = await TestDataServer.join(meta.address);
    const old = server.peer!;
    await server.register(meta.address); // the same instance
    await old.closed;
    const client = await TestClient.open(meta.address);
    await states(client, ["up"]);
    await meta.stop();
  });

  test("no block id up to the highest that a server holds is given out", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const server = new TestDataServer();
    const high = 123_456_789n as Parameters<TestDataServer["store"]>[0];
    server.store(high, new Uint8Array([1]));
    await server.register(meta.address);
    const client = await TestClient.open(meta.address);
    const { first } = await client.change(reserve, { count: 1 });
    expect(first).toBeGreaterThan(high);
    await meta.stop();
  });

  test("statfs counts what usable servers have, divided by the copies", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { settings: { replicas: 2 } });
    const client = await TestClient.open(meta.address);
    expect(await client.ask(statfs, {})).toMatchObject({ capacityBytes: 0, availableBytes: 0 });
    const one = await TestDataServer.join(meta.address);
    await TestDataServer.join(meta.address);
    const two = await client.ask(statfs, {});
    expect(two).toEqual({ capacityBytes: 1_000_000, availableBytes: 1_000_000, inodes: 1 });
    await one.kill();
    await states(client, ["down", "up"]);
    expect((await client.ask(statfs, {})).capacityBytes).toBe(500_000);
    await meta.stop();
  });
});

describe("the placement table", () => {
  const rowsOf = async (client: TestClient) => {
    const reply = await client.ask(placement, {});
    return { version: reply.version, rows: decodeRows(reply.table, reply.width), reply };
  };

  test("is fresh while nothing is stored, then changes little, and survives a restart", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path, { settings: { blockSize: 8 } });
    const client = await TestClient.open(meta.address);
    expect((await rowsOf(client)).rows[0]).toEqual([]);
    const joined = [];
    for (let count = 0; count < 4; count++) joined.push(await TestDataServer.join(meta.address));
    const four = await rowsOf(client);
    four.rows.forEach((row, group) =>
      expect(row).toEqual([0, 1, 2].map((step) => serverId(((group + step) % 4) + 1))),
    );
    await client.put("f", joined.slice(0, 3));
    await TestDataServer.join(meta.address);
    const five = await rowsOf(client);
    expect(five.version).toBe(four.version + 1n);
    const moved = five.rows.flatMap((row, group) =>
      row.filter((id) => !four.rows[group]!.includes(id)),
    );
    expect(moved.length).toBe(Math.floor((1024 * 3) / 5));
    expect(new Set(moved)).toEqual(new Set([serverId(5)]));
    await meta.stop();
    const again = await startMeta(dir.path);
    const resumed = await client.resume(again.address);
    const kept = await rowsOf(resumed);
    expect(kept.rows).toEqual(five.rows);
    expect(kept.reply.servers.map((each) => each.server)).toEqual([1, 2, 3, 4, 5] as ServerId[]);
    await again.stop();
  });

  test("spreads copies over zones", async () => {
    using dir = temporaryDirectory();
    const meta = await startMeta(dir.path);
    const zones = ["a", "a", "b", "b", "c", "c"];
    for (const zone of zones) await TestDataServer.join(meta.address, zone);
    const client = await TestClient.open(meta.address);
    const { rows } = await rowsOf(client);
    for (const row of rows) {
      expect(new Set(row.map((id) => zones[id - 1])).size).toBe(3);
    }
    await meta.stop();
  });
});

describe("the chain of reigns", () => {
  test("tells where a reign ended, where the present one is, and nothing of others", async () => {
    using dir = temporaryDirectory();
    const first = await startMeta(dir.path);
    const data = new TestDataServer();
    const told = await data.register(first.address);
    const client = await TestClient.open(first.address);
    await client.create("a");
    const peer = await connect(first.address, { role: "data" });
    const { body: now } = await peer.request(memberChain, { reign: told.reign }, TIMEOUT);
    expect(now.current).toBe(told.reign);
    expect(now.end).toBe(now.lsn);
    expect(now.lsn).toBeGreaterThan(told.lsn);
    const strange = { reign: reignId(systemRandom.id64()) };
    expect((await peer.request(memberChain, strange, TIMEOUT)).body.end).toBeNull();
    await first.stop();

    const second = await startMeta(dir.path);
    const later = await connect(second.address, { role: "data" });
    const { body } = await later.request(memberChain, { reign: told.reign }, TIMEOUT);
    expect(body.current).not.toBe(told.reign);
    expect(body.end).toBe(now.lsn);
    expect(body.lsn).toBeGreaterThan(now.lsn);
    await second.stop();
  });

  test("an older copy of the database shows: the reign that a server remembers ended before what it has seen", async () => {
    using dir = temporaryDirectory();
    using copy = temporaryDirectory();
    const early = await startMeta(dir.path);
    await (await TestClient.open(early.address)).create("a");
    await early.stop();
    await Bun.write(`${copy.path}/meta.db`, Bun.file(`${dir.path}/meta.db`));

    const first = await startMeta(dir.path);
    const client = await TestClient.open(first.address);
    for (let index = 0; index < 20; index++) await client.create(`b-${index}`);
    const data = new TestDataServer();
    const seen = await data.register(first.address);
    await first.stop();

    // The reign that the server remembers is not in the copy's chain at all.
    const older = await startMeta(copy.path);
    const peer = await connect(older.address, { role: "data" });
    expect((await peer.request(memberChain, { reign: seen.reign }, TIMEOUT)).body.end).toBeNull();
    await older.stop();
  });

  test("a copy taken within the remembered reign shows as well", async () => {
    using dir = temporaryDirectory();
    using copy = temporaryDirectory();
    const first = await startMeta(dir.path);
    const client = await TestClient.open(first.address);
    await client.create("a");
    // By another process: this one must not open and close the files of a database that it serves.
    const files = ["meta.db", "meta.db-wal"].map((name) => `${dir.path}/${name}`);
    expect(spawnSync("cp", [...files, copy.path]).status).toBe(0);
    const data = new TestDataServer();
    const seen = await data.register(first.address);
    expect(seen.lsn).toBeGreaterThan(lsn(0n));
    await first.stop();
    const older = await startMeta(copy.path);
    const peer = await connect(older.address, { role: "data" });
    const { body } = await peer.request(memberChain, { reign: seen.reign }, TIMEOUT);
    expect(body.end).not.toBeNull();
    expect(body.end!).toBeLessThan(seen.lsn);
    await older.stop();
  });
});
