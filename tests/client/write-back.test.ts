// Writing back in batches, over a store that fails as it is told.

import { expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import { inodeId } from "../../src/base/ids.ts";
import type { BlockStore, StoredChunk } from "../../src/client/block-store.ts";
import { ByteBudget, type Holder } from "../../src/client/budget.ts";
import type { Chunk } from "../../src/client/chunks.ts";
import { unlessAborted } from "../../src/client/retry.ts";
import { WriteBack, type WriteBackOptions } from "../../src/client/write-back.ts";
import { frameMemory } from "../../src/protocol/frame-memory.ts";
import type { Attributes } from "../../src/protocol/messages/common.ts";
import { KiB, MiB, patterned, until } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const BLOCK = 256 * KiB;

/** Bytes after which a batch begins by itself. */
const BATCH = 8 * MiB;

function writeBackOver(
  store: Pick<BlockStore, "store">,
  holder: Holder,
  commit: WriteBackOptions["commit"],
): WriteBack {
  return new WriteBack({
    file: { inode: inodeId(1n), base: 0 },
    blockSize: BLOCK,
    store: store as BlockStore,
    holder,
    reclaim: () => undefined,
    epoch: () => 1,
    nowNs: () => 0n,
    storedSize: () => 0,
    askSize: () => Promise.resolve(0),
    commit,
    committed: () => Promise.resolve(undefined),
    onCommitted: () => undefined,
  });
}

test("when a later batch fails first, its reason is told and all bytes are kept", async () => {
  const noSpace = new DfsError("noSpace", "made by the test");
  const store: Pick<BlockStore, "store"> = {
    store: (_file, chunk: Chunk, signal) =>
      chunk.offset < BATCH
        ? unlessAborted(new Promise<StoredChunk>(() => undefined), signal)
        : Promise.reject(noSpace),
  };
  const holder = new ByteBudget(64 * MiB).holder();
  const commit = (): Promise<never> => Promise.reject(new Error("nothing can be committed"));
  const writeBack = writeBackOver(store, holder, commit);
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

test("memory of what has been committed is used again, and what was read before stays as it was read", async () => {
  const commits: PromiseWithResolvers<Attributes>[] = [];
  const stored = { epoch: 1 } as StoredChunk;
  const store = { store: () => Promise.resolve(stored) };
  const writeBack = writeBackOver(store, new ByteBudget(64 * MiB).holder(), () => {
    commits.push(Promise.withResolvers());
    return commits.at(-1)!.promise;
  });
  const first = patterned(BLOCK, 1);
  await writeBack.write(0, first);
  const flushed = writeBack.flush();
  const [read] = writeBack.overlay(0, BLOCK);
  await until("it is committed", () => commits.length > 0);
  commits[0]!.resolve({} as Attributes);
  await flushed;
  const used = frameMemory.take(BLOCK);
  expect(Buffer.compare(used, first)).toBe(0); // the very memory
  used.fill(0);
  expect(Buffer.compare(read!.bytes, first)).toBe(0);
  frameMemory.giveBack(used);
});
