// Memory per connection is bounded, whatever the other end does or does not do.

import { describe, expect, test } from "bun:test";
import {
  MAX_BLOCK_BYTES,
  MAX_QUEUED_BYTES,
  MAX_RECEIVED_BYTES_IN_FLIGHT,
  MAX_REQUESTS_IN_FLIGHT,
} from "../../src/base/limits.ts";
import { FRAME_KINDS } from "../../src/protocol/cbor.ts";
import type { Connection } from "../../src/protocol/connection.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { LOOK_MS } from "../../src/protocol/door.ts";
import { MAX_BULK_REPLIES_IN_PROGRESS } from "../../src/protocol/incoming.ts";
import { hello } from "../../src/protocol/messages/hello.ts";
import type { Peer } from "../../src/protocol/peer.ts";
import { IDLE_MS } from "../../src/protocol/progress-watch.ts";
import { SEND_STALL_TIMEOUT_MS } from "../../src/protocol/stall-watch.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { StillClock } from "./still-clock.ts";
import {
  connectedPair,
  download,
  echo,
  eventually,
  failureOf,
  helloBody,
  listenFor,
  poke,
  RawPeer,
  recordingLogger,
  TIMEOUT_MS,
  TRANSPORTS,
  upload,
} from "./support.ts";

const options = { timeoutMs: TIMEOUT_MS };
const MIB = 1024 * 1024;

/** Bytes that an end has queued for its peer. */
function queued(peer: Peer): number {
  return (peer as Connection).queuedBytes;
}

/** Waits until `read` gives the same value for a while. */
async function settled(read: () => number): Promise<number> {
  let last = read();
  for (let same = 0; same < 30;) {
    await Bun.sleep(1);
    same = read() === last ? same + 1 : 0;
    last = read();
  }
  return last;
}

