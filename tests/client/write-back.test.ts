// Writing back in batches, over a store that fails as it is told.

import { expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import { inodeId } from "../../src/base/ids.ts";
import type { BlockStore, StoredChunk } from "../../src/client/block-store.ts";
import { ByteBudget } from "../../src/client/budget.ts";
import type { Chunk } from "../../src/client/chunks.ts";
import { unlessAborted } from "../../src/client/retry.ts";
import { WriteBack } from "../../src/client/write-back.ts";
import { KiB, MiB, patterned } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const BLOCK = 256 * KiB;

/** Bytes after which a batch begins by itself. */
const BATCH = 8 * MiB;

test("when a later batch fails first, its reason is told and all bytes are kept", async () => {
  const noSpace = new DfsError("noSpace", "made by the test");
  const store: Pick<BlockStore, "store"> = {
    store: (_file, chunk: Chunk, signal) =>
      chunk.offset < BATCH
        ? unlessAborted(new Promise<StoredChunk>(() => undefined), signal)
        : Promise.reject(noSpace),
  };
  const holder = new ByteBudget(64 * MiB).holder();
  const writeBack = new WriteBack({
    file: { inode: inodeId(1n), base: 0 },
    blockSize: BLOCK,
    store: store as BlockStore,
    holder,
    reclaim: () => undefined,
    epoch: () => 1,
    nowNs: () => 0n,
    storedSize: () => 0,
    askSize: () => Promise.resolve(0),
    commit: () => Promise.reject(new Error("nothing can be committed")),
    onCommitted: () => undefined,
  });
  const bytes = patterned(BATCH + BLOCK);
  await writeBack.write(0, bytes);
  for (let attempt = 0; attempt < 2; attempt++) {
    expect(await failureOf(writeBack.flush())).toBe(noSpace);
    expect(writeBack.end).toBe(bytes.length);
    const kept = new Uint8Array(bytes.length);
    for (const range of writeBack.overlay(0, bytes.length)) kept.set(range.bytes, range.offset);
    expect(Buffer.compare(kept, bytes)).toBe(0);
    expect(holder.held).toBe(bytes.length);
  }
});
