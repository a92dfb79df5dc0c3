/**
 * Where the bytes of one file are: a window of its extents, fetched page by page and kept.
 *
 * Invariants
 * - The window is one range of the file of which every extent is known; the extents in it are sorted and all from one
 *   version of the file. A page of another version replaces the window.
 * - `forget` also voids pages that are on their way: what is asked for afterwards never comes from before.
 */
import { MAX_FILE_BYTES } from "../base/limits.ts";
import type { MappedExtent } from "../protocol/messages/common.ts";

/** Extents kept; older ones are dropped when a page takes the window beyond. */
const MAX_WINDOW_EXTENTS = 8192;

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

/** Fetches the extents from `offset` to the end of the file, as many as fit into a page. */
export type PageFetcher = (offset: number) => Promise<MapPage>;

interface Window {
  readonly version: bigint;
  readonly start: number;
  readonly end: number;
  readonly extents: readonly MappedExtent[];
}

export class FileMap {
  private readonly fetch: PageFetcher;
  private window: Window | undefined;
  private generation = 0;
  private arriving: { readonly offset: number; readonly page: Promise<MapPage> } | undefined;

  constructor(fetch: PageFetcher) {
    this.fetch = fetch;
  }

  /** Puts a page into the window that came from elsewhere: with the reply to `open`. */
  seed(offset: number, page: MapPage): void {
    this.window = extended(this.window, offset, page);
  }

  /** Drops everything known, because the file has changed or may have. */
  forget(): void {
    this.window = undefined;
    this.arriving = undefined;
    this.generation++;
  }

  /** Drops everything unless it is of this version. */
  forgetUnless(version: bigint): void {
    if (this.window?.version !== version) this.forget();
  }

  /**
   * The segments from `offset` on, without gaps, of `length` bytes together or less: as far as one page tells.
   * At least one segment; `length` is at least 1.
   */
  async segments(offset: number, length: number): Promise<Segment[]> {
    const known = this.window;
    if (known !== undefined && covers(known, offset)) return cutSegments(known, offset, length);
    const generation = this.generation;
    const page = await this.page(offset);
    const fresh = extended(generation === this.generation ? this.window : undefined, offset, page);
    if (generation === this.generation) this.window = fresh;
    return cutSegments(fresh, offset, length);
  }

  /** One request at a time for the same place. */
  private page(offset: number): Promise<MapPage> {
    if (this.arriving?.offset === offset) return this.arriving.page;
    const arriving = { offset, page: this.fetch(offset) };
    this.arriving = arriving;
    const done = (): void => {
      if (this.arriving === arriving) this.arriving = undefined;
    };
    arriving.page.then(done, done);
    return arriving.page;
  }
}

function covers(window: Window, offset: number): boolean {
  return offset >= window.start && offset < window.end;
}

/** The window with a page that was asked for from `offset` on. */
function extended(window: Window | undefined, offset: number, page: MapPage): Window {
  const last = page.extents.at(-1);
  const end = page.more && last !== undefined ? last.offset + last.length : MAX_FILE_BYTES + 1;
  if (window?.version !== page.version || offset < window.start || offset > window.end) {
    return { version: page.version, start: offset, end, extents: page.extents };
  }
  const before = window.extents.filter((each) => each.offset + each.length <= offset);
  // An extent that reaches over `offset` is in the page as well: the page tells what overlaps its range.
  const extents = [...before, ...page.extents];
  const dropped = Math.max(0, extents.length - MAX_WINDOW_EXTENTS);
  const start = dropped === 0 ? window.start : endOf(extents[dropped - 1]!);
  return { version: page.version, start, end, extents: extents.slice(dropped) };
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
