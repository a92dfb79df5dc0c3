// The memory of long frames: used again when its owner has given it back, and not a moment sooner.

import { describe, expect, spyOn, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { FrameMemory, frameMemory } from "../../src/protocol/frame-memory.ts";
import { FrameParser, LENGTH_BYTES } from "../../src/protocol/frame.ts";
import { request } from "../../src/protocol/message.ts";
import { bytes, record } from "../../src/protocol/schema.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { connectTo, listenFor, TIMEOUT_MS } from "./support.ts";

const LONG = 200_000;

/** A frame of `length` bytes of one value, cut into two chunks so that it needs memory of its own. */
function chunksOf(length: number, value: number): Uint8Array[] {
  const frame = new Uint8Array(LENGTH_BYTES + length).fill(value, LENGTH_BYTES);
  new DataView(frame.buffer).setUint32(0, length);
  return [frame.slice(0, 1000), frame.slice(1000)];
}

interface Taken {
  readonly buffer: Uint8Array;
  readonly bytes: Uint8Array;
}

function parser(): { readonly receive: (length: number, value: number) => Taken } {
  const taken: Taken[] = [];
  const made = new FrameParser(2 ** 24, (buffer, start, end) => {
    taken.push({ buffer, bytes: buffer.subarray(start, end) });
  });
  return {
    receive: (length, value) => {
      for (const chunk of chunksOf(length, value)) made.push(chunk);
      return taken.at(-1)!;
    },
  };
}

const isAll = ({ bytes }: Taken, length: number, value: number): boolean =>
  bytes.length === length && bytes.every((byte) => byte === value);

describe("FrameParser", () => {
  test("gives each frame memory that no other one has, until it is given back", () => {
    const { receive } = parser();
    const frames = [1, 2, 3].map((value) => receive(LONG, value));
    expect(frames.every((frame, at) => isAll(frame, LONG, at + 1))).toBe(true);
    frameMemory.giveBack(frames[1]!.buffer);
    const next = receive(LONG, 4);
    expect(next.buffer).toBe(frames[1]!.buffer);
    expect(isAll(frames[0]!, LONG, 1) && isAll(frames[2]!, LONG, 3)).toBe(true);
    expect(isAll(next, LONG, 4)).toBe(true);
  });

  test("a frame in the memory of a longer one has its own length", () => {
    const { receive } = parser();
    const first = receive(LONG, 1);
    frameMemory.giveBack(first.buffer);
    const shorter = receive(LONG - 100, 2);
    expect(shorter.buffer).toBe(first.buffer);
    expect(isAll(shorter, LONG - 100, 2)).toBe(true);
    frameMemory.giveBack(shorter.buffer);
  });
});

test("the memory of a request without bulk bytes is free as soon as it is handled: its body was copied", async () => {
  const question = request(0xf007, "test.long", record({ text: bytes(LONG) }), record({}));
  const transport = memoryNetwork({ clock: systemClock }).transport();
  const handlers = new HandlerTable();
  const { promise: begun, resolve } = Promise.withResolvers<readonly number[]>();
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const givenBack = spyOn(frameMemory, "giveBack");
  handlers.onRequest(question, async () => {
    resolve(givenBack.mock.calls.map(([buffer]) => buffer.length));
    await over;
    return { body: {} };
  });
  const listener = await listenFor({ transport, handlers });
  const peer = await connectTo(listener.address, { transport });
  const asked = peer.request(question, { text: new Uint8Array(LONG) }, { timeoutMs: TIMEOUT_MS });
  expect((await begun).some((length) => length >= LONG)).toBe(true);
  givenBack.mockRestore();
  end();
  await asked;
});

describe("FrameMemory", () => {
  test("when its stock is full, memory of lengths that are not in use any more makes room", () => {
    const memory = new FrameMemory();
    const MIB = 2 ** 20;
    const lent = (size: number, count: number): Uint8Array[] =>
      Array.from({ length: count }, () => memory.take(size));
    const old = lent(MIB, 31);
    const small = lent(MIB / 2, 2);
    for (const buffer of [...old, ...small]) memory.giveBack(buffer); // 32 MiB
    const now = lent(2 * MIB, 3);
    for (const buffer of now) memory.giveBack(buffer);
    expect(new Set(lent(2 * MIB, 3))).toEqual(new Set(now));
    expect(new Set(lent(MIB / 2, 2))).toEqual(new Set(small));
    const kept = lent(MIB, 31).filter((buffer) => old.includes(buffer));
    expect(kept.length).toBe(25);
  });

  test("gives nothing out twice, though it is given back twice", () => {
    const memory = new FrameMemory();
    const buffer = memory.take(LONG);
    memory.giveBack(buffer);
    memory.giveBack(buffer);
    expect(memory.take(LONG)).toBe(buffer);
    expect(memory.take(LONG)).not.toBe(buffer);
  });

  test("a releaser works once: what somebody else has by then is not taken from them", () => {
    const memory = new FrameMemory();
    const buffer = memory.take(LONG);
    const release = memory.releaserOf(buffer);
    release();
    expect(memory.take(LONG)).toBe(buffer);
    release();
    expect(memory.take(LONG)).not.toBe(buffer);
  });

  test("does not take what is not its own, nor short buffers", () => {
    const memory = new FrameMemory();
    const foreign = new Uint8Array(196_608 + 65_536);
    memory.giveBack(foreign);
    expect(memory.take(foreign.length)).not.toBe(foreign);
    const short = memory.take(1000);
    expect(short.length).toBe(1000);
    memory.giveBack(short);
    expect(memory.take(1000)).not.toBe(short);
  });

  test("keeps 32 MiB idle at most", () => {
    const memory = new FrameMemory();
    const mib = 1024 * 1024;
    const buffers = Array.from({ length: 40 }, () => memory.take(mib));
    for (const buffer of buffers) memory.giveBack(buffer);
    const again = new Set(Array.from({ length: 40 }, () => memory.take(mib)));
    expect(buffers.filter((buffer) => again.has(buffer)).length).toBe(32);
  });
});
