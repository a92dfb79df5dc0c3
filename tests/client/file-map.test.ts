import { describe, expect, test } from "bun:test";
import { blockId, serverId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { FileMap, type MapPage, type Segment } from "../../src/client/file-map.ts";
import type { MappedExtent } from "../../src/protocol/messages/common.ts";

function extent(offset: number, length: number): MappedExtent {
  return {
    offset,
    length,
    block: blockId(BigInt(offset + 1)),
    blockOffset: 0,
    blockLength: length,
    checksum: 0n,
    servers: [serverId(1)],
  };
}

/** A service that holds these extents and gives pages of `most`, or of what is asked for. */
function service(extents: MappedExtent[], most = Infinity) {
  const state = { extents, version: 1n, asked: [] as number[], limits: [] as number[] };
  const fetch = (offset: number, asked: number): Promise<MapPage> => {
    const limit = Math.min(most, asked);
    state.asked.push(offset);
    state.limits.push(asked);
    const overlapping = state.extents.filter((each) => each.offset + each.length > offset);
    const size = state.extents.reduce((end, each) => Math.max(end, each.offset + each.length), 0);
    return Promise.resolve({
      version: state.version,
      size,
      extents: overlapping.slice(0, limit),
      more: overlapping.length > limit,
    });
  };
  return { state, map: new FileMap(fetch) };
}

async function walk(map: FileMap, offset: number, length: number): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (let at = offset; at < offset + length;) {
    for (const segment of await map.segments(at, offset + length - at)) {
      expect(segment.offset).toBe(at);
      expect(segment.length).toBeGreaterThan(0);
      segments.push(segment);
      at += segment.length;
    }
  }
  return segments;
}

const shape = (segments: Segment[]): string =>
  segments
    .map(({ offset, length, extent: data }) => `${data ? "d" : "h"}${offset}+${length}`)
    .join(" ");

