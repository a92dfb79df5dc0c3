// Requests, replies, notices and errors between two ends, over both transports.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { DfsError } from "../../src/base/errors.ts";
import { MAX_BLOCK_BYTES, MAX_REQUESTS_IN_FLIGHT } from "../../src/base/limits.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { FRAME_KINDS } from "../../src/protocol/cbor.ts";
import { request } from "../../src/protocol/message.ts";
import { record, uint, type Item } from "../../src/protocol/schema.ts";
import { auth, hello } from "../../src/protocol/messages/hello.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import type { Transport } from "../../src/protocol/transport.ts";
import {
  connectedPair,
  connectTo,
  DEFAULT_HANDLERS,
  download,
  echo,
  eventually,
  failureOf,
  helloBody,
  listenFor,
  patterned,
  poke,
  RawPeer,
  recordingLogger,
  say,
  TIMEOUT_MS,
  TRANSPORTS,
  upload,
} from "./support.ts";

const options = { timeoutMs: TIMEOUT_MS };
const MIB = 1024 * 1024;

/** A request whose handler ends when the test says so. */
function gate(): {
  open(value: number): void;
  readonly promise: Promise<{ body: { value: number } }>;
} {
  const { promise, resolve } = Promise.withResolvers<{ body: { value: number } }>();
  return { promise, open: (value) => resolve({ body: { value } }) };
}

