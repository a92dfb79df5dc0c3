// What all connections of one listener may hold together, and who must go so that others get on.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import {
  MAX_BLOCK_BYTES,
  MAX_FRAME_BYTES,
  MAX_REQUESTS_IN_FLIGHT,
  SHARED_QUEUED_BYTES,
  SHARED_RECEIVED_BYTES,
} from "../../src/base/limits.ts";
import type { Connection } from "../../src/protocol/connection.ts";
import { encodeHead, FRAME_KINDS } from "../../src/protocol/cbor.ts";
import { LOOK_MS } from "../../src/protocol/door.ts";
import { HandlerTable, type PeerListener } from "../../src/protocol/endpoint.ts";
import { REQUEST_BYTES } from "../../src/protocol/incoming.ts";
import { hello } from "../../src/protocol/messages/hello.ts";
import { FRAME_GRACE_MS, IDLE_MS } from "../../src/protocol/progress-watch.ts";
import { SharedMemory, type MemoryUser } from "../../src/protocol/shared-memory.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import type { Transport } from "../../src/protocol/transport.ts";
import { StillClock } from "./still-clock.ts";
import {
  connectTo,
  DEFAULT_HANDLERS,
  download,
  echo,
  eventually,
  framed,
  helloBody,
  listenFor,
  RawPeer,
  recordingLogger,
  TIMEOUT_MS,
  upload,
} from "./support.ts";

const options = { timeoutMs: TIMEOUT_MS };
const MIB = 1024 * 1024;

class User implements MemoryUser {
  receivedBytes = 0;
  queuedBytes = 0;
  freed = 0;
  failed = false;
  onFreed: () => void = () => undefined;

  memoryFreed(): void {
    this.freed++;
    this.onFreed();
  }

  fail(): void {
    this.failed = true;
  }
}

/** A memory with so many users. */
function shared(count: number): { memory: SharedMemory; users: User[] } {
  const memory = new SharedMemory();
  const users = Array.from({ length: count }, () => new User());
  for (const user of users) memory.join(user);
  return { memory, users };
}

describe("SharedMemory", () => {
  test("lets long frames wait when it is full, short ones go on, and wakes in the order of coming", async () => {
    const { memory, users } = shared(3);
    const [one, two, three] = users as [User, User, User];
    memory.count("receivedBytes", SHARED_RECEIVED_BYTES);
    const woken: User[] = [];
    for (const user of [two, three]) {
      expect(memory.mayReceive(user, MIB)).toBe(false);
      user.onFreed = () => {
        if (!memory.mayReceive(user, MIB)) return;
        woken.push(user);
        memory.count("receivedBytes", MIB);
      };
    }
    expect(memory.mayReceive(one, 1000)).toBe(true);
    expect(memory.isScarce("receivedBytes")).toBe(true);
    memory.count("receivedBytes", -MIB); // room for one of them
    await Bun.sleep(0);
    expect(woken).toEqual([two]);
    expect(memory.mayReceive(one, 2 * MIB)).toBe(false); // who comes later waits behind
    memory.count("receivedBytes", -MIB);
    await Bun.sleep(0);
    expect(woken).toEqual([two, three]);
  });

  test("gives room to the largest there is when nothing else is held, and none to two", () => {
    const { memory, users } = shared(2);
    expect(memory.mayReceive(users[0]!, MAX_FRAME_BYTES)).toBe(true);
    memory.count("receivedBytes", MAX_FRAME_BYTES);
    expect(memory.mayReceive(users[1]!, MAX_FRAME_BYTES)).toBe(false);
  });

  test("forgets who has gone while waiting", async () => {
    const { memory, users } = shared(2);
    memory.count("queuedBytes", SHARED_QUEUED_BYTES);
    expect(memory.maySend(users[0]!, MIB)).toBe(false);
    memory.leave(users[0]!);
    memory.count("queuedBytes", -SHARED_QUEUED_BYTES);
    await Bun.sleep(0);
    expect(users[0]!.freed).toBe(0);
    expect(memory.maySend(users[1]!, MIB)).toBe(true);
  });

  test("ends the one that holds most when there is far too much", async () => {
    const { memory, users } = shared(3);
    users.forEach((user, at) => (user.queuedBytes = at * MIB));
    const most = users[2]!;
    most.fail = () => {
      most.failed = true;
      most.queuedBytes = 0;
      memory.count("queuedBytes", -SHARED_QUEUED_BYTES);
    };
    memory.count("queuedBytes", 2 * SHARED_QUEUED_BYTES + 1);
    await Bun.sleep(0);
    expect(users.map(({ failed }) => failed)).toEqual([false, false, true]);
  });
});