for (const [name, transport] of TRANSPORTS) {
  describe(`over ${name}, a peer that never reads`, () => {
    test("makes us queue no more replies than the limit and the handlers in progress allow", async () => {
      const block = new Uint8Array(MIB);
      let handled = 0;
      const handlers = new HandlerTable();
      handlers.onRequest(
        download,
        async ({ body }) => {
          handled++;
          return { body, bulk: block };
        },
        { replyBytes: () => block.length },
      );
      const made = transport();
      const listener = await listenFor({ transport: made, handlers });
      const raw = await RawPeer.open(made, listener.address);
      await raw.ask(1, hello, helloBody);
      raw.stream.pause();
      const peer = [...listener.peers][0]!;
      for (let id = 2; id < 2 + MAX_REQUESTS_IN_FLIGHT; id++) {
        raw.sendFrame(FRAME_KINDS.request, id, download.code, [1]);
      }
      await eventually(() => queued(peer) > MAX_QUEUED_BYTES, "the queue is full");
      const bytes = await settled(() => queued(peer));
      expect(bytes).toBeLessThan(MAX_QUEUED_BYTES + (MAX_BULK_REPLIES_IN_PROGRESS + 1) * MIB);
      expect(handled).toBeLessThan(MAX_REQUESTS_IN_FLIGHT / 2);
      // It was not forgotten: everything comes as soon as the peer reads.
      raw.stream.resume();
      await eventually(() => raw.frames.length === 1 + MAX_REQUESTS_IN_FLIGHT, "all replies come");
      expect(queued(peer)).toBe(0);
    });

    test("makes our own requests wait, with their buffers still the caller's", async () => {
      const made = transport();
      const listener = await listenFor({ transport: made, handlers: new HandlerTable() });
      const raw = await RawPeer.open(made, listener.address);
      await raw.ask(1, hello, helloBody);
      raw.stream.pause();
      const peer = [...listener.peers][0]!;
      const bulk = new Uint8Array(4 * MIB);
      const failures = Array.from({ length: 200 }, (_, value) =>
        failureOf(peer.request(upload, { value }, { timeoutMs: 200, bulk })),
      );
      expect(queued(peer)).toBeLessThan(MAX_QUEUED_BYTES);
      for (const error of await Promise.all(failures)) expect(error.kind).toBe("timeout");
      expect(queued(peer)).toBeLessThan(MAX_QUEUED_BYTES);
    });

    test("is given up when notices pile up, rather than left with stale caches", async () => {
      const { logger, lines } = recordingLogger();
      const made = transport();
      const listener = await listenFor({ transport: made, handlers: new HandlerTable(), logger });
      const raw = await RawPeer.open(made, listener.address);
      await raw.ask(1, hello, helloBody);
      raw.stream.pause();
      const peer = [...listener.peers][0]!;
      let most = 0;
      for (let value = 0; peer.open; value++) {
        peer.notify(poke, { value });
        if (value % 10_000 === 0) await Bun.sleep(0);
        most = Math.max(most, queued(peer));
      }
      expect(most).toBeLessThan(MAX_QUEUED_BYTES + 4 * MIB);
      expect((await peer.closed).message).toContain("does not read");
      expect(lines.filter((line) => line.includes("does not read"))).toHaveLength(1);
    });
  });

  describe(`over ${name}, a peer that answers nothing`, () => {
    test("is sent no more requests than may be unanswered, timed out ones counted", async () => {
      const made = transport();
      const listener = await listenFor({ transport: made, handlers: new HandlerTable() });
      const raw = await RawPeer.open(made, listener.address);
      await raw.ask(1, hello, helloBody);
      const asked = (): number[] => raw.frames.slice(1).map((frame) => frame.id);
      const peer = [...listener.peers][0]!;
      const first = Array.from({ length: MAX_REQUESTS_IN_FLIGHT }, (_, value) =>
        failureOf(peer.request(echo, { value }, { timeoutMs: 50 })),
      );
      for (const error of await Promise.all(first)) expect(error.kind).toBe("timeout");
      await eventually(() => asked().length === MAX_REQUESTS_IN_FLIGHT, "the first requests come");
      const more = [1, 2, 3].map((value) => peer.request(echo, { value }, options));
      expect(await settled(() => asked().length)).toBe(MAX_REQUESTS_IN_FLIGHT);
      // Late answers make room, one by one.
      const answer = (id: number): void => raw.sendFrame(FRAME_KINDS.reply, id, 0, [id]);
      const [one, ...others] = asked();
      answer(one!);
      await eventually(() => asked().length === MAX_REQUESTS_IN_FLIGHT + 1, "one more comes");
      expect(await settled(() => asked().length)).toBe(MAX_REQUESTS_IN_FLIGHT + 1);
      for (const id of others) answer(id);
      await eventually(() => asked().length === MAX_REQUESTS_IN_FLIGHT + 3, "the others come");
      const ids = asked().slice(MAX_REQUESTS_IN_FLIGHT);
      for (const id of ids) if (!others.includes(id)) answer(id);
      expect((await Promise.all(more)).map((reply) => reply.body.value)).toEqual(ids);
    });
  });

  describe(`over ${name}, a peer that asks more than it may`, () => {
    test("is not read while too many of its requests are unanswered", async () => {
      let handled = 0;
      const release = Promise.withResolvers<void>();
      const handlers = new HandlerTable();
      handlers.onRequest(echo, async ({ body }) => {
        handled++;
        await release.promise;
        return { body };
      });
      const made = transport();
      const listener = await listenFor({ transport: made, handlers });
      const raw = await RawPeer.open(made, listener.address);
      await raw.ask(1, hello, helloBody);
      const count = MAX_REQUESTS_IN_FLIGHT * 4;
      for (let id = 2; id < 2 + count; id++)
        raw.sendFrame(FRAME_KINDS.request, id, echo.code, [id]);
      await eventually(() => handled === MAX_REQUESTS_IN_FLIGHT, "requests are handled");
      expect(await settled(() => handled)).toBe(MAX_REQUESTS_IN_FLIGHT);
      release.resolve();
      await eventually(() => raw.frames.length === 1 + count, "all are answered");
      expect(handled).toBe(count);
    });

    test("is not read while too many bytes of its requests are unanswered", async () => {
      let held = 0;
      const release = Promise.withResolvers<void>();
      const handlers = new HandlerTable();
      handlers.onRequest(upload, async ({ body, bulk }) => {
        held += bulk.length;
        await release.promise;
        return { body };
      });
      const made = transport();
      const { caller } = await connectedPair(made, handlers);
      const bulk = new Uint8Array(4 * MIB);
      const replies = Array.from({ length: 30 }, (_, value) =>
        caller.request(upload, { value }, { ...options, bulk }),
      );
      await eventually(() => held > MAX_RECEIVED_BYTES_IN_FLIGHT, "the limit is reached");
      const most = await settled(() => held);
      expect(most).toBeLessThanOrEqual(MAX_RECEIVED_BYTES_IN_FLIGHT + bulk.length);
      release.resolve();
      expect((await Promise.all(replies)).map((reply) => reply.body.value)).toHaveLength(30);
    });
  });

  describe(`over ${name}, two ends that flood each other`, () => {
    test("with bulk requests and bulk replies at once never wait for each other forever", async () => {
      const block = new Uint8Array(4 * MIB);
      const handlers = new HandlerTable();
      handlers.onRequest(upload, async ({ body }) => ({ body }));
      handlers.onRequest(download, async ({ body }) => ({ body, bulk: block }), {
        replyBytes: () => block.length,
      });
      const made = transport();
      const { caller, listenerEnd } = await connectedPair(made, handlers, handlers);
      const flood = (peer: Peer) =>
        Array.from({ length: 40 }, (_, value) => [
          peer.request(download, { value }, options),
          peer.request(upload, { value }, { ...options, bulk: block }),
        ]).flat();
      const answers = await Promise.all([...flood(caller), ...flood(listenerEnd)]);
      expect(answers).toHaveLength(160);
    });
  });
}