for (const [name, transport] of TRANSPORTS) {
  describe(`a connection over ${name}`, () => {
    test("answers many requests at once, in any order, each with its own reply", async () => {
      const gates = new Map<number, ReturnType<typeof gate>>();
      const handlers = new HandlerTable();
      handlers.onRequest(echo, ({ body }) => {
        const waiting = gate();
        gates.set(body.value, waiting);
        return waiting.promise;
      });
      const { caller } = await connectedPair(transport(), handlers);
      const order: number[] = [];
      const replies = Array.from({ length: 100 }, async (_, value) => {
        const reply = await caller.request(echo, { value }, options);
        order.push(value);
        return reply.body.value;
      });
      await eventually(() => gates.size === 100, "all requests arrive");
      for (let value = 99; value >= 0; value--) gates.get(value)!.open(value * 10);
      expect(await Promise.all(replies)).toEqual(Array.from({ length: 100 }, (_, i) => i * 10));
      expect(order).toEqual(Array.from({ length: 100 }, (_, index) => 99 - index));
    });

    test("lets both sides ask, on one connection, at the same time", async () => {
      const double = new HandlerTable();
      double.onRequest(echo, ({ body }) => ({ body: { value: body.value * 2 } }));
      const triple = new HandlerTable();
      triple.onRequest(echo, async ({ body }) => ({ body: { value: body.value * 3 } }));
      const { caller, listenerEnd } = await connectedPair(transport(), double, triple);
      const values = Array.from({ length: 50 }, (_, index) => index);
      const [doubled, tripled] = await Promise.all([
        Promise.all(values.map((value) => caller.request(echo, { value }, options))),
        Promise.all(values.map((value) => listenerEnd.request(echo, { value }, options))),
      ]);
      expect(doubled.map((each) => each.body.value)).toEqual(values.map((value) => value * 2));
      expect(tripled.map((each) => each.body.value)).toEqual(values.map((value) => value * 3));
    });

    test("carries bulk bytes of every size both ways unchanged", async () => {
      const sizes = [0, 1, 23, 24, 4096, 128 * 1024, 128 * 1024 + 1, MIB, MAX_BLOCK_BYTES];
      const handlers = new HandlerTable();
      const received = new Map<number, Uint8Array>();
      handlers.onRequest(upload, ({ body, bulk }) => {
        received.set(body.value, bulk);
        return { body };
      });
      handlers.onRequest(download, ({ body }) => ({ body, bulk: received.get(body.value)! }));
      const { caller } = await connectedPair(transport(), handlers);
      for (const size of sizes) {
        const bulk = patterned(size, size + 1);
        await caller.request(upload, { value: size }, { ...options, bulk });
        expect(Buffer.compare(received.get(size)!, bulk)).toBe(0);
        const back = await caller.request(download, { value: size }, options);
        expect(Buffer.compare(back.bulk, bulk)).toBe(0);
      }
    });

    test("carries 1 MiB blocks many at a time, both ways, mixed with small requests", async () => {
      const blocks = Array.from({ length: 24 }, (_, index) => patterned(MIB, index + 1));
      const handlers = new HandlerTable();
      handlers.onRequest(upload, async ({ body, bulk }) => {
        const same = Buffer.compare(bulk, blocks[body.value]!) === 0;
        return { body: { value: same ? 1 : 0 } };
      });
      handlers.onRequest(download, async ({ body }) => ({ body, bulk: blocks[body.value]! }));
      handlers.onRequest(echo, ({ body }) => ({ body }));
      const { caller } = await connectedPair(transport(), handlers);
      const results = await Promise.all(
        blocks.map(async (bulk, value) => {
          const [up, down, small] = await Promise.all([
            caller.request(upload, { value }, { ...options, bulk }),
            caller.request(download, { value }, options),
            caller.request(echo, { value }, options),
          ]);
          return up.body.value === 1 && Buffer.compare(down.bulk, bulk) === 0 && small.body.value;
        }),
      );
      expect(results).toEqual(blocks.map((_, value) => value));
    });

    test("carries notices in order, before and after requests", async () => {
      const seen: (number | string)[] = [];
      const handlers = new HandlerTable();
      handlers.onNotice(poke, ({ value }) => seen.push(value));
      handlers.onRequest(echo, ({ body }) => {
        seen.push("echo");
        return { body };
      });
      const { caller } = await connectedPair(transport(), handlers);
      for (let value = 0; value < 5; value++) caller.notify(poke, { value });
      await caller.request(echo, { value: 1 }, options);
      caller.notify(poke, { value: 5 });
      await eventually(() => seen.length === 7, "all arrive");
      expect(seen).toEqual([0, 1, 2, 3, 4, "echo", 5]);
    });

    test("carries errors with kind, message and details", async () => {
      const handlers = new HandlerTable();
      const details = { text: "ü", small: 7, large: 2 ** 40, big: -5n, yes: true, half: 0.5 };
      handlers.onRequest(echo, () => {
        throw new DfsError("noSpace", "cannot store it: all servers are full", { details });
      });
      handlers.onRequest(say, async () => {
        throw new DfsError("conflict", "taken");
      });
      const { caller } = await connectedPair(transport(), handlers);
      const error = await failureOf(caller.request(echo, { value: 1 }, options));
      expect(error).toBeInstanceOf(DfsError);
      expect([error.kind, error.message]).toEqual([
        "noSpace",
        "cannot store it: all servers are full",
      ]);
      expect(error.details).toEqual({ ...details, large: BigInt(2 ** 40), half: "0.5" });
      const other = await failureOf(caller.request(say, { text: "x" }, options));
      expect([other.kind, other.message]).toEqual(["conflict", "taken"]);
    });

    test("tells a mistake in a handler as internal, without its text, and logs it", async () => {
      const handlers = new HandlerTable();
      handlers.onRequest(echo, () => {
        throw new TypeError("secret.path is not a function");
      });
      const { logger, lines } = recordingLogger();
      const { caller } = await connectedPair(transport(), handlers, undefined, { logger });
      const error = await failureOf(caller.request(echo, { value: 1 }, options));
      expect(error.kind).toBe("internal");
      expect(error.message).not.toContain("secret");
      expect(lines.filter((line) => line.includes("secret.path"))).toHaveLength(1);
      expect(lines.join("")).not.toContain("at ");
      expect(caller.open).toBe(true);
    });

    test("ends with both sides told, when one closes it; what was queued still arrives", async () => {
      const seen: number[] = [];
      const handlers = new HandlerTable();
      handlers.onNotice(poke, ({ value }) => seen.push(value));
      handlers.onRequest(echo, () => new Promise(() => undefined));
      const { caller, listenerEnd, listener } = await connectedPair(transport(), handlers);
      const hanging = failureOf(caller.request(echo, { value: 1 }, options));
      for (let value = 0; value < 1000; value++) caller.notify(poke, { value });
      caller.close("going home");
      expect(caller.open).toBe(false);
      const error = await hanging;
      expect(error.kind).toBe("unreachable");
      expect(error.message).toContain(listener.address);
      expect(error.message).toContain("going home");
      expect((await caller.closed).message).toContain("going home");
      expect((await listenerEnd.closed).kind).toBe("unreachable");
      expect(seen).toHaveLength(1000);
      expect(listener.peers.size).toBe(0);
      const late = await failureOf(caller.request(echo, { value: 1 }, options));
      expect(late.kind).toBe("unreachable");
      caller.notify(poke, { value: 1 }); // dropped
    });

    test("waits for its turn when too many requests are unanswered, and answers them all", async () => {
      const release = Promise.withResolvers<void>();
      let running = 0;
      let most = 0;
      const handlers = new HandlerTable();
      handlers.onRequest(echo, async ({ body }) => {
        most = Math.max(most, ++running);
        await release.promise;
        running--;
        return { body };
      });
      const { caller } = await connectedPair(transport(), handlers);
      const count = MAX_REQUESTS_IN_FLIGHT * 3;
      const replies = Array.from({ length: count }, (_, value) =>
        caller.request(echo, { value }, options),
      );
      await eventually(
        () => running === MAX_REQUESTS_IN_FLIGHT,
        "the first ones are being handled",
      );
      release.resolve();
      const values = (await Promise.all(replies)).map((reply) => reply.body.value);
      expect(values).toEqual(Array.from({ length: count }, (_, value) => value));
      expect(most).toBe(MAX_REQUESTS_IN_FLIGHT);
    });
  });
}