/** A listener on a network in memory, with a clock that stands still. */
async function house(handlers = DEFAULT_HANDLERS) {
  const clock = new StillClock();
  const transport = memoryNetwork({ clock }).transport();
  const { logger, lines } = recordingLogger();
  const listener = await listenFor({ transport, handlers, clock, logger });
  const raw = async (): Promise<RawPeer> => {
    const peer = await RawPeer.open(transport, listener.address);
    await peer.ask(1, hello, helloBody);
    return peer;
  };
  return {
    clock,
    transport,
    listener,
    lines,
    raw,
    connect: () => connectTo(listener.address, { transport }),
  };
}

function looks(clock: StillClock, count: number): void {
  for (let look = 0; look < count; look++) clock.advance(LOOK_MS);
}

function lengthOf(bytes: number): Uint8Array {
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, bytes);
  return prefix;
}

function held(listener: PeerListener): number {
  return [...listener.peers].reduce((sum, peer) => sum + (peer as Connection).receivedBytes, 0);
}

describe("connections that hold memory and do not get on", () => {
  test("with half a frame go as soon as somebody waits for their memory, who is then served", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(upload, ({ body }) => ({ body }));
    const { clock, listener, lines, raw, connect } = await house(handlers);
    const half = await raw();
    half.send(lengthOf(MAX_FRAME_BYTES));
    half.send(Uint8Array.of(0x85, 0));
    await eventually(() => held(listener) === MAX_FRAME_BYTES, "the half frame is there");
    looks(clock, 10);
    expect(half.ended).toBe(false); // nobody needs it
    const good = await connect();
    const bulk = new Uint8Array(MAX_BLOCK_BYTES);
    const answer = good.request(upload, { value: 5 }, { ...options, bulk });
    const [, waiting] = [...listener.peers] as [Connection, Connection];
    await eventually(
      () => waiting.receivedBytes === 0 && held(listener) === MAX_FRAME_BYTES,
      "it waits",
    );
    await Bun.sleep(5);
    looks(clock, 3);
    expect((await answer).body.value).toBe(5);
    await eventually(() => half.ended, "the half frame's connection ends");
    expect(lines.filter((line) => line.includes("others wait for memory"))).toHaveLength(1);
  });

  test("that ask for much and do not read are ended when others wait for what they hold", async () => {
    const block = new Uint8Array(4 * MIB);
    const handlers = new HandlerTable();
    handlers.onRequest(download, async ({ body }) => ({ body, bulk: block }), {
      replyBytes: () => block.length,
    });
    const { clock, listener, lines, raw, connect } = await house(handlers);
    const deaf = await raw();
    deaf.stream.pause();
    for (let id = 2; id < 40; id++) deaf.sendFrame(0, id, download.code, [id]);
    const end = [...listener.peers][0] as Connection;
    await eventually(() => end.queuedBytes > SHARED_QUEUED_BYTES - 2 * block.length, "it is full");
    expect(end.queuedBytes).toBeLessThanOrEqual(SHARED_QUEUED_BYTES + 4096);
    const good = await connect();
    const answer = good.request(download, { value: 5 }, options);
    await Bun.sleep(5);
    looks(clock, 4);
    expect((await answer).bulk.length).toBe(block.length);
    await eventually(() => deaf.ended, "the deaf one's connection ends");
    expect(lines.filter((line) => line.includes("others wait for memory"))).toHaveLength(1);
  });

  // A thousand with 256 questions each made a metadata server grow to 287 MiB, although all of them together had 7 MiB.
  test("that ask very many short questions are ended, since each takes memory besides its bytes", async () => {
    const transport = memoryNetwork({ clock: systemClock }).transport();
    const handlers = new HandlerTable();
    handlers.onRequest(echo, () => new Promise(() => undefined));
    const listener = await listenFor({ transport, handlers });
    const few = await connectTo(listener.address, { transport });
    void few.request(echo, { value: 1 }, options).catch(() => undefined);
    const ids = Array.from({ length: MAX_REQUESTS_IN_FLIGHT }, (_, at) => 2 + at);
    const questions = Buffer.concat(
      ids.map((id) => framed(encodeHead(FRAME_KINDS.request, id, echo.code, [1]))),
    );
    const most = Math.ceil((2 * SHARED_RECEIVED_BYTES) / (MAX_REQUESTS_IN_FLIGHT * REQUEST_BYTES));
    const many: RawPeer[] = [];
    for (let number = 0; number <= most; number++) {
      const raw = await RawPeer.open(transport, listener.address);
      await raw.ask(1, hello, helloBody);
      raw.send(questions);
      many.push(raw);
    }
    await eventually(() => many.some(({ ended }) => ended), "one is ended");
    expect(few.open).toBe(true);
    expect(many.filter(({ ended }) => ended).length).toBeLessThan(many.length / 2);
  });

  test("give back what they hold however they end", async () => {
    const { clock, listener, raw, connect } = await house();
    for (let round = 0; round < 5; round++) {
      const half = await raw();
      half.send(lengthOf(MAX_FRAME_BYTES));
      half.send(Uint8Array.of(0x85, 0));
      await eventually(() => held(listener) > 0, "the half frame is there");
      half.stream.terminate();
      await eventually(() => listener.peers.size === 0, "it is gone");
    }
    // Nothing is counted that nobody holds: a long frame would have to wait for ever.
    const good = await connect();
    looks(clock, 1);
    expect((await good.request(echo, { value: 1 }, options)).body.value).toBe(1);
  });
});

