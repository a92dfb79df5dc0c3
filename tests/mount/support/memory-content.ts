// Content of a file in memory: pages by number, a missing page is a hole.

export const MEMORY_PAGE_BYTES = 4096;
const P = MEMORY_PAGE_BYTES;

export class MemoryContent {
  size = 0;
  private readonly pages = new Map<number, Uint8Array>();

  get allocatedBytes(): number {
    return this.pages.size * P;
  }

  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
    for (let done = 0; done < out.length;) {
      const at = (offset + done) % P;
      const count = Math.min(P - at, out.length - done);
      const page = this.pages.get(Math.floor((offset + done) / P));
      if (page !== undefined) out.set(page.subarray(at, at + count), done);
      done += count;
    }
    return out;
  }

  write(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const at = (offset + done) % P;
      const count = Math.min(P - at, bytes.length - done);
      this.page(Math.floor((offset + done) / P)).set(bytes.subarray(done, done + count), at);
      done += count;
    }
    if (bytes.length > 0) this.size = Math.max(this.size, offset + bytes.length);
  }

  resize(size: number): void {
    if (size < this.size) this.clear(size, this.size);
    this.size = size;
  }

  /** Makes bytes from `start` to `end` zero: whole pages become holes. */
  clear(start: number, end: number): void {
    const first = Math.floor(start / P);
    const last = Math.ceil(end / P);
    for (const index of this.pages.keys()) {
      if (index < first || index >= last) continue;
      const from = Math.max(start - index * P, 0);
      const to = Math.min(end - index * P, P);
      // What lies behind the end of the file counts as empty.
      const reachesEnd = index * P + to >= Math.min(this.size, (index + 1) * P);
      if (from === 0 && reachesEnd) this.pages.delete(index);
      else this.pages.get(index)?.fill(0, from, to);
    }
  }

  /** Takes the pages for a range, as fallocate(2) does: data of zeros. */
  allocate(start: number, end: number): void {
    for (let index = Math.floor(start / P); index * P < end; index++) this.page(index);
  }

  /** Moves everything from `from` on to `to`: collapse and insert. */
  shift(from: number, to: number): void {
    const tail = this.read(from, this.size - from);
    this.resize(Math.min(from, to));
    this.size = to;
    this.write(to, tail);
  }

  /** The next byte of data, or of a hole, from `offset` on; the end of the file is a hole. */
  seek(offset: number, what: "data" | "hole"): number | undefined {
    if (offset >= this.size) return undefined;
    for (let index = Math.floor(offset / P); index * P < this.size; index++) {
      if (this.pages.has(index) === (what === "data")) return Math.max(offset, index * P);
    }
    return what === "hole" ? this.size : undefined;
  }

  private page(index: number): Uint8Array {
    let page = this.pages.get(index);
    if (page === undefined) this.pages.set(index, (page = new Uint8Array(P)));
    return page;
  }
}
