// Ranges that become holes, and ranges that share the blocks of others: single cases, and random ones against arrays of bytes.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { InodeId } from "../../../../src/base/ids.ts";
import { inodeId } from "../../../../src/base/ids.ts";
import { MAX_FILE_BYTES } from "../../../../src/base/limits.ts";
import { seededRandom, systemRandom } from "../../../../src/base/random.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import { Harness, type TestSession } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import {
  commit,
  createDirectory,
  createFile,
  createFilled,
  failsWith,
  reserve,
  unlink,
  wholeBlocks,
  NO_CHANGE,
} from "./support.ts";

let harness: Harness;
let session: TestSession;
beforeEach(async () => {
  harness = new Harness();
  session = await harness.openSession();
});
afterEach(() => {
  expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  harness.close();
});

function punch(inode: InodeId, offset: number, length: number, minSize = 0) {
  const body = { inode, offset, length, minSize };
  return session.change(content.punch, operations.punch, body);
}

function clone(
  source: InodeId,
  sourceOffset: number,
  inode: InodeId,
  offset: number,
  length: number,
) {
  const body = { source, sourceOffset, inode, offset, length };
  return session.change(content.clone, operations.clone, body);
}

/** What each byte of a file shows: block and place in it, or nothing. */
function shown(inode: InodeId): (string | undefined)[] {
  const size = harness.primitives["inode.get"](inode)!.size;
  const bytes: (string | undefined)[] = Array.from({ length: size }, () => undefined);
  for (const extent of harness.primitives["extent.list"](inode, 0, size, 10_000)) {
    for (let at = 0; at < extent.length; at++) {
      bytes[extent.offset + at] = `${extent.block}:${extent.blockOffset + at}`;
    }
  }
  return bytes;
}

describe("punching", () => {
  test("takes a range out of the middle, keeps the length, and gives up what nothing shows", async () => {
    const file = await createFilled(session, "f", 3);
    const before = shown(file.inode);
    const { attributes, done } = await punch(file.inode, 5, 14);
    expect([attributes.size, attributes.allocated, done]).toEqual([24, 10, 14]);
    expect(attributes.version).toBeGreaterThan(file.version);
    expect(attributes.mtimeNs).toBeGreaterThan(file.mtimeNs);
    expect(shown(file.inode)).toEqual(
      before.map((byte, at) => (at >= 5 && at < 19 ? undefined : byte)),
    );
    expect(harness.primitives["block.listDead"](0n as never, 10)).toHaveLength(1);
  });

  test("makes a file longer when it is told to, beyond its end as well", async () => {
    const file = await createFilled(session, "f", 1);
    expect((await punch(file.inode, 100, 20)).attributes.size).toBe(8);
    expect((await punch(file.inode, 4, 96, 100)).attributes.size).toBe(100);
    expect((await punch(file.inode, 0, 0, MAX_FILE_BYTES)).attributes.size).toBe(MAX_FILE_BYTES);
  });

  test("is done in parts when there are many extents", async () => {
    const file = await createFilled(session, "f", 700);
    const first = await punch(file.inode, 0, 5600);
    expect(first.done).toBe(512 * 8);
    const rest = await punch(file.inode, first.done, 5600 - first.done);
    expect([rest.done, rest.attributes.allocated]).toEqual([188 * 8, 0]);
  });

  test("is refused for what is no file, is gone, or ends too far", async () => {
    const { inode } = await createDirectory(session, "d");
    await failsWith(punch(inode, 0, 1), "isDirectory");
    await failsWith(punch(inodeId(99n), 0, 1), "stale");
    const file = await createFile(session, "f");
    await failsWith(punch(file.inode, MAX_FILE_BYTES, 1), "fileTooBig");
  });
});

