import { describe, expect, test } from "bun:test";
import { isDfsError } from "../../src/base/errors.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import { framed, patterned, randomFor } from "./support.ts";

const LIMIT = 100_000;

/** Three frames of different lengths behind each other. */
const BODIES = [patterned(1, 1), patterned(300, 2), patterned(7, 3)];
const STREAM = Buffer.concat(BODIES.map((body) => framed(body)));

function collect(limit = LIMIT): { parser: FrameParser; frames: Buffer[] } {
  const frames: Buffer[] = [];
  const parser = new FrameParser(limit, (buffer, start, end) => {
    frames.push(Buffer.from(buffer.slice(start, end)));
  });
  return { parser, frames };
}

function expectBodies(frames: Buffer[]): void {
  expect(frames.map((frame) => frame.toString("hex"))).toEqual(
    BODIES.map((body) => Buffer.from(body).toString("hex")),
  );
}

/** Takes the next bytes of `rest` straight into memory, at most `most` at a time. */
function receiverOf(rest: Uint8Array, most: number) {
  let taken = 0;
  const receive = (target: Uint8Array, offset: number): number => {
    const part = rest.subarray(taken, taken + Math.min(most, target.length - offset));
    target.set(part, offset);
    taken += part.length;
    return part.length;
  };
  return { receive, taken: () => taken };
}