describe("FileMap", () => {
  test("names extents and holes, cut to the range", async () => {
    const { map } = service([extent(0, 10), extent(20, 10), extent(30, 5)], 100);
    expect(shape(await walk(map, 0, 50))).toBe("d0+10 h10+10 d20+10 d30+5 h35+15");
    expect(shape(await walk(map, 5, 20))).toBe("d5+5 h10+10 d20+5");
    expect(shape(await walk(map, 12, 3))).toBe("h12+3");
  });

  test("an empty file is one hole, asked for once", async () => {
    const { map, state } = service([], 100);
    expect(shape(await walk(map, 3, 7))).toBe("h3+7");
    expect(shape(await walk(map, 100, 7))).toBe("h100+7");
    expect(state.asked).toEqual([3]);
  });

  test("fetches page by page and keeps what it has", async () => {
    const extents = Array.from({ length: 10 }, (_, index) => extent(index * 10, 10));
    const { map, state } = service(extents, 3);
    expect((await walk(map, 0, 100)).length).toBe(10);
    expect(state.asked).toEqual([0, 30, 60, 90]);
    await walk(map, 0, 100);
    expect(state.asked.length).toBe(4);
  });

  test("a far place starts a new window; an extent over the border is found", async () => {
    const extents = Array.from({ length: 10 }, (_, index) => extent(index * 10, 10));
    const { map, state } = service(extents, 2);
    expect(shape(await walk(map, 55, 5))).toBe("d55+5");
    expect(shape(await walk(map, 5, 10))).toBe("d5+5 d10+5");
    expect(state.asked).toEqual([55, 5]);
  });

  test("pages are small where reading jumps, and grow where it goes on", async () => {
    const extents = Array.from({ length: 6000 }, (_, index) => extent(index * 10, 10));
    const { map, state } = service(extents);
    await map.segments(50_000, 10);
    await map.segments(30_000, 10);
    expect(state.limits).toEqual([64, 64]);
    expect((await walk(map, 0, 30_000)).length).toBe(3000);
    expect(state.limits.slice(2)).toEqual([64, 64, 128, 256, 512, 1024, 2048]);
  });

  test("what was read here and there is kept, and grows together", async () => {
    const extents = Array.from({ length: 1000 }, (_, index) => extent(index * 10, 10));
    const { map, state } = service(extents);
    for (const at of [7000, 100, 5000, 105, 5639, 7000, 2000]) await map.segments(at, 1);
    expect(state.asked).toEqual([7000, 100, 5000, 2000]);
    expect((await walk(map, 0, 10_000)).length).toBe(1000);
    const asked = state.asked.length;
    expect((await walk(map, 0, 10_000)).length).toBe(1000);
    expect(state.asked.length).toBe(asked);
  });

  test("a page between two windows that reaches into the second joins them", async () => {
    const extents = Array.from({ length: 200 }, (_, index) => extent(index * 20, 10));
    const { map, state } = service(extents);
    for (const at of [0, 2000, 1270]) await map.segments(at, 1);
    expect(state.asked).toEqual([0, 2000, 1270]);
    const known = await map.segments(0, 3270);
    expect(shape(known)).toBe(
      extents
        .slice(0, 164)
        .map(({ offset }) => (offset === 0 ? "d0+10" : `h${offset - 10}+10 d${offset}+10`))
        .join(" "),
    );
    expect(state.asked.length).toBe(3);
  });

  test("when there are too many extents the last page is kept", async () => {
    const extents = Array.from({ length: 12_000 }, (_, index) => extent(index * 10, 10));
    const { map, state } = service(extents);
    expect((await walk(map, 0, 120_000)).length).toBe(12_000);
    const asked = state.asked.length;
    await map.segments(119_990, 10);
    expect(state.asked.length).toBe(asked);
    await map.segments(0, 10);
    expect(state.asked.length).toBe(asked + 1);
  });

  test("random reads of a file that is changed at times tell what is there", async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const anew = (): MappedExtent[] =>
      Array.from({ length: 400 }, (_, index) => extent(index * 10, 1 + random.below(10))).filter(
        () => random.below(4) > 0,
      );
    const { map, state } = service(anew(), 30);
    for (let round = 0; round < 2000; round++) {
      if (random.below(100) === 0) {
        state.extents = anew();
        state.version++;
        if (random.below(2) === 0) map.forget();
        else map.forgetUnless(state.version);
      }
      const at = random.below(4000);
      for (const { offset, length, extent: found } of await walk(map, at, 1 + random.below(300))) {
        const there = state.extents.filter(
          (each) => each.offset < offset + length && each.offset + each.length > offset,
        );
        expect(there).toEqual(found === undefined ? [] : [found]);
      }
    }
  });

  test("a page of another version replaces the window", async () => {
    const { map, state } = service([extent(0, 10), extent(10, 10)], 1);
    await map.segments(0, 5);
    state.version = 2n;
    state.extents = [extent(10, 10)];
    await map.segments(10, 5);
    expect(shape(await map.segments(0, 5))).toBe("h0+5");
    expect(state.asked).toEqual([0, 10, 0]);
  });

  test("a page on its way when the map is forgotten is not kept", async () => {
    let answer: ((page: MapPage) => void) | undefined;
    const pages: Promise<MapPage>[] = [new Promise((resolve) => (answer = resolve))];
    const later: MapPage = { version: 2n, size: 10, extents: [], more: false };
    const map = new FileMap(() => pages.shift() ?? Promise.resolve(later));
    const early = map.segments(0, 10);
    map.forget();
    const fresh = await map.segments(0, 10);
    expect(shape(fresh)).toBe("h0+10");
    answer?.({ version: 1n, size: 10, extents: [extent(0, 10)], more: false });
    expect(shape(await early)).toBe("d0+10");
    expect(shape(await map.segments(0, 10))).toBe("h0+10");
  });

  test("callers that come while a page is on its way share it", async () => {
    const { map, state } = service([extent(0, 10)], 100);
    await Promise.all([map.segments(0, 5), map.segments(0, 5), map.segments(0, 5)]);
    expect(state.asked).toEqual([0]);
  });

  test("a seeded page answers without asking", async () => {
    const { map, state } = service([], 100);
    map.seed(0, { version: 5n, size: 10, extents: [extent(0, 10)], more: false });
    expect(shape(await map.segments(0, 20))).toBe("d0+10 h10+10");
    map.forgetUnless(5n);
    await map.segments(0, 1);
    expect(state.asked).toEqual([]);
    map.forgetUnless(6n);
    await map.segments(0, 1);
    expect(state.asked).toEqual([0]);
  });
});