describe("a request", () => {
  const transport = (): Transport => tcpTransport(systemClock);

  test("fails with timeout, naming message, address and time; its late reply is dropped", async () => {
    const waiting = gate();
    const handlers = new HandlerTable();
    handlers.onRequest(echo, () => waiting.promise);
    handlers.onRequest(say, ({ body }) => ({ body }));
    const { caller, listener } = await connectedPair(transport(), handlers);
    const error = await failureOf(caller.request(echo, { value: 1 }, { timeoutMs: 20 }));
    expect(error.kind).toBe("timeout");
    for (const part of ["test.echo", listener.address, "20 ms"]) {
      expect(error.message).toContain(part);
    }
    waiting.open(1);
    // The late reply has come before this one, and the connection has survived it.
    expect((await caller.request(say, { text: "still here" }, options)).body.text).toBe(
      "still here",
    );
    expect(caller.open).toBe(true);
  });

  test("fails with cancelled when aborted, before or while it runs", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(echo, () => new Promise(() => undefined));
    const { caller } = await connectedPair(transport(), handlers);
    const early = await failureOf(
      caller.request(echo, { value: 1 }, { ...options, signal: AbortSignal.abort() }),
    );
    expect(early.kind).toBe("cancelled");
    const controller = new AbortController();
    const running = failureOf(
      caller.request(echo, { value: 1 }, { ...options, signal: controller.signal }),
    );
    controller.abort();
    expect((await running).kind).toBe("cancelled");
    expect(caller.open).toBe(true);
  });

  test("may have its bulk buffer changed after a timeout: what was promised is still sent", async () => {
    const received: Uint8Array[] = [];
    const handlers = new HandlerTable();
    handlers.onRequest(upload, ({ body, bulk }) => {
      received.push(bulk);
      return { body };
    });
    const { caller } = await connectedPair(transport(), handlers);
    const bulk = patterned(MAX_BLOCK_BYTES);
    const controller = new AbortController();
    const given = failureOf(
      caller.request(upload, { value: 1 }, { ...options, bulk, signal: controller.signal }),
    );
    await Promise.resolve(); // the first part has been written
    controller.abort();
    expect((await given).kind).toBe("cancelled");
    bulk.fill(0);
    await caller.request(upload, { value: 2 }, { ...options, bulk: patterned(10) });
    expect(Buffer.compare(received[0]!, patterned(MAX_BLOCK_BYTES))).toBe(0);
    expect(received[1]).toEqual(patterned(10));
  });

  test("may have its body changed as soon as it is made", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(say, ({ body }) => ({ body }));
    const { caller } = await connectedPair(transport(), handlers);
    const body = { text: "first" };
    const reply = caller.request(say, body, options);
    body.text = "second";
    expect((await reply).body.text).toBe("first");
  });

  test("that nobody handles is refused as unsupported, and the connection goes on", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(say, ({ body }) => ({ body }));
    const { caller } = await connectedPair(transport(), handlers);
    const error = await failureOf(caller.request(echo, { value: 1 }, options));
    expect(error.kind).toBe("unsupported");
    expect(error.message).toContain("0xf001");
    expect((await caller.request(say, { text: "x" }, options)).body.text).toBe("x");
  });

  test("with a body or reply that does not fit its schema fails alone", async () => {
    const handlers = new HandlerTable();
    handlers.onRequest(echo, () => ({ body: { value: "no number" as unknown as number } }));
    handlers.onRequest(say, ({ body }) => ({ body }));
    const { caller } = await connectedPair(transport(), handlers);
    const badReply = await failureOf(caller.request(echo, { value: 1 }, options));
    expect(badReply.kind).toBe("protocol");
    const tooLong = { text: "x".repeat(1001) };
    const badRequest = await failureOf(caller.request(say, tooLong, options));
    expect(badRequest.kind).toBe("protocol");
    expect(badRequest.message).toContain("text(max 1000)");
    expect((await caller.request(say, { text: "x" }, options)).body.text).toBe("x");
  });

  test("with bulk bytes where none belong, or without them, fails alone", async () => {
    // The same code, once with and once without bulk bytes, as two versions that disagree would have it.
    const other = request(
      upload.code,
      "test.other",
      record({ value: uint() }),
      record({ value: uint() }),
    );
    const handlers = new HandlerTable();
    handlers.onRequest(upload, ({ body }) => ({ body }));
    handlers.onRequest(echo, ({ body }) => ({ body }));
    const { caller } = await connectedPair(transport(), handlers);
    expect((await failureOf(caller.request(other, { value: 1 }, options))).kind).toBe("protocol");
    const loaded = request(echo.code, "test.loaded", echo.request, echo.reply, "reply");
    expect((await failureOf(caller.request(loaded, { value: 1 }, options))).kind).toBe("protocol");
    expect((await caller.request(echo, { value: 1 }, options)).body.value).toBe(1);
  });

  test("is not made without a timeout", async () => {
    const { caller } = await connectedPair(transport(), DEFAULT_HANDLERS);
    for (const timeoutMs of [0, -1, Number.NaN]) {
      const error = await failureOf(caller.request(echo, { value: 1 }, { timeoutMs }));
      expect(error.kind).toBe("internal");
    }
    const patient = { timeoutMs: Infinity };
    expect((await caller.request(echo, { value: 1 }, patient)).body.value).toBe(1);
  });

  test("releases the bulk buffer of a reply once it is sent, copied or dropped", async () => {
    const released: number[] = [];
    const handlers = new HandlerTable();
    handlers.onRequest(download, ({ body }) => ({
      body,
      bulk: new Uint8Array(body.value),
      sent: () => released.push(body.value),
    }));
    const { caller } = await connectedPair(transport(), handlers);
    for (const value of [10, 5 * MIB]) {
      await caller.request(download, { value }, options);
      expect(released).toContain(value);
    }
    expect(released).toEqual([10, 5 * MIB]);
  });
});

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