describe("FrameParser", () => {
  test("completes a frame that has begun with bytes that are put into its memory, and takes those behind it", () => {
    const long = patterned(LIMIT, 4);
    const stream = Buffer.concat([framed(BODIES[0]!), framed(long), framed(BODIES[2]!)]);
    const end = stream.length - framed(BODIES[2]!).length;
    for (const cut of [0, 3, 5, 6, 8, 9, 10, 500, end - 1, end]) {
      const { parser, frames } = collect();
      parser.push(stream.subarray(0, cut));
      const { receive, taken } = receiverOf(stream.subarray(cut), 30_001);
      const isInside = cut >= 9 && cut < end; // of the long one, behind its length
      expect(parser.fill(receive)).toBe(isInside ? stream.length - cut : 0);
      expect(taken()).toBe(isInside ? stream.length - cut : 0);
      parser.push(stream.subarray(cut + taken()));
      expect(frames.map((frame) => Bun.hash(frame))).toEqual(
        [BODIES[0]!, long, BODIES[2]!].map((body) => Bun.hash(body)),
      );
    }
  });

  test("takes whole frames straight into memory behind a long one, cut anywhere, and ends after some", () => {
    const bodies = [4, 70_000, 5, 100_000, 1, 99_999].map((length, seed) =>
      patterned(length, seed),
    );
    const stream = Buffer.concat(bodies.map((body) => framed(body)));
    const start = framed(bodies[0]!).length + 10; // inside the first long one
    for (const most of [1, 3, 4, 5, 1000, 1 << 20]) {
      const { parser, frames } = collect();
      parser.push(stream.subarray(0, start));
      const { receive } = receiverOf(stream.subarray(start), most);
      expect(parser.fill(receive)).toBe(stream.length - start);
      expect(frames.map((frame) => Bun.hash(frame))).toEqual(bodies.map((body) => Bun.hash(body)));
      expect(parser.insideFrame).toBe(false);
    }
    const { parser } = collect();
    parser.push(stream.subarray(0, start));
    const endless = (target: Uint8Array, offset: number): number => {
      if (target.length === 4) target.set([0, 1, 0, 0].slice(offset), offset);
      return target.length - offset;
    };
    expect(parser.fill(endless)).toBeLessThan(5 * 1024 * 1024);
  });

  test("refuses a length that it takes straight, as any other", () => {
    const { parser } = collect();
    parser.push(framed(patterned(LIMIT, 4)).subarray(0, 10));
    const { receive } = receiverOf(
      Buffer.concat([patterned(LIMIT, 4).subarray(6), Uint8Array.of(0, 1, 0x86, 0xa1)]), // 100,001
      1 << 20,
    );
    expect(() => parser.fill(receive)).toThrow("the peer sent a frame length of 100001 bytes");
  });

  test("takes nothing straight into memory while it is paused, has stopped, or holds bytes back", () => {
    const stream = framed(patterned(LIMIT, 4));
    const { parser, frames } = collect();
    parser.push(stream.subarray(0, 100));
    parser.pause();
    const never = (): number => {
      throw new Error("was asked for bytes");
    };
    expect(parser.fill(never)).toBe(0);
    parser.push(stream.subarray(100, 200)); // kept
    expect(parser.fill(never)).toBe(0);
    parser.resume();
    expect(parser.fill(receiverOf(stream.subarray(200), 1 << 20).receive)).toBe(
      stream.length - 200,
    );
    expect(frames).toHaveLength(1);
    parser.push(stream.subarray(0, 100));
    parser.stop();
    expect(parser.fill(never)).toBe(0);
  });

  test("finds the frames of a stream that arrives whole", () => {
    const { parser, frames } = collect();
    parser.push(STREAM);
    expectBodies(frames);
    expect(parser.insideFrame).toBe(false);
  });

  test("finds the same frames wherever the stream is cut in two", () => {
    for (let cut = 0; cut <= STREAM.length; cut++) {
      const { parser, frames } = collect();
      parser.push(STREAM.subarray(0, cut));
      parser.push(STREAM.subarray(cut));
      expectBodies(frames);
    }
  });

  test("finds the same frames byte by byte, and says when it is inside one", () => {
    const { parser, frames } = collect();
    for (const [index, byte] of STREAM.entries()) {
      parser.push(Uint8Array.of(byte));
      const ends = [5, 5 + 304, STREAM.length];
      expect(parser.insideFrame).toBe(!ends.includes(index + 1));
    }
    expectBodies(frames);
  });

  test("finds the same frames in chunks of random lengths", () => {
    const random = randomFor("frame parser, random chunks");
    for (let round = 0; round < 200; round++) {
      const { parser, frames } = collect();
      for (let at = 0; at < STREAM.length;) {
        const length = 1 + random.below(40);
        parser.push(STREAM.subarray(at, at + length));
        at += length;
      }
      expectBodies(frames);
    }
  });

  test("refuses a length over the limit or of 0 as soon as it is complete, before allocating", () => {
    for (const length of [0, LIMIT + 1, 0x7fffffff, 0xffffffff]) {
      const prefix = new Uint8Array(4);
      new DataView(prefix.buffer).setUint32(0, length);
      for (const cut of [0, 3]) {
        const { parser, frames } = collect();
        const before = process.memoryUsage().arrayBuffers;
        let thrown: unknown;
        try {
          parser.push(prefix.subarray(0, cut));
          parser.push(prefix.subarray(cut));
        } catch (error) {
          thrown = error;
        }
        expect(isDfsError(thrown, "protocol")).toBe(true);
        expect(String(thrown)).toContain(String(length));
        expect(frames).toEqual([]);
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(LIMIT);
      }
    }
  });

  test("takes a frame of exactly the limit, and follows a limit that changes between frames", () => {
    const frames: number[] = [];
    const parser = new FrameParser(10, (_buffer, start, end) => {
      frames.push(end - start);
      parser.limit = 20;
    });
    parser.push(Buffer.concat([framed(patterned(10)), framed(patterned(20))]));
    expect(frames).toEqual([10, 20]);
    expect(() => parser.push(framed(patterned(21)))).toThrow("1 to 20 are allowed");
  });

  test("hands out nothing while paused, and goes on exactly there, even when paused by a frame", () => {
    const frames: number[] = [];
    const parser = new FrameParser(LIMIT, (_buffer, start, end) => {
      frames.push(end - start);
      parser.pause();
    });
    parser.push(STREAM.subarray(0, 100));
    parser.push(STREAM.subarray(100));
    expect(frames).toEqual([1]);
    expect(parser.insideFrame).toBe(true);
    parser.resume();
    expect(frames).toEqual([1, 300]);
    parser.resume();
    expect(frames).toEqual([1, 300, 7]);
    parser.resume();
    expect(parser.insideFrame).toBe(false);
  });

  test("hands out nothing after stop, even to the rest of the chunk at hand", () => {
    const frames: number[] = [];
    const parser = new FrameParser(LIMIT, (_buffer, start, end) => {
      frames.push(end - start);
      parser.stop();
    });
    parser.push(STREAM);
    parser.push(STREAM);
    expect(frames).toEqual([1]);
  });
});
