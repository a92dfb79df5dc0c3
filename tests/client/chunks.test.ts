import { describe, expect, test } from "bun:test";
import type { ContentRun } from "../../src/client/api.ts";
import { ChunkReader, type Content } from "../../src/client/chunks.ts";
import { MAX_FILE_BYTES } from "../../src/base/limits.ts";
import { seededRandom } from "../../src/base/random.ts";
import { failureOf } from "../support/failure.ts";

async function allChunks(content: Content, blockSize: number) {
  const reader = new ChunkReader(content, blockSize);
  const chunks: { offset: number; bytes: number[] }[] = [];
  for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) {
    chunks.push({ offset: chunk.offset, bytes: [...chunk.bytes] });
  }
  return { chunks, size: reader.size };
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe("ChunkReader", () => {
  test("an empty content has no chunks", async () => {
    expect(await allChunks([], 8)).toEqual({ chunks: [], size: 0 });
    expect(await allChunks([new Uint8Array(0)], 8)).toEqual({ chunks: [], size: 0 });
  });

  test("one run is cut at multiples of the block size", async () => {
    const { chunks, size } = await allChunks([bytes(1, 2, 3, 4, 5, 6, 7)], 3);
    expect(size).toBe(7);
    expect(chunks).toEqual([
      { offset: 0, bytes: [1, 2, 3] },
      { offset: 3, bytes: [4, 5, 6] },
      { offset: 6, bytes: [7] },
    ]);
  });

  test("runs that share a block are joined", async () => {
    const { chunks } = await allChunks([bytes(1), bytes(2), bytes(3, 4, 5), bytes(6)], 4);
    expect(chunks).toEqual([
      { offset: 0, bytes: [1, 2, 3, 4] },
      { offset: 4, bytes: [5, 6] },
    ]);
  });

  test("holes end a chunk and cost nothing; what follows may begin in the middle of a block", async () => {
    const content: ContentRun[] = [
      bytes(1),
      { holeBytes: 4 },
      bytes(2, 3),
      { holeBytes: 100 },
      bytes(4),
      { holeBytes: 3 },
    ];
    const { chunks, size } = await allChunks(content, 3);
    expect(size).toBe(111);
    expect(chunks).toEqual([
      { offset: 0, bytes: [1] },
      { offset: 5, bytes: [2] },
      { offset: 6, bytes: [3] },
      { offset: 107, bytes: [4] },
    ]);
  });

  test("a run that fills a block is passed on uncopied", async () => {
    const run = new Uint8Array(64);
    const reader = new ChunkReader([run], 16);
    for (let index = 0; index < 4; index++) {
      const chunk = await reader.next();
      expect(chunk?.bytes.buffer).toBe(run.buffer);
      expect(chunk?.bytes.byteOffset).toBe(16 * index);
    }
  });

  test("random runs and holes come out as they went in", async () => {
    const seed = 20;
    const random = seededRandom(seed);
    for (let round = 0; round < 200; round++) {
      const blockSize = 1 + random.below(40);
      const runs: ContentRun[] = [];
      const image: number[] = [];
      for (let each = random.below(20); each > 0; each--) {
        const length = random.below(60);
        if (random.below(4) === 0) {
          runs.push({ holeBytes: length });
          image.push(...Array<number>(length).fill(0));
        } else {
          const run = random.bytes(length).map((byte) => byte | 1);
          runs.push(run);
          image.push(...run);
        }
      }
      const { chunks, size } = await allChunks(runs, blockSize);
      expect(size).toBe(image.length);
      const rebuilt = Array<number>(size).fill(0);
      for (const { offset, bytes } of chunks) {
        expect(bytes.length).toBeGreaterThan(0);
        expect(Math.floor(offset / blockSize)).toBe(
          Math.floor((offset + bytes.length - 1) / blockSize),
        );
        bytes.forEach((byte, at) => (rebuilt[offset + at] = byte));
      }
      expect(rebuilt, `seed ${seed}, round ${round}`).toEqual(image);
    }
  });

  test("an async source is told when no more is wanted", async () => {
    let ended = false;
    async function* source() {
      try {
        for (;;) yield bytes(1, 2, 3);
      } finally {
        ended = true;
      }
    }
    const reader = new ChunkReader(source(), 2);
    await reader.next();
    await reader.close();
    expect(ended).toBe(true);
  });

  test("refuses lengths that are none, and files beyond the largest", async () => {
    const reads = (run: ContentRun) => allChunks([run], 8);
    expect(await failureOf(reads({ holeBytes: -1 }))).toMatchObject({ kind: "invalid" });
    expect(await failureOf(reads({ holeBytes: 1.5 }))).toMatchObject({ kind: "invalid" });
    const tooBig = allChunks([{ holeBytes: MAX_FILE_BYTES }, bytes(1)], 8);
    expect(await failureOf(tooBig)).toMatchObject({ kind: "fileTooBig" });
  });
});
