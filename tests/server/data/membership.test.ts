// A data server and its metadata service: joining, refusals, heartbeats, outages, databases that are too old.

import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { realDisk } from "../../../src/base/disk.ts";
import { DfsError } from "../../../src/base/errors.ts";
import { blockId, lsn, reignId, serverId } from "../../../src/base/ids.ts";
import { blockDelete, blockGet, blockList } from "../../../src/protocol/messages/data.ts";
import { clusterIdBytes } from "../../../src/protocol/messages/common.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { IdentityFile } from "../../../src/server/data/identity.ts";
import { startDataServer } from "../../../src/server/data/server.ts";
import { makeBlock } from "../../log/blocks.ts";
import {
  cleanUp,
  callerOf,
  CLUSTER,
  dataOptions,
  eventually,
  expectError,
  freshDirectory,
  keptWarnings,
  newServer,
  OTHER_CLUSTER,
  putBlock,
  ScriptedService,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

afterEach(cleanUp);

const timeoutMs = TIMEOUT_MS;

function identityIn(dir: string) {
  return IdentityFile.read(realDisk, dir)!.current;
}

function get(peer: Peer, block: bigint): Promise<unknown> {
  return peer.request(blockGet, { block: blockId(block), offset: 0, length: 1 }, { timeoutMs });
}

describe("a new server", () => {
  test("gets an id and has it in its directory before it serves", async () => {
    const { server, service, dir } = await newServer({ zone: "rack-1", tags: ["ssd", "fast"] });
    const { incarnation } = identityIn(dir);
    expect(service.registrations).toMatchObject([
      {
        server: null,
        incarnation,
        instance: server.instance,
        recovered: false,
        address: server.address,
        zone: "rack-1",
        tags: ["ssd", "fast"],
        highestBlock: 0n,
        blocks: 0,
        usedBytes: 0,
        full: false,
      },
    ]);
    expect(service.registrations[0]!.capacityBytes).toBeGreaterThan(0);
    expect(service.chainsAsked).toEqual([reignId(0n)]);
    expect(identityIn(dir)).toMatchObject({
      cluster: CLUSTER,
      server: server.server,
      seen: { reign: service.reign, lsn: service.lsn },
      address: server.address,
    });
    expect([server.server, server.cluster]).toEqual([serverId(1), CLUSTER]);
  });

  test("that got no id asks again under the same incarnation, so the service can know it", async () => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    service.refusal = new DfsError("wrongPeer", "not you");
    await expectError("wrongPeer", startData(service, dir, { identity: "new" }));
    const { incarnation } = identityIn(dir);
    service.refusal = undefined;
    await startData(service, dir);
    expect(service.registrations).toMatchObject([{ server: null, incarnation }]);
  });

  test("that takes the place of a lost one says so", async () => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const server = await startData(service, dir, { identity: { recover: 9 } });
    expect(server.server).toBe(serverId(9));
    expect(service.registrations).toMatchObject([{ server: 9, recovered: true }]);
    expect(identityIn(dir)).toMatchObject({ server: 9, recovered: true, cluster: CLUSTER });
  });
});