describe("a peer that takes no more bytes", () => {
  test("is given up after a while, and not before", async () => {
    const clock = new StillClock();
    const network = memoryNetwork({ clock });
    const { logger, lines } = recordingLogger();
    const made = network.transport();
    const listener = await listenFor({
      transport: made,
      handlers: new HandlerTable(),
      clock,
      logger,
    });
    const raw = await RawPeer.open(made, listener.address);
    await raw.ask(1, hello, helloBody);
    const peer = [...listener.peers][0]!;
    raw.stream.pause();
    const timeoutMs = SEND_STALL_TIMEOUT_MS * 10;
    const hanging = failureOf(
      peer.request(upload, { value: 1 }, { timeoutMs, bulk: new Uint8Array(MAX_BLOCK_BYTES) }),
    );
    await settled(() => queued(peer));
    clock.advance(SEND_STALL_TIMEOUT_MS - 1);
    expect(peer.open).toBe(true);
    // A little progress starts the time anew.
    raw.stream.resume();
    await Bun.sleep(0);
    raw.stream.pause();
    await settled(() => queued(peer));
    expect(queued(peer)).toBeGreaterThan(0);
    clock.advance(SEND_STALL_TIMEOUT_MS - 1);
    expect(peer.open).toBe(true);
    clock.advance(2);
    expect(peer.open).toBe(false);
    expect((await hanging).kind).toBe("unreachable");
    expect(lines.filter((line) => line.includes("does not read"))).toHaveLength(1);
  });

  test("is left alone when nothing waits for it", async () => {
    const clock = new StillClock();
    const made = memoryNetwork({ clock }).transport();
    const { caller } = await connectedPair(made, withEcho(), undefined, { clock });
    await caller.request(echo, { value: 1 }, options);
    clock.advance(IDLE_MS - 2 * LOOK_MS);
    expect((await caller.request(echo, { value: 1 }, options)).body.value).toBe(1);
  });
});

function withEcho(): HandlerTable {
  const handlers = new HandlerTable();
  handlers.onRequest(echo, ({ body }) => ({ body }));
  return handlers;
}