describe("a frame that was begun", () => {
  test("must come in a time that its length allows, though a byte comes now and then", async () => {
    const { clock, lines, raw } = await house();
    const slow = await raw();
    slow.send(lengthOf(1000));
    for (let look = 0; look * LOOK_MS <= FRAME_GRACE_MS; look++) {
      slow.send(Uint8Array.of(0x84));
      await Bun.sleep(0);
      expect(slow.ended).toBe(false);
      looks(clock, 1);
    }
    await eventually(() => slow.ended, "the connection ends");
    expect(lines.filter((line) => line.includes("a frame that was begun"))).toHaveLength(1);
  });

  test("has its own time: many that are slow, one after the other, are no one frame that is late", async () => {
    const { clock, raw } = await house();
    const slow = await raw();
    const frame = framed(encodeHead(FRAME_KINDS.request, 7, echo.code, [1]));
    for (let round = 0; round < 3; round++) {
      slow.send(frame.subarray(0, 6));
      await Bun.sleep(0);
      looks(clock, (FRAME_GRACE_MS / LOOK_MS) * 0.9);
      slow.send(frame.subarray(6));
      await eventually(() => slow.frames.length === 2 + round, "it is answered");
    }
    expect(slow.ended).toBe(false);
  });
});

describe("a stream that has ended without a word", () => {
  test("is noticed when something waits to be sent, and what it held is free", async () => {
    const clock = new StillClock();
    const inner = memoryNetwork({ clock }).transport();
    let isDead = false;
    const transport: Transport = {
      connect: (address, events, timeoutMs) => inner.connect(address, events, timeoutMs),
      listen: (address, accept) =>
        inner.listen(address, (stream) =>
          accept({
            remoteAddress: stream.remoteAddress,
            write: (bytes) => (isDead ? -1 : stream.write(bytes)),
            pause: () => stream.pause(),
            resume: () => stream.resume(),
            end: () => stream.end(),
            terminate: () => stream.terminate(),
          }),
        ),
    };
    const { logger, lines } = recordingLogger();
    const listener = await listenFor({ transport, clock, logger });
    const raw = await RawPeer.open(transport, listener.address);
    await raw.ask(1, hello, helloBody);
    const [peer] = [...listener.peers] as [Connection];
    isDead = true;
    raw.sendFrame(FRAME_KINDS.request, 2, echo.code, [1]);
    await eventually(() => peer.queuedBytes > 0, "the answer waits");
    expect(peer.open).toBe(true);
    looks(clock, 1);
    expect(peer.open).toBe(false);
    expect(peer.queuedBytes).toBe(0);
    expect(lines.filter((line) => line.includes("the other side is gone"))).toHaveLength(1);
  });
});

describe("a peer that does nothing", () => {
  test("is sent away after a long time, without a warning, and one that asks is not", async () => {
    const { clock, listener, lines, connect } = await house();
    const [idle, busy] = [await connect(), await connect()];
    for (let part = 0; part < 4; part++) {
      await busy.request(echo, { value: part }, options);
      looks(clock, IDLE_MS / LOOK_MS / 4);
    }
    await busy.request(echo, { value: 5 }, options);
    looks(clock, 2); // bytes had come before the first of them
    await eventually(() => !idle.open, "the idle peer is sent away");
    expect(busy.open).toBe(true);
    expect(listener.peers.size).toBe(1);
    expect(lines).toEqual([]);
  });
});
