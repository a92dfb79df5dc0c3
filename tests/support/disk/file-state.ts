// The content of one file on the simulated disk: what programs see, what would survive a power cut, and every state in
// between.
//
// - `durable` is what the platters hold for certain. Each write or truncation since then adds a version: the whole content
//   as programs see it. The last one is the live content.
// - A sync makes the version that was live when it began durable, page by page: only pages that were touched are written.
// - A failed sync may drop the touched pages: the system marks them clean without having written them, so they stay
//   visible, and the next sync succeeds without writing them.
// - A power cut takes for each sector any version since the last sync, or a mix of two of them, torn at some byte. Length
//   and sectors go their own ways, so a file may be longer than what was written of it: the rest reads as zeros.
//
// Byte arrays are never changed once they are in here, so copies of a state share them.

import type { Random } from "../../../src/base/random.ts";

/** What a drive writes as a unit, mostly. */
export const SECTOR_BYTES = 512;
/** What the system writes as a unit. */
export const PAGE_BYTES = 4096;

/** What is left of unsynced changes after a power cut: nothing, everything, or what chance says. */
export type Survival = "nothing" | "everything" | Random;

interface Version {
  readonly bytes: Uint8Array;
  /** The bytes that this change has touched. */
  readonly from: number;
  readonly to: number;
}

const EMPTY = new Uint8Array(0);

export class FileState {
  private durable: Uint8Array = EMPTY;
  /** Live content when there are no versions; differs from `durable` where a failed sync has dropped pages. */
  private clean: Uint8Array = EMPTY;
  private versions: Version[] = [];
  /** Sectors that cannot be read, by their position. */
  readonly badSectors = new Set<number>();

  /** The content as programs see it. Not to be changed. */
  get live(): Uint8Array {
    return this.versions.at(-1)?.bytes ?? this.clean;
  }

  /** The last change that a sync which begins now covers; what `synced` wants to know. */
  get lastChange(): unknown {
    return this.versions.at(-1);
  }

  clone(): FileState {
    const copy = new FileState();
    copy.durable = this.durable;
    copy.clean = this.clean;
    copy.versions = [...this.versions];
    for (const sector of this.badSectors) copy.badSectors.add(sector);
    return copy;
  }

  write(bytes: Uint8Array, position: number): void {
    const to = position + bytes.length;
    const next = resized(this.live, Math.max(this.live.length, to));
    next.set(bytes, position);
    this.versions.push({ bytes: next, from: Math.min(position, this.live.length), to });
  }

  truncate(length: number): void {
    const old = this.live.length;
    this.versions.push({
      bytes: resized(this.live, length),
      from: Math.min(old, length),
      to: Math.max(old, length),
    });
  }

  /** Takes the last `count` bytes of the last change back: it was a write, and the process died in it. */
  shortenLastWrite(count: number): void {
    const last = this.versions.pop();
    if (last === undefined) throw new Error("there is no write to shorten");
    const before = this.live;
    const kept = last.to - count;
    const bytes = resized(before, Math.max(before.length, kept));
    bytes.set(last.bytes.subarray(last.from, kept), last.from);
    this.versions.push({ bytes, from: last.from, to: kept });
  }

  /** A sync that began after `lastChange` has succeeded. */
  synced(lastChange: unknown): void {
    const count = this.versions.findIndex((each) => each === lastChange) + 1;
    const last = this.versions[count - 1];
    if (last === undefined) return; // nothing was to be written, or another sync has written it
    this.durable = this.cutFrom(() => count, last.bytes.length);
    this.clean = last.bytes;
    this.versions = this.versions.slice(count);
  }

  /** A sync has failed, and the system forgot the pages: chance says which of them were written before. */
  dropUnsynced(random: Random): void {
    const { live } = this;
    this.durable = this.chosen(random);
    this.clean = live;
    this.versions = [];
  }

  /** The power went away and came back. */
  powerCut(survival: Survival): void {
    if (survival === "everything") this.synced(this.lastChange);
    else if (survival !== "nothing") this.durable = this.chosen(survival);
    this.clean = this.durable;
    this.versions = [];
  }

  /** Rot: bits of one byte turn over, on the disk and for whoever reads it. */
  flip(position: number, mask: number): void {
    const flipped = (bytes: Uint8Array): Uint8Array => {
      if (position >= bytes.length) return bytes;
      const copy = bytes.slice();
      copy[position]! ^= mask;
      return copy;
    };
    this.durable = flipped(this.durable);
    this.clean = flipped(this.clean);
    this.versions = this.versions.map((each) => ({ ...each, bytes: flipped(each.bytes) }));
  }

  /** One of the contents that a power cut at this moment may leave. */
  private chosen(random: Random): Uint8Array {
    const all = this.versions.length;
    if (all === 0) return this.durable;
    const any = (): number => random.below(all + 1);
    const length = this.lengthOf(any());
    switch (random.below(4)) {
      case 0: // a disk that writes in order, and stops in the middle
        return this.inOrder(random);
      case 1: // little has been written yet
        return this.cutFrom(() => (random.below(5) === 0 ? any() : 0), length, random);
      case 2: // most has been written
        return this.cutFrom(() => (random.below(5) === 0 ? any() : all), length, random);
      default:
        return this.cutFrom(any, length, random);
    }
  }

  private inOrder(random: Random): Uint8Array {
    const last = random.below(this.versions.length);
    const { from, to, bytes } = this.versions[last]!;
    const before = this.cutFrom(() => last, this.lengthOf(last));
    const upTo = from + random.below(to - from + 1);
    const result = resized(before, Math.max(before.length, Math.min(upTo, bytes.length)));
    result.set(bytes.subarray(from, upTo), from);
    return result;
  }

  private lengthOf(version: number): number {
    return version === 0 ? this.durable.length : this.versions[version - 1]!.bytes.length;
  }

  /** A content of which each sector has the version that `choose` says (0: the durable one). */
  private cutFrom(choose: () => number, length: number, tear?: Random): Uint8Array {
    const result = resized(this.durable, length);
    const from = Math.min(...this.versions.map((each) => each.from));
    const last = Math.max(...this.versions.map((each) => each.to));
    const to = Math.min(length, last + PAGE_BYTES - (last % PAGE_BYTES));
    for (let at = from - (from % PAGE_BYTES); at < to; at += SECTOR_BYTES) {
      const end = Math.min(at + SECTOR_BYTES, length);
      this.copyVersion(result, choose(), at, end);
      if (tear !== undefined && tear.below(3) === 0) {
        this.copyVersion(result, choose(), at + tear.below(end - at), end);
      }
    }
    return result;
  }

  private copyVersion(target: Uint8Array, version: number, from: number, to: number): void {
    const source = this.wasTouched(version, from)
      ? this.versions[version - 1]!.bytes
      : this.durable;
    const bytes = source.subarray(from, to);
    target.set(bytes, from);
    target.fill(0, from + bytes.length, to);
  }

  /** Whether one of the first `count` changes touched the page at `position`, so that it is written at all. */
  private wasTouched(count: number, position: number): boolean {
    const page = position - (position % PAGE_BYTES);
    return this.versions
      .slice(0, count)
      .some(({ from, to }) => from < page + PAGE_BYTES && to >= page);
  }
}

function resized(bytes: Uint8Array, length: number): Uint8Array {
  const copy = new Uint8Array(length);
  copy.set(bytes.subarray(0, length));
  return copy;
}
