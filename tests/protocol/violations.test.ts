// Peers that break the rules: each is sent away with one line in the log, and nobody else notices.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { FRAME_KINDS } from "../../src/protocol/cbor.ts";
import type { Item } from "../../src/protocol/schema.ts";
import { auth, hello } from "../../src/protocol/messages/hello.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import {
  connectedPair,
  connectTo,
  echo,
  eventually,
  framed,
  randomFor,
  failureOf,
  helloBody,
  listenFor,
  poke,
  RawPeer,
  recordingLogger,
  TIMEOUT_MS,
} from "./support.ts";

const options = { timeoutMs: TIMEOUT_MS };

describe("a connection to a peer that breaks the rules", () => {
  const violations: [what: string, send: (raw: RawPeer) => void, why: string][] = [
    ["answers a request that was never made", (raw) => raw.sendFrame(1, 99, 0, []), "request 99"],
    [
      "sends bytes that are no frame",
      (raw) => raw.send(Uint8Array.of(0, 0, 0, 1, 0xff)),
      "not an array",
    ],
    [
      "sends a length over the limit",
      (raw) => raw.send(Uint8Array.of(0x7f, 0, 0, 0)),
      "frame length",
    ],
    ["sends a tag", (raw) => raw.send(Uint8Array.fromHex("0000000684000102c140")), "a map, tag"],
    [
      "says hello again",
      (raw) => raw.sendFrame(0, 7, hello.code, hello.request.encode(helloBody)),
      "twice",
    ],
    [
      "proves itself unasked",
      (raw) => raw.sendFrame(0, 7, auth.code, [new Uint8Array(32)]),
      "twice",
    ],
    [
      "uses one number for two requests",
      (raw) => {
        raw.sendFrame(0, 7, echo.code, [1]);
        raw.sendFrame(0, 7, echo.code, [1]);
      },
      "the number 7",
    ],
    [
      "sends a notice that does not fit its schema",
      (raw) => raw.sendFrame(3, 0, poke.code, ["x"]),
      "value",
    ],
  ];
  for (const [what, send, why] of violations) {
    test(`ends, with one line in the log, when the peer ${what}`, async () => {
      const handlers = new HandlerTable();
      handlers.onRequest(echo, () => new Promise(() => undefined));
      handlers.onNotice(poke, () => undefined);
      const { logger, lines } = recordingLogger();
      const transport = tcpTransport(systemClock);
      const listener = await listenFor({ transport, handlers, logger });
      const raw = await RawPeer.open(transport, listener.address);
      const answer = await raw.ask(1, hello, helloBody);
      expect(answer.kind).toBe(FRAME_KINDS.reply);
      const reason = [...listener.peers][0]!.closed;
      send(raw);
      expect((await reason).message).toContain(why);
      await eventually(() => raw.ended, "the stream ends");
      expect(lines).toHaveLength(1);
      expect(lines[0]).toContain(why);
      // Others are not affected.
      await connectTo(listener.address);
    });
  }

  test("ends when the peer dies in the middle of a frame, and says so", async () => {
    const handlers = new HandlerTable();
    const listener = await listenFor({ handlers });
    const raw = await RawPeer.open(tcpTransport(systemClock), listener.address);
    await raw.ask(1, hello, helloBody);
    const peer = [...listener.peers][0]!;
    const hanging = failureOf(peer.request(echo, { value: 1 }, options));
    raw.send(Uint8Array.of(0, 0, 1, 0, 0x84, 0));
    await Bun.sleep(0);
    raw.stream.end();
    expect((await peer.closed).message).toContain("in the middle of a frame");
    const error = await hanging;
    expect(error.kind).toBe("unreachable");
    expect(error.message).toContain(peer.address);
  });

  test("goes on when a handler of notices fails, at once or later, and logs it", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(echo, ({ body }) => ({ body }));
    handlers.onNotice(poke, ({ value }) => {
      if (value === 1) throw new Error("failed at once");
      const later = async (): Promise<void> => {
        throw new Error("failed later");
      };
      return later() as unknown as undefined; // a handler that is an async function, which its type allows
    });
    const { logger, lines } = recordingLogger();
    const { caller } = await connectedPair(tcpTransport(systemClock), handlers, undefined, {
      logger,
    });
    caller.notify(poke, { value: 1 });
    caller.notify(poke, { value: 2 });
    expect((await caller.request(echo, { value: 2 }, options)).body.value).toBe(2);
    await eventually(() => lines.length === 2, "both are logged");
    expect(lines[0]).toContain("test.poke failed: failed at once");
    expect(lines[1]).toContain("test.poke failed: failed later");
  });

  test("ignores a notice that it does not know, which a newer peer may send", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(echo, ({ body }) => ({ body }));
    const { caller } = await connectedPair(tcpTransport(systemClock), handlers);
    caller.notify(poke, { value: 1 });
    expect((await caller.request(echo, { value: 2 }, options)).body.value).toBe(2);
  });

  test("takes fields behind the known ones, and sees missing optional ones as null", async () => {
    const listener = await listenFor({});
    const known = hello.request.encode(helloBody) as Item[];
    const longer = await RawPeer.open(tcpTransport(systemClock), listener.address);
    longer.sendFrame(FRAME_KINDS.request, 1, hello.code, [...known, 5, "new"]);
    await eventually(() => longer.frames.length === 1, "the hello is answered");
    expect(longer.frames[0]!.kind).toBe(FRAME_KINDS.reply);
    const shorter = await RawPeer.open(tcpTransport(systemClock), listener.address);
    shorter.sendFrame(FRAME_KINDS.request, 1, hello.code, known.slice(0, -1));
    await eventually(() => shorter.frames.length === 1, "the hello is answered");
    expect(shorter.frames[0]!.kind).toBe(FRAME_KINDS.reply);
  });
});

describe("random bytes", () => {
  test("thrown at a listener, with and without a hello before them, harm nobody else", async () => {
    const random = randomFor("random bytes at a listener");
    const transport = tcpTransport(systemClock);
    const { logger, lines } = recordingLogger();
    const listener = await listenFor({ transport, logger });
    const witness = await connectTo(listener.address);
    for (let round = 0; round < 150; round++) {
      const raw = await RawPeer.open(transport, listener.address);
      if (random.below(2) === 0) await raw.ask(1, hello, helloBody);
      const frame = random.bytes(1 + random.below(60));
      raw.send(random.below(2) === 0 ? frame : framed(frame));
      if (random.below(2) === 0) raw.stream.end();
      else raw.stream.terminate();
      if (round % 10 === 0) {
        expect((await witness.request(echo, { value: round }, options)).body.value).toBe(round);
      }
    }
    await eventually(() => listener.peers.size === 1, "all others are gone");
    expect((await witness.request(echo, { value: 1 }, options)).body.value).toBe(1);
    expect(lines.filter((line) => line.includes("internal error"))).toEqual([]);
  });
});
