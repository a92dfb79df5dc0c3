// Long replies take turns. Sixteen peers that asked for pages of a large directory and read none had the metadata server make
// hundreds of pages in one turn of its event loop: others waited for ten seconds, and it grew to 528 MiB.

import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { LONG_REPLIES_AT_ONCE, LongReplies, mayBeLong } from "../../src/protocol/long-replies.ts";
import { request } from "../../src/protocol/message.ts";
import { readdir } from "../../src/protocol/messages/namespace.ts";
import { sessionHeartbeat } from "../../src/protocol/messages/session.ts";
import { list, record, text, uint } from "../../src/protocol/schema.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { connectTo, echo, eventually, listenFor, TIMEOUT_MS } from "./support.ts";

const PEERS = 8;
const REQUESTS = 10;
const options = { timeoutMs: TIMEOUT_MS };
const page = request(
  0xf005,
  "test.page",
  record({ peer: uint() }),
  record({ lines: list(text(1000), 1000) }),
);

test("of all connections together a few are made at a time, each connection has its turn, and short ones go on", async () => {
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const made: number[] = [];
  const going: (() => void)[] = [];
  let most = 0;
  const handlers = new HandlerTable();
  handlers.onRequest(echo, ({ body }) => ({ body }));
  handlers.onRequest(page, async ({ body }) => {
    made.push(body.peer);
    await new Promise<void>((resolve) => {
      going.push(resolve);
      most = Math.max(most, going.length);
    });
    return { body: { lines: Array.from({ length: 100 }, () => "x".repeat(1000)) } };
  });
  const listener = await listenFor({ transport, handlers });
  const peers = await Promise.all(
    Array.from({ length: PEERS }, () => connectTo(listener.address, { transport })),
  );
  const asked = peers.flatMap((peer, number) =>
    Array.from({ length: REQUESTS }, () => peer.request(page, { peer: number }, options)),
  );
  let answered = 0;
  for (const each of asked) void each.then(() => answered++);
  await eventually(() => going.length === LONG_REPLIES_AT_ONCE, "the first are being made");
  expect((await peers.at(-1)!.request(echo, { value: 3 }, options)).body.value).toBe(3);
  while (answered < asked.length) {
    const before = answered;
    await eventually(() => going.length > 0, "the next is being made");
    going.shift()!();
    await eventually(() => answered > before, "one is answered");
  }
  expect(most).toBe(LONG_REPLIES_AT_ONCE);
  expect(made).toHaveLength(PEERS * REQUESTS);
  // Nobody waits until others have all that they asked for.
  for (let peer = 0; peer < PEERS; peer++) expect(made.indexOf(peer)).toBeLessThan(3 * PEERS);
});

test("a connection that ends gives its turns back and its place in the line", () => {
  const calls: (() => void)[] = [];
  const turns = new LongReplies((callback) => calls.push(callback));
  const begun: string[] = [];
  const waiter = (name: string) => ({
    handleParked() {
      if (turns.take(this)) begun.push(name);
    },
  });
  const [first, gone, next] = [waiter("first"), waiter("gone"), waiter("next")];
  for (let number = 0; number < LONG_REPLIES_AT_ONCE; number++) first.handleParked();
  gone.handleParked();
  next.handleParked();
  expect(begun).toHaveLength(LONG_REPLIES_AT_ONCE);
  turns.forget(gone);
  turns.ended();
  first.handleParked(); // not its turn
  for (const call of calls.splice(0)) call();
  expect(begun.slice(LONG_REPLIES_AT_ONCE)).toEqual(["next"]);
  turns.ended();
  for (const call of calls.splice(0)) call();
  expect(begun.slice(LONG_REPLIES_AT_ONCE)).toEqual(["next", "first"]);
});

test("what can be long is told by its schema, before there was one", () => {
  expect(mayBeLong(readdir.reply.shape)).toBe(true);
  expect(mayBeLong(sessionHeartbeat.reply.shape)).toBe(false);
});
