/**
 * Whether a local file and one in the cluster hold the same bytes, without moving any: the checksums of the cluster's blocks
 * are compared with those of the same ranges here. Only parts of blocks, as writes into the middle of a file leave them,
 * have to be fetched.
 */
import { read } from "node:fs";
import { promisify } from "node:util";
import { checksumOf, pieceCount, PIECE_HASH_BYTES, pieceHashes } from "../../base/checksum.ts";
import { PIECE_BYTES } from "../../base/limits.ts";
import type { DfsClient, ExplainRow, OpenFile } from "../../client/api.ts";

/** Read and hashed at once; a whole number of pieces. */
const STRIDE_BYTES = 4 * PIECE_BYTES;

const readInPool = promisify(read);

/**
 * Compares `size` bytes. Both files have that length, as far as is known; one that changes meanwhile may count as either.
 * @throws DfsError as `DfsClient.explain` and `OpenFile.read`, errors of reading the local file.
 */
export async function haveSameContent(
  client: DfsClient,
  path: Uint8Array,
  descriptor: number,
  size: number,
): Promise<boolean> {
  const comparison = new Comparison(client, path, descriptor);
  let at = 0;
  try {
    for await (const row of client.explain(path)) {
      const end = Math.min(row.offset + row.length, size);
      if (!(await comparison.isZero(at, row.offset))) return false;
      if (!(await comparison.isSame(row, end))) return false;
      at = end;
    }
    return await comparison.isZero(at, size);
  } finally {
    await comparison.close();
  }
}

class Comparison {
  readonly #client: DfsClient;
  readonly #path: Uint8Array;
  readonly #descriptor: number;
  readonly #buffer = new Uint8Array(STRIDE_BYTES);
  #file: OpenFile | undefined;

  constructor(client: DfsClient, path: Uint8Array, descriptor: number) {
    this.#client = client;
    this.#path = path;
    this.#descriptor = descriptor;
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  /** A hole of the cluster's file: zeros here, stored or not. */
  async isZero(start: number, end: number): Promise<boolean> {
    for (let at = start; at < end; at += STRIDE_BYTES) {
      const bytes = await this.#local(at, end);
      if (bytes === undefined || bytes.some((byte) => byte !== 0)) return false;
    }
    return true;
  }

  async isSame(
    { offset, length, blockOffset, checksum }: ExplainRow,
    end: number,
  ): Promise<boolean> {
    if (blockOffset === 0 && end === offset + length) {
      if ((await this.#checksum(offset, end)) === checksum) return true;
    }
    // The extent may show a part of its block only: then the block's checksum tells nothing.
    for (let at = offset; at < end; at += STRIDE_BYTES) {
      const bytes = await this.#local(at, end);
      if (bytes === undefined) return false;
      this.#file ??= await this.#client.open(this.#path);
      const theirs = await this.#file.read(at, bytes.length);
      if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).equals(theirs)) return false;
    }
    return true;
  }

  /** The checksum that a block with these local bytes would have; undefined when they are not there any more. */
  async #checksum(start: number, end: number): Promise<bigint | undefined> {
    const list = new Uint8Array(pieceCount(end - start) * PIECE_HASH_BYTES);
    for (let at = start, filled = 0; at < end; at += STRIDE_BYTES) {
      const bytes = await this.#local(at, end);
      if (bytes === undefined) return undefined;
      const hashes = pieceHashes(bytes);
      list.set(hashes, filled);
      filled += hashes.length;
    }
    return checksumOf(end - start, list);
  }

  /** The next stride of the local file; undefined when it ends before. */
  async #local(at: number, end: number): Promise<Uint8Array | undefined> {
    const wanted = Math.min(STRIDE_BYTES, end - at);
    for (let filled = 0; filled < wanted;) {
      const { bytesRead } = await readInPool(
        this.#descriptor,
        this.#buffer,
        filled,
        wanted - filled,
        at + filled,
      );
      if (bytesRead === 0) return undefined;
      filled += bytesRead;
    }
    return this.#buffer.subarray(0, wanted);
  }
}