describe("a server that is started again", () => {
  test("is the same server in another instance, at the same address, and tells what it holds", async () => {
    const { server, service, dir } = await newServer();
    const peer = await callerOf(server);
    for (const id of [3, 70, 5]) await putBlock(peer, makeBlock(id, 100));
    const command = {
      reign: service.reign,
      instance: server.instance,
      number: 1n,
      blocks: [blockId(70n)],
      ranges: [],
    };
    await service.member.request(blockDelete, command, { timeoutMs });
    await server.stop();
    const again = await startData(service, dir);
    expect(again.address).toBe(server.address);
    expect(again.server).toBe(server.server);
    expect(again.instance).not.toBe(server.instance);
    expect(service.registrations[1]).toMatchObject({
      server: server.server,
      incarnation: service.registrations[0]!.incarnation,
      instance: again.instance,
      blocks: 2,
      highestBlock: 70n,
    });
    expect(service.chainsAsked).toEqual([reignId(0n), service.reign]);
    const { body } = await service.member.request(
      blockList,
      { after: blockId(0n), limit: 10 },
      { timeoutMs },
    );
    expect(body.blocks.map(({ block }) => block)).toEqual([3n, 5n].map(blockId));
  });

  test("takes another port when its own has been taken, unless it was told which", async () => {
    const { server, service, dir } = await newServer();
    await server.stop();
    const thief = Bun.listen({
      hostname: "127.0.0.1",
      port: Number(server.address.split(":")[1]),
      socket: { data: () => undefined },
    });
    try {
      const wished = { listen: server.address };
      const error = await expectError("locked", startData(service, dir, wished));
      expect(error.message).toContain(`port ${thief.port}`);
      const again = await startData(service, dir);
      expect(again.address).not.toBe(server.address);
      expect(service.registrations.at(-1)!.address).toBe(again.address);
    } finally {
      thief.stop(true);
    }
  });

  test("remembers the highest block id when the segments that held it are gone", async () => {
    const { server, service, dir } = await newServer({ segmentBytes: 4096 });
    const peer = await callerOf(server);
    await putBlock(peer, makeBlock(900, 3000));
    for (const id of [1, 2, 3]) await putBlock(peer, makeBlock(id, 3000));
    const command = {
      reign: service.reign,
      instance: server.instance,
      number: 1n,
      blocks: [900n, 1n, 2n, 3n].map(blockId),
      ranges: [],
    };
    await service.member.request(blockDelete, command, { timeoutMs });
    await eventually("it is durable", () => identityIn(dir).highestBlock === 900n);
    await server.stop();
    await startData(service, dir, { segmentBytes: 4096 });
    expect(service.registrations.at(-1)!.highestBlock).toBe(blockId(900n));
  });
});

describe("a start is refused with the reason", () => {
  test("when nobody is at the address of the service", async () => {
    const service = await ScriptedService.start();
    await service.stop();
    const dir = freshDirectory();
    const startMs = performance.now();
    const options = { identity: "new", firstContactTimeoutMs: 300 } as const;
    const error = await expectError("unreachable", startData(service, dir, options));
    expect(error.message).toContain(service.address);
    expect(performance.now() - startMs).toBeGreaterThan(300); // it may have been about to start
  });

  test("when the service belongs to another cluster, or the directory does", async () => {
    const { server, service, dir } = await newServer();
    await server.stop();
    service.cluster = OTHER_CLUSTER;
    const error = await expectError("wrongCluster", startData(service, dir));
    expect(error.message).toContain(OTHER_CLUSTER);
    // A service that only says so when it is too late does not get further.
    service.cluster = CLUSTER;
    service.calls = {
      settings: {
        cluster: clusterIdBytes(OTHER_CLUSTER),
        blockSize: 8,
        replicas: 3,
        writeQuorum: 2,
        readQuorum: 1,
      },
    };
    await expectError("wrongCluster", startData(service, dir));
    expect(identityIn(dir).cluster).toBe(CLUSTER);
  });

  test("when the service refuses: another process with this id, an unknown incarnation", async () => {
    const { server, service, dir } = await newServer();
    await server.stop();
    service.refusal = new DfsError("wrongPeer", "data server 1 is running already, at 1.2.3.4:5");
    const error = await expectError("wrongPeer", startData(service, dir));
    expect(error.message).toContain("running already");
    service.refusal = undefined;
    await startData(service, dir); // the directory was given up
  });

  test("when the service calls it by another id", async () => {
    const { server, service, dir } = await newServer();
    await server.stop();
    service.calls = { server: serverId(55) };
    await expectError("wrongPeer", startData(service, dir));
    expect(identityIn(dir).server).toBe(server.server);
  });

  test("when what answers is no metadata service", async () => {
    const { server, service } = await newServer();
    const options = { meta: server.address, identity: "new" as const };
    const error = await expectError("wrongPeer", startData(service, freshDirectory(), options));
    expect(error.message).toContain(server.address);
  });

  test("when the address that it should listen on cannot be used", async () => {
    const service = await ScriptedService.start();
    for (const listen of ["0.0.0.0:0", "192.0.2.1:0", "nonsense"]) {
      await expectError(
        "invalid",
        startData(service, freshDirectory(), { identity: "new", listen }),
      );
    }
  });

  test("when it is asked to end before it has started", async () => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    // Nobody listens there, nor will: a port that was just given up might become the server's own.
    const silent = { meta: "127.0.0.1:1", identity: "new", firstContactTimeoutMs: 60_000 } as const;
    const options = dataOptions(service, dir, silent);
    const starting = startDataServer({ ...options, signal: AbortSignal.timeout(50) });
    await expectError("cancelled", starting);
    await startData(service, dir);
  });
});

