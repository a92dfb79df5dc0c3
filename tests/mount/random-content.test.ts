// Random work on one file through two handles, against an array of bytes: what is read here is right at every moment, and what the
// other mount reads after a flush.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import type { DfsFileSystem } from "../../src/mount/dfs-file-system.ts";
import { patterned } from "../support/cluster.ts";
import { BLOCK, CALLER, READ_WRITE, TwoMounts } from "./support/two-mounts.ts";

const SPAN = 5 * BLOCK;
const STEPS = 250;

let mounts: TwoMounts;
let here: DfsFileSystem;
beforeAll(async () => {
  mounts = await TwoMounts.start();
  ({ here } = mounts);
});
afterAll(() => mounts.stop());

/** A file's bytes, as long as it is. */
class Image {
  bytes = new Uint8Array(0);

  resize(size: number): void {
    const resized = new Uint8Array(size);
    resized.set(this.bytes.subarray(0, size));
    this.bytes = resized;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (offset + bytes.length > this.bytes.length) this.resize(offset + bytes.length);
    this.bytes.set(bytes, offset);
  }

  zero(offset: number, length: number, keepSize: boolean): void {
    if (!keepSize && offset + length > this.bytes.length) this.resize(offset + length);
    this.bytes.fill(0, offset, offset + length);
  }
}

test("random writes, appends, cuts, holes, copies and flushes agree with an array of bytes", async () => {
  const seed = Number(systemRandom.id64() % 1_000_000_000n);
  const random = seededRandom(seed);
  const { inode, handle } = await mounts.freshFile(await mounts.freshDirectory());
  const appending = (await here.open(inode, { ...READ_WRITE, append: true })).handle;
  const image = new Image();
  const somewhere = (): number => random.below(SPAN);
  const someLength = (): number => 1 + random.below(random.below(3) === 0 ? 2 * BLOCK : 3000);
  const works: (() => Promise<void>)[] = [
    async () => {
      const offset = somewhere();
      const bytes = patterned(someLength(), 1 + random.below(1000));
      await here.write(inode, handle, offset, bytes);
      image.write(offset, bytes);
    },
    async () => {
      const bytes = patterned(someLength(), 1 + random.below(1000));
      await here.write(inode, appending, 0, bytes);
      image.write(image.bytes.length, bytes);
    },
    async () => {
      const size = somewhere();
      await here.setattr(inode, { size }, handle, CALLER);
      image.resize(size);
    },
    async () => {
      const [offset, length, keepSize] = [somewhere(), someLength(), random.below(2) === 0];
      await here.allocate(inode, handle, { how: "zeroRange", keepSize, offset, length });
      image.zero(offset, length, keepSize);
    },
    async () => {
      const [from, to] = [somewhere(), somewhere()];
      const length = Math.min(someLength(), Math.abs(from - to));
      if (length === 0) return;
      const copied = await here.copyRange(
        { inode, handle, offset: from },
        { inode, handle, offset: to },
        length,
      );
      const bytes = image.bytes.slice(from, from + length);
      expect(copied).toBe(bytes.length);
      image.write(to, bytes);
    },
    () => here.flush(inode, handle),
    () => here.flush(inode, appending),
  ];
  for (let step = 0; step < STEPS; step++) {
    const what = `seed ${seed}, step ${step}`;
    await works[random.below(works.length)]!();
    expect((await here.getattr(inode, handle)).size, what).toBe(image.bytes.length);
    const offset = somewhere();
    const length = someLength();
    const got = await here.read(inode, random.below(2) === 0 ? handle : appending, offset, length);
    const wanted = image.bytes.subarray(offset, offset + length);
    expect(got.length, what).toBe(wanted.length);
    expect(Buffer.compare(got, wanted), what).toBe(0);
    if (step % 25 !== 24) continue;
    await here.flush(inode, handle);
    expect(Buffer.compare(await mounts.wholeThere(inode), image.bytes), what).toBe(0);
  }
  await here.release(inode, handle);
  await here.release(inode, appending);
}, 120_000);
