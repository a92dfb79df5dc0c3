// What can happen to one request: timeouts, aborts, mistakes on either side.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { MAX_BLOCK_BYTES } from "../../src/base/limits.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { request } from "../../src/protocol/message.ts";
import { record, uint } from "../../src/protocol/schema.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import type { Transport } from "../../src/protocol/transport.ts";
import {
  connectedPair,
  DEFAULT_HANDLERS,
  download,
  echo,
  failureOf,
  patterned,
  say,
  TIMEOUT_MS,
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
