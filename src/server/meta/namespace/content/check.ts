/**
 * What a commit must satisfy before anything is looked up.
 *
 * Every block is listed once and named by an extent; every extent lies inside a block of this commit, inside one block
 * index (offsets k * blockSize to (k+1) * blockSize of the file), and in the placement group that its block claims;
 * extents do not overlap.
 */
import { DfsError } from "../../../../base/errors.ts";
import type { BlockId } from "../../../../base/ids.ts";
import { MAX_FILE_BYTES } from "../../../../base/limits.ts";
import { groupOf } from "../../../../base/placement.ts";
import type { NewBlock, NewExtent } from "../../../../protocol/messages/common.ts";

/** New content of a file. */
export interface Content {
  readonly blocks: readonly NewBlock[];
  readonly extents: readonly NewExtent[];
}

/** The same, checked. */
export interface CheckedContent {
  readonly blocks: readonly NewBlock[];
  /** In order of offset. */
  readonly extents: readonly NewExtent[];
  /** Extents that name each block. */
  readonly refs: ReadonlyMap<BlockId, number>;
  /** End of the last extent; 0 when there is none. */
  readonly end: number;
}

/**
 * @throws DfsError `invalid`, `fileTooBig`.
 */
export function checkContent(content: Content, blockSize: number, base: number): CheckedContent {
  const blocks = blocksById(content.blocks, blockSize);
  const refs = new Map<BlockId, number>();
  const extents = content.extents.toSorted((left, right) => left.offset - right.offset);
  let end = 0;
  for (const extent of extents) {
    if (extent.offset < end) throw bad(extent, "overlaps the one before it");
    const block = blocks.get(extent.block);
    if (block === undefined) throw bad(extent, "names a block that is not in the same commit");
    checkExtent(extent, block, blockSize, base);
    refs.set(extent.block, (refs.get(extent.block) ?? 0) + 1);
    end = extent.offset + extent.length;
  }
  const unnamed = content.blocks.find((block) => !refs.has(block.block));
  if (unnamed !== undefined) throw invalid(`no extent names block ${unnamed.block}`);
  return { blocks: content.blocks, extents, refs, end };
}

function blocksById(blocks: readonly NewBlock[], blockSize: number): Map<BlockId, NewBlock> {
  const byId = new Map<BlockId, NewBlock>();
  for (const block of blocks) {
    if (block.length < 1 || block.length > blockSize) {
      throw invalid(
        `block ${block.block} has ${block.length} bytes; 1 to ${blockSize} are allowed`,
      );
    }
    if (byId.has(block.block)) throw invalid(`block ${block.block} is listed twice`);
    byId.set(block.block, block);
  }
  return byId;
}

function checkExtent(extent: NewExtent, block: NewBlock, blockSize: number, base: number): void {
  if (extent.length < 1) throw bad(extent, "is empty");
  if (extent.offset > MAX_FILE_BYTES - extent.length) {
    throw new DfsError("fileTooBig", `a file cannot be longer than ${MAX_FILE_BYTES} bytes`);
  }
  if (extent.blockOffset + extent.length > block.length)
    throw bad(extent, "reaches beyond its block");
  const index = Math.floor(extent.offset / blockSize);
  if (Math.floor((extent.offset + extent.length - 1) / blockSize) !== index) {
    throw bad(extent, `crosses a multiple of the block size ${blockSize}`);
  }
  const group = groupOf(base, index);
  if (block.group !== group) throw bad(extent, `belongs to group ${group}, not ${block.group}`);
}

function bad(extent: NewExtent, how: string): DfsError {
  return invalid(`the extent at offset ${extent.offset} with ${extent.length} bytes ${how}`);
}

function invalid(message: string): DfsError {
  return new DfsError("invalid", `cannot commit: ${message}`);
}