describe("the service's absence", () => {
  test("does not stop blocks from being served; afterwards the server is back by itself", async () => {
    const { logger, lines } = keptWarnings();
    const { server, service } = await newServer({ logger });
    const peer = await callerOf(server);
    await putBlock(peer, makeBlock(1, 10));
    await service.stop();
    await eventually("it has noticed", () => lines.length > 0);
    await putBlock(peer, makeBlock(2, 10));
    for (const id of [1n, 2n]) await get(peer, id);
    await Bun.sleep(300); // several attempts
    expect(lines.length).toBeLessThanOrEqual(3); // said once, not with each attempt
    await service.restart();
    await eventually("it has registered again", () => service.registrations.length === 2);
    expect(service.registrations[1]).toMatchObject({ instance: server.instance, blocks: 2 });
  });

  test("of answers to heartbeats ends the connection, and a new one begins", async () => {
    const { service } = await newServer();
    await eventually("it sends heartbeats", () => service.heartbeats.length > 3);
    service.answersHeartbeats = false;
    await eventually("it has connected anew", () => service.registrations.length === 2);
  });

  test("is made up for at the next of several addresses", async () => {
    const [one, other] = [await ScriptedService.start(), await ScriptedService.start()];
    other.ended.set(one.reign, one.lsn);
    await one.stop();
    const server = await startData(one, freshDirectory(), {
      identity: "new",
      meta: `${one.address},${other.address}`,
      firstContactTimeoutMs: 10_000,
    });
    expect(other.registrations).toHaveLength(1);
    expect(server.server).toBe(serverId(1));
  });
});

describe("heartbeats", () => {
  test("carry the condition and a rising number", async () => {
    const { server, service } = await newServer();
    await putBlock(await callerOf(server), makeBlock(1, 1000));
    await eventually("the put is told", () => service.heartbeats.at(-1)?.blocks === 1);
    const numbers = service.heartbeats.map(({ sequence }) => sequence);
    expect(numbers).toEqual(numbers.map((_, index) => BigInt(index + 1)));
    expect(service.heartbeats.at(-1)).toMatchObject({ usedBytes: 64 + 1128, full: false });
  });

  test("let the server remember the reign at once and the position at its end", async () => {
    // Timers run, but by this clock no time passes, so the interval for remembering never ends.
    const clock = { ...systemClock, monotonicMs: () => 1_000_000 };
    const { server, service, dir } = await newServer({ clock });
    service.lsn = lsn(70n);
    await eventually("a first one is remembered", () => identityIn(dir).seen?.lsn === 70n);
    service.lsn = lsn(71n);
    const before = service.heartbeats.length;
    await eventually("some more have come", () => service.heartbeats.length > before + 3);
    expect(identityIn(dir).seen?.lsn).toBe(lsn(70n)); // not with each
    await service.restart();
    await eventually("the new reign is remembered", () => {
      return identityIn(dir).seen?.reign === service.reign;
    });
    service.lsn = lsn(90n);
    const later = service.heartbeats.length;
    await eventually("it has seen that", () => service.heartbeats.length > later + 2);
    await server.stop();
    expect(identityIn(dir).seen).toEqual({ reign: service.reign, lsn: lsn(90n) });
  });
});

