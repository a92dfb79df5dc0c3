// Requests, replies, notices and errors between two ends, over both transports.

import { describe, expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import { MAX_BLOCK_BYTES, MAX_REQUESTS_IN_FLIGHT } from "../../src/base/limits.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import {
  connectedPair,
  download,
  echo,
  eventually,
  failureOf,
  patterned,
  poke,
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
