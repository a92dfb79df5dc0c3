/**
 * Where the bytes of one file are: windows of its extents, fetched page by page and kept.
 *
 * A page is small where reading jumps and grows where it goes on: every extent of a page costs the service work, and a program
 * that reads here and there in a file of many small extents needs one of them.
 *
 * Invariants
 * - A window is one range of the file of which every extent is known; the extents in it are sorted.
 * - Windows are sorted, do not touch one another, and are all of one version of the file. A page of another version replaces them.
 * - `forget` also voids pages that are on their way: what is asked for afterwards never comes from before.
 */
import { MAX_EXTENTS_PER_MESSAGE, MAX_FILE_BYTES } from "../base/limits.ts";
import type { MappedExtent } from "../protocol/messages/common.ts";

/** Extents kept. A page that takes them beyond is kept alone. */
const MAX_KEPT_EXTENTS = 8192;

/** Extents asked for where reading jumps to. */
const FIRST_PAGE_EXTENTS = 64;

/** A page of a file's map, as the service sends it. */
export interface MapPage {
  readonly version: bigint;
  readonly size: number;
  readonly extents: readonly MappedExtent[];
  /** True when extents may follow behind the last one. */
  readonly more: boolean;
}

/** A part of a file: a range of a block, or a hole. */
export interface Segment {
  /** Offset in the file. */
  readonly offset: number;
  readonly length: number;
  /** Undefined: a hole. */
  readonly extent: MappedExtent | undefined;
}

/** Fetches the extents from `offset` to the end of the file, at most `limit` of them. */
export type PageFetcher = (offset: number, limit: number) => Promise<MapPage>;

interface Window {
  readonly start: number;
  readonly end: number;
  readonly extents: readonly MappedExtent[];
}

export class FileMap {
  private readonly fetch: PageFetcher;
  private windows: readonly Window[] = [];
  private version: bigint | undefined;
  private generation = 0;
  private arriving: { readonly offset: number; readonly page: Promise<MapPage> } | undefined;

  constructor(fetch: PageFetcher) {
    this.fetch = fetch;
  }

  /** Puts a page in that came from elsewhere: with the reply to `open`. */
  seed(offset: number, page: MapPage): void {
    this.keep(windowOf(offset, page), page.version);
  }

  /** Drops everything known, because the file has changed or may have. */
  forget(): void {
    this.windows = [];
    this.version = undefined;
    this.arriving = undefined;
    this.generation++;
  }

  /** Drops everything unless it is of this version. */
  forgetUnless(version: bigint): void {
    if (this.version !== version) this.forget();
  }

  /**
   * The segments from `offset` on, without gaps, of `length` bytes together or less: as far as one page tells.
   * At least one segment; `length` is at least 1.
   */
  async segments(offset: number, length: number): Promise<Segment[]> {
    const known = this.windows.find(({ start, end }) => offset >= start && offset < end);
    if (known !== undefined) return cutSegments(known, offset, length);
    const generation = this.generation;
    const page = await this.page(offset);
    const fresh = windowOf(offset, page);
    if (generation === this.generation) this.keep(fresh, page.version);
    return cutSegments(fresh, offset, length);
  }

  /** One request at a time for the same place. */
  private page(offset: number): Promise<MapPage> {
    if (this.arriving?.offset === offset) return this.arriving.page;
    const arriving = { offset, page: this.fetch(offset, this.pageExtents(offset)) };
    this.arriving = arriving;
    const done = (): void => {
      if (this.arriving === arriving) this.arriving = undefined;
    };
    arriving.page.then(done, done);
    return arriving.page;
  }

  /** As many as are known right before the place, so that what is read from end to end takes few pages. */
  private pageExtents(offset: number): number {
    const before = this.windows.find(({ end }) => end === offset)?.extents.length ?? 0;
    return Math.min(Math.max(before, FIRST_PAGE_EXTENTS), MAX_EXTENTS_PER_MESSAGE);
  }

  private keep(fresh: Window, version: bigint): void {
    const known = this.version === version ? this.windows : [];
    this.version = version;
    const grown = known.filter((each) => touches(each, fresh)).reduce(joinedWith, fresh);
    const apart = known.filter((each) => !touches(each, fresh));
    const total = apart.reduce((sum, { extents }) => sum + extents.length, grown.extents.length);
    this.windows =
      total > MAX_KEPT_EXTENTS
        ? [fresh]
        : [...apart, grown].sort((one, other) => one.start - other.start);
  }
}

/** What a page tells that was asked for from `offset` on. */
function windowOf(offset: number, { extents, more }: MapPage): Window {
  const last = extents.at(-1);
  const end = more && last !== undefined ? endOf(last) : MAX_FILE_BYTES + 1;
  return { start: offset, end, extents };
}

function touches(one: Window, other: Window): boolean {
  return one.start <= other.end && other.start <= one.end;
}

/** `fresh` with what a window that touches it has on both of its sides. An extent over a border is in both. */
function joinedWith(fresh: Window, old: Window): Window {
  const before = old.extents.filter((each) => endOf(each) <= fresh.start);
  const behind = old.extents.filter((each) => each.offset >= fresh.end);
  return {
    start: Math.min(old.start, fresh.start),
    end: Math.max(old.end, fresh.end),
    extents: [...before, ...fresh.extents, ...behind],
  };
}

function cutSegments(window: Window, offset: number, length: number): Segment[] {
  const segments: Segment[] = [];
  const end = Math.min(offset + length, window.end);
  let at = offset;
  for (let index = firstEndingBehind(window.extents, offset); at < end; index++) {
    const extent = window.extents[index];
    const holeEnd = Math.min(extent?.offset ?? end, end);
    if (at < holeEnd) segments.push({ offset: at, length: holeEnd - at, extent: undefined });
    at = Math.max(at, holeEnd);
    if (extent === undefined || at >= end) break;
    const until = Math.min(endOf(extent), end);
    segments.push({ offset: at, length: until - at, extent });
    at = until;
  }
  return segments;
}

/** Index of the first extent that ends behind `offset`; the number of extents when there is none. */
function firstEndingBehind(extents: readonly MappedExtent[], offset: number): number {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (endOf(extents[middle]!) > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}

function endOf(extent: MappedExtent): number {
  return extent.offset + extent.length;
}