describe("a database that is older than what was served", () => {
  const older: readonly [string, (service: ScriptedService) => void][] = [
    ["does not know the reign", (service) => (service.reign = reignId(7n))],
    ["ends the reign before", (service) => (service.lsn = lsn(49n))],
  ];

  test.each(older)("because it %s: nothing is served until a newer one comes", async (_, age) => {
    const { server, service, dir } = await newServer();
    const { reign, lsn: position } = service;
    await putBlock(await callerOf(server), makeBlock(1, 10));
    await server.stop();
    const { logger, lines } = keptWarnings();
    age(service);
    const starting = startData(service, dir, { logger });
    await eventually("it has said so", () => lines.length > 0);
    expect(lines[0]).toContain("older than what this server has already served");
    expect(lines[0]).toContain("put the newest copy of its database back");
    const peer = await callerOf(server);
    await expectError("databaseOlder", get(peer, 1n));
    await expectError("databaseOlder", putBlock(peer, makeBlock(2, 10)));
    expect(service.registrations).toHaveLength(1);
    await eventually("it goes on asking", () => service.chainsAsked.length > 3);
    expect(lines).toHaveLength(1);
    service.reign = reign;
    service.lsn = position;
    await starting;
    await get(peer, 1n);
  });

  test("is noticed by a running server as well", async () => {
    const { server, service } = await newServer();
    const peer = await callerOf(server);
    await putBlock(peer, makeBlock(1, 10));
    service.lsn = lsn(60n);
    await eventually("it has seen 60", () => service.heartbeats.length > 2);
    await service.stop();
    await get(peer, 1n);
    service.lsn = lsn(55n);
    await service.listen();
    await eventually("nothing is served", () =>
      get(peer, 1n).then(
        () => false,
        (error: unknown) => error instanceof DfsError && error.kind === "databaseOlder",
      ),
    );
    service.lsn = lsn(61n);
    await eventually("it serves again", () =>
      get(peer, 1n).then(
        () => true,
        () => false,
      ),
    );
  });

  test("is served all the same when that was accepted, once for each acceptance", async () => {
    const { server, service, dir } = await newServer();
    await putBlock(await callerOf(server), makeBlock(1, 10));
    await server.stop();
    const { logger, lines } = keptWarnings();
    service.reign = reignId(7n);
    service.lsn = lsn(20n);
    service.accepted = [71n, 72n];
    const accepting = await startData(service, dir, { logger });
    expect(lines.join("\n")).toContain("the operator has accepted an older copy");
    await get(await callerOf(accepting), 1n);
    await accepting.stop();

    // It has seen reign 7 at 20, and knows both: neither makes it go along with something older again.
    service.reign = reignId(8n);
    lines.length = 0;
    const refused = startData(service, dir, { logger });
    await eventually("it has said so", () => lines.length > 0);
    expect(lines[0]).toContain("older than what this server has already served");
    service.accepted = [73n];
    await get(await callerOf(await refused), 1n);
  });

  test("is not served by a server that joined after it had been accepted", async () => {
    const { service } = await newServer();
    service.accepted = [71n];
    const dir = freshDirectory();
    const server = await startData(service, dir, { identity: "new" });
    await server.stop();
    service.reign = reignId(7n);
    service.lsn = lsn(20n);
    const { logger, lines } = keptWarnings();
    const refused = startData(service, dir, { logger });
    await eventually("it has said so", () => lines.length > 0);
    expect(lines[0]).toContain("older than what this server has already served");
    service.accepted = [71n, 72n];
    await refused;
  });
});
