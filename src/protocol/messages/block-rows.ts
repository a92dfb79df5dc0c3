/**
 * Rows of the messages about many blocks.
 */
import type { Checksum } from "../../base/checksum.ts";
import { blockId, inodeId, MAX_ID, type BlockId, type InodeId } from "../../base/ids.ts";
import { MAX_BATCHABLE_BYTES } from "../../base/limits.ts";
import { readId, readUint32, readUint53, writeUint53, type RowLayout } from "../packed-rows.ts";
import { uint, uint53, uint64, type Shape } from "../schema.ts";
import { inodeField } from "./common.ts";

/** A block and its length. */
export interface SizedRow {
  readonly block: BlockId;
  readonly length: number;
}

/** A block that is to be copied. */
export interface CopyRow extends SizedRow {
  readonly checksum: Checksum;
  /** The file and offset that the block was written for. */
  readonly inode: InodeId;
  readonly fileOffset: number;
  /** Which of the sources it is to be fetched from: its place in their list. */
  readonly source: number;
}

const u32 = 4;
const u64 = 8;

const SIZED_LENGTH_AT = u64;

const CHECKSUM_AT = u64;
const INODE_AT = CHECKSUM_AT + u64;
const FILE_OFFSET_AT = INODE_AT + u64;
const LENGTH_AT = FILE_OFFSET_AT + u64;
const SOURCE_AT = LENGTH_AT + u32;

const UINT32_MAX = 2 ** 32 - 1;

const someBlock: Shape = { kind: "integer", least: 1n, most: MAX_ID, wide: true };

/** 12 bytes: block id and length. */
export const sizedRow: RowLayout<SizedRow> = {
  notation: "{block, length}",
  rowBytes: SIZED_LENGTH_AT + u32,
  shape: {
    kind: "record",
    fields: [
      ["block", someBlock],
      ["length", uint(MAX_BATCHABLE_BYTES).shape],
    ],
  },
  write: (view, at, { block, length }) => {
    view.setBigUint64(at, block);
    view.setUint32(at + SIZED_LENGTH_AT, length);
  },
  read: (view, at) => ({
    block: blockId(readId(view, at, 1n, "block")),
    length: readUint32(view, at + SIZED_LENGTH_AT, MAX_BATCHABLE_BYTES, "length"),
  }),
};

/** 40 bytes: block id, checksum, inode, offset in the file, length, place of the source in the list of sources. */
export const copyRow: RowLayout<CopyRow> = {
  notation: "{block, checksum, inode, fileOffset, length, source}",
  rowBytes: SOURCE_AT + u32,
  shape: {
    kind: "record",
    fields: [
      ["block", someBlock],
      ["checksum", uint64.shape],
      ["inode", inodeField.shape],
      ["fileOffset", uint53.shape],
      ["length", uint(MAX_BATCHABLE_BYTES).shape],
      ["source", uint().shape],
    ],
  },
  write: (view, at, { block, checksum, inode, fileOffset, length, source }) => {
    view.setBigUint64(at, block);
    view.setBigUint64(at + CHECKSUM_AT, checksum);
    view.setBigUint64(at + INODE_AT, inode);
    writeUint53(view, at + FILE_OFFSET_AT, fileOffset);
    view.setUint32(at + LENGTH_AT, length);
    view.setUint32(at + SOURCE_AT, source);
  },
  read: (view, at) => ({
    block: blockId(readId(view, at, 1n, "block")),
    checksum: view.getBigUint64(at + CHECKSUM_AT),
    inode: inodeId(readId(view, at + INODE_AT, 0n, "inode")),
    fileOffset: readUint53(view, at + FILE_OFFSET_AT, "fileOffset"),
    length: readUint32(view, at + LENGTH_AT, MAX_BATCHABLE_BYTES, "length"),
    source: readUint32(view, at + SOURCE_AT, UINT32_MAX, "source"),
  }),
};
