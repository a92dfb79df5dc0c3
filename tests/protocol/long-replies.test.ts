// Long replies take turns. Sixteen peers that asked for pages of a large directory and read none had the metadata server make
// hundreds of pages in one turn of its event loop: others waited for ten seconds, and it grew to 528 MiB. The same after somebody
// had listed empty directories for a while, so that listings seemed to be short: 918 MiB. Then those who opened a file waited in
// one line with those who asked for the blocks that a stopped data server holds: 30 s, until that was given up.

import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { DfsError } from "../../src/base/errors.ts";
import { MAX_REQUESTS_IN_FLIGHT } from "../../src/base/limits.ts";
import { encodeHead, FRAME_KINDS } from "../../src/protocol/cbor.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import {
  Line,
  LONG_REPLIES_AT_ONCE,
  LONG_REPLY_BYTES,
  mayBeLong,
  UNSURE_REPLIES_AT_ONCE,
} from "../../src/protocol/long-replies.ts";
import { request } from "../../src/protocol/message.ts";
import { hello } from "../../src/protocol/messages/hello.ts";
import { readdir } from "../../src/protocol/messages/namespace.ts";
import { sessionHeartbeat } from "../../src/protocol/messages/session.ts";
import { list, record, text, uint } from "../../src/protocol/schema.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import {
  connectTo,
  echo,
  eventually,
  failureOf,
  framed,
  helloBody,
  listenFor,
  RawPeer,
  TIMEOUT_MS,
} from "./support.ts";

const PEERS = 8;
const REQUESTS = 10;
const options = { timeoutMs: TIMEOUT_MS };
const asking = record({ peer: uint() });
const lines = record({ lines: list(text(1000), 1000) });
const page = request(0xf005, "test.page", asking, lines);
const count = request(0xf006, "test.count", asking, lines);

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

/** A line of a few places, with those who want one and what they have begun. */
function lineOf(places: number) {
  const deferred: (() => void)[] = [];
  const line = new Line(places, (callback) => deferred.push(callback));
  const begun: string[] = [];
  const waiter = (name: string) => ({
    handleParked() {
      if (line.take(this)) begun.push(name);
    },
  });
  const nextTurn = (): void => {
    for (const call of deferred.splice(0)) call();
  };
  return { line, begun, waiter, nextTurn };
}

test("a connection that ends gives its turns back and its place in the line", () => {
  const { line, begun, waiter, nextTurn } = lineOf(4);
  const [first, gone, next] = [waiter("first"), waiter("gone"), waiter("next")];
  for (let number = 0; number < 4; number++) first.handleParked();
  gone.handleParked();
  next.handleParked();
  expect(begun).toHaveLength(4);
  line.forget(gone);
  line.ended(LONG_REPLY_BYTES);
  first.handleParked(); // not its turn
  nextTurn();
  expect(begun.slice(4)).toEqual(["next"]);
  line.ended(LONG_REPLY_BYTES);
  nextTurn();
  expect(begun.slice(4)).toEqual(["next", "first"]);
});

test("the place of a long reply is free in the next turn of the event loop, that of a short one at once", async () => {
  const { line, begun, waiter, nextTurn } = lineOf(1);
  const only = waiter("only");
  only.handleParked();
  line.ended(LONG_REPLY_BYTES);
  only.handleParked();
  await Promise.resolve();
  expect(begun).toHaveLength(1);
  nextTurn();
  expect(begun).toHaveLength(2);
  only.handleParked();
  line.ended(LONG_REPLY_BYTES - 1);
  await Promise.resolve();
  expect(begun).toHaveLength(3);
});

test("of those that can be long and were short until now not many are begun before that is seen", async () => {
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const going: (() => void)[] = [];
  let lines = 1;
  const handlers = new HandlerTable();
  handlers.onRequest(page, async () => {
    if (lines > 1) await new Promise<void>((resolve) => going.push(resolve));
    return { body: { lines: Array.from({ length: lines }, () => "x".repeat(1000)) } };
  });
  const listener = await listenFor({ transport, handlers });
  const peers = await Promise.all(
    Array.from({ length: PEERS }, () => connectTo(listener.address, { transport })),
  );
  for (let number = 0; number < 100; number++) await peers[0]!.request(page, { peer: 0 }, options);
  lines = 100;
  const asked = peers.flatMap((peer, number) =>
    Array.from({ length: REQUESTS }, () => peer.request(page, { peer: number }, options)),
  );
  await eventually(() => going.length === UNSURE_REPLIES_AT_ONCE, "the first are being made");
  for (const each of going.splice(0)) each();
  const most: number[] = [];
  let answered = 0;
  for (const each of asked) void each.then(() => answered++);
  while (answered < asked.length) {
    await eventually(() => going.length > 0 || answered === asked.length, "the next are made");
    most.push(going.length);
    for (const each of going.splice(0)) each();
  }
  expect(Math.max(...most)).toBe(LONG_REPLIES_AT_ONCE);
});