describe("cloning", () => {
  test("shows the same blocks at another place; they live as long as anybody shows them", async () => {
    const source = await createFilled(session, "source", 3);
    const target = await createFilled(session, "target", 4);
    const bytes = shown(source.inode);
    const { attributes, done } = await clone(source.inode, 3, target.inode, 13, 100);
    expect([done, attributes.size, attributes.allocated]).toEqual([21, 34, 34]);
    expect(shown(target.inode).slice(13)).toEqual(bytes.slice(3));
    await unlink(session, "source");
    expect(shown(target.inode).slice(13)).toEqual(bytes.slice(3));
    await unlink(session, "target");
    expect(harness.primitives["block.listDead"](0n as never, 100)).toHaveLength(7);
  });

  test("copies holes as holes, over what was there, and ends with the source", async () => {
    const source = await createFilled(session, "source", 3);
    await punch(source.inode, 4, 16);
    const target = await createFilled(session, "target", 3);
    expect((await clone(source.inode, 0, target.inode, 0, 20)).attributes.allocated).toBe(8);
    expect((await clone(source.inode, 24, target.inode, 0, 20)).done).toBe(0);
    expect((await clone(source.inode, 1000, target.inode, 0, 20)).done).toBe(0);
  });

  test("within one file works for ranges that do not overlap", async () => {
    const { inode } = await createFilled(session, "f", 2);
    const bytes = shown(inode);
    await clone(inode, 0, inode, 16, 16);
    expect(shown(inode)).toEqual([...bytes, ...bytes]);
    await failsWith(clone(inode, 0, inode, 8, 9), "invalid");
    await clone(inode, 0, inode, 16, 16); // onto what it shows already
    expect(shown(inode)).toEqual([...bytes, ...bytes]);
  });

  test("is done in parts when there are many extents, of the source or of the target", async () => {
    const source = await createFilled(session, "source", 600);
    const target = await createFile(session, "target");
    expect((await clone(source.inode, 0, target.inode, 0, 4800)).done).toBe(512 * 8);
    const other = await createFile(session, "other");
    await punch(other.inode, 0, 0, 4800);
    const erased = await clone(other.inode, 0, source.inode, 0, 4800);
    expect(erased.done).toBe(512 * 8);
  });

  test("is refused for what is no file or ends too far", async () => {
    const file = await createFilled(session, "f", 1);
    const { inode } = await createDirectory(session, "d");
    await failsWith(clone(inode, 0, file.inode, 0, 1), "isDirectory");
    await failsWith(clone(file.inode, 0, inode, 0, 1), "isDirectory");
    await failsWith(clone(file.inode, 0, file.inode, MAX_FILE_BYTES - 4, 8), "fileTooBig");
  });
});

test("random writes, holes, clones and cuts agree with arrays of bytes", async () => {
  const seed = Number(systemRandom.id64() % 1_000_000_000n);
  const random = seededRandom(seed);
  const files: InodeId[] = [];
  for (const name of ["a", "b", "c"]) files.push((await createFile(session, name)).inode);
  const models: (string | undefined)[][] = files.map(() => []);
  const grow = (model: (string | undefined)[], size: number): void => {
    while (model.length < size) model.push(undefined);
  };
  const SPAN = 100;
  for (let step = 0; step < 300; step++) {
    const at = random.below(files.length);
    const inode = files[at]!;
    const model = models[at]!;
    const offset = random.below(SPAN);
    const length = random.below(60);
    switch (random.below(4)) {
      case 0: {
        const [block] = await reserve(session, 1);
        const index = random.below(SPAN / 8);
        await commit(session, wholeBlocks(inode, [block!], [index]));
        grow(model, index * 8 + 8);
        for (let byte = 0; byte < 8; byte++) model[index * 8 + byte] = `${block}:${byte}`;
        break;
      }
      case 1: {
        const minSize = random.below(2) === 0 ? 0 : offset + length;
        await punch(inode, offset, length, minSize);
        for (let byte = offset; byte < Math.min(offset + length, model.length); byte++) {
          model[byte] = undefined;
        }
        grow(model, minSize);
        break;
      }
      case 2: {
        const from = random.below(files.length);
        const sourceOffset = random.below(SPAN);
        const copied = models[from]!.slice(sourceOffset, sourceOffset + length);
        if (from === at && Math.abs(sourceOffset - offset) < copied.length) continue;
        const { done } = await clone(files[from]!, sourceOffset, inode, offset, length);
        expect(done, `seed ${seed}, step ${step}`).toBe(copied.length);
        if (copied.length === 0) continue;
        grow(model, offset + copied.length);
        copied.forEach((byte, place) => (model[offset + place] = byte));
        break;
      }
      default: {
        const size = random.below(SPAN);
        await harness.run(
          operations.setattr(harness.context(session.id), { ...NO_CHANGE, inode, size }),
        );
        model.length = Math.min(model.length, size);
        grow(model, size);
      }
    }
    expect(shown(inode), `seed ${seed}, step ${step}`).toEqual(model);
  }
});