test("nobody waits behind a handler that waits for something to happen", async () => {
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const { promise, resolve } = Promise.withResolvers<void>();
  const handlers = new HandlerTable();
  let begun = 0;
  const wait = async () => {
    begun++;
    await promise;
    return { body: { lines: [] } };
  };
  handlers.onRequest(page, wait, { turns: "none" });
  const listener = await listenFor({ transport, handlers });
  const peer = await connectTo(listener.address, { transport });
  const asked = Array.from({ length: 2 * LONG_REPLIES_AT_ONCE }, () =>
    peer.request(page, { peer: 0 }, options),
  );
  await eventually(() => begun === asked.length, "all are begun");
  resolve();
  await Promise.all(asked);
});

test("a handler that waits for others holds up its own kind alone", async () => {
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const { promise, resolve } = Promise.withResolvers<void>();
  const handlers = new HandlerTable();
  handlers.onRequest(page, async () => ({ body: { lines: [] } }));
  let begun = 0;
  const counting = async () => {
    if (++begun > 1) await promise;
    return { body: { lines: [] } };
  };
  handlers.onRequest(count, counting, { turns: "own" });
  const listener = await listenFor({ transport, handlers });
  const peers = await Promise.all(
    Array.from({ length: PEERS }, () => connectTo(listener.address, { transport })),
  );
  for (const definition of [page, count]) await peers[0]!.request(definition, { peer: 0 }, options);
  const asked = peers.flatMap((peer) =>
    Array.from({ length: REQUESTS }, () => peer.request(count, { peer: 0 }, options)),
  );
  await eventually(() => begun === 1 + UNSURE_REPLIES_AT_ONCE, "the first are being made");
  await peers.at(-1)!.request(page, { peer: 0 }, options);
  expect(begun).toBe(1 + UNSURE_REPLIES_AT_ONCE);
  resolve();
  await Promise.all(asked);
});

test("what waits is not handled any more when its connection ends while others of it are answered", async () => {
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const held: (() => void)[] = [];
  const made = [0, 0];
  const handlers = new HandlerTable();
  handlers.onRequest(page, ({ body }) => {
    made[body.peer]!++;
    const reply = { body: { lines: [] } };
    if (body.peer === 1 || held.length === LONG_REPLIES_AT_ONCE) return reply;
    return new Promise<typeof reply>((resolve) => held.push(() => resolve(reply)));
  });
  handlers.onRequest(count, () => new Promise(() => undefined), { turns: "none" });
  const listener = await listenFor({ transport, handlers });
  const other = await connectTo(listener.address, { transport });
  const raw = await RawPeer.open(transport, listener.address);
  await raw.ask(1, hello, helloBody);
  const ask = (id: number, { code }: { code: number } = page): Uint8Array =>
    framed(encodeHead(FRAME_KINDS.request, id, code, asking.encode({ peer: 0 })));
  // Of these as many are read as may be without an answer. When two are answered, a number is read a second time.
  const ids = Array.from({ length: MAX_REQUESTS_IN_FLIGHT }, (_, at) => 2 + at);
  const last = ids.at(-1)!;
  raw.send(Buffer.concat([...ids.map((id) => ask(id)), ask(last + 1, count), ask(last)]));
  await eventually(() => held.length === LONG_REPLIES_AT_ONCE, "the first are being made");
  held[0]!();
  await eventually(() => raw.ended, "the connection ends");
  for (let number = 0; number < 5; number++) await other.request(page, { peer: 1 }, options);
  expect(made[0]).toBe(LONG_REPLIES_AT_ONCE + 1);
});

test("an answer that cannot be made ends its connection alone, which gives its turns back", async () => {
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const unsayable = Object.create(null) as string; // nothing makes a text of it
  const handlers = new HandlerTable();
  handlers.onRequest(page, async ({ body }) => {
    if (body.peer === 0) throw new DfsError("invalid", "no", { details: { unsayable } });
    return { body: { lines: ["x"] } };
  });
  const listener = await listenFor({ transport, handlers });
  const [broken, other] = [
    await connectTo(listener.address, { transport }),
    await connectTo(listener.address, { transport }),
  ];
  const asked = Array.from({ length: 3 * LONG_REPLIES_AT_ONCE }, () =>
    failureOf(broken.request(page, { peer: 0 }, options)),
  );
  for (const each of await Promise.all(asked)) expect(each.kind).toBe("unreachable");
  expect((await other.request(page, { peer: 1 }, options)).body.lines).toEqual(["x"]);
});

test("what can be long is told by its schema, before there was one", () => {
  expect(mayBeLong(readdir.reply.shape)).toBe(true);
  expect(mayBeLong(sessionHeartbeat.reply.shape)).toBe(false);
});
