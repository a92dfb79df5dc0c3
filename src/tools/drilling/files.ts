/**
 * The files of a drill: which there are, and what must be in each. Sizes and bytes come from the seed alone, so a file's
 * content is made again whenever it is needed and nothing of it is kept.
 */
import type { Random } from "../../base/random.ts";
import type { DfsClient } from "../../client/api.ts";
import { joined } from "../shared/paths.ts";
import { ownOwner } from "../shared/ownership.ts";

/** Random files have up to so many blocks. */
const MOST_BLOCKS = 12;
const SEEDS = 2 ** 32;
const FILE_MODE = 0o644;

export interface DrillFile {
  readonly path: Uint8Array;
  readonly name: string;
  readonly size: number;
  /** Of its bytes. */
  readonly seed: number;
}

export interface FilesOptions {
  /** The drill's directory in the cluster. */
  readonly root: Uint8Array;
  readonly blockSize: number;
}

export class DrillFiles {
  readonly root: Uint8Array;
  readonly #blockSize: number;
  readonly #stored: DrillFile[] = [];
  /** Every name that was ever used: all of them have to go in the end. */
  readonly #made: DrillFile[] = [];

  constructor({ root, blockSize }: FilesOptions) {
    this.root = root;
    this.#blockSize = blockSize;
  }

  /** Files that were acknowledged as stored, and so must be there. */
  get stored(): readonly DrillFile[] {
    return this.#stored;
  }

  /** These, and those of which nobody knows whether they are there. */
  get made(): readonly DrillFile[] {
    return this.#made;
  }

  get bytes(): number {
    return this.#stored.reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * The files to begin with, about `totalBytes` in all: an empty one, one of a byte, of a block and of a byte less and more,
   * of several blocks, and others of any size.
   */
  first(totalBytes: number, random: Random): DrillFile[] {
    const block = this.#blockSize;
    const sizes = [0, 1, block - 1, block, block + 1, 3 * block];
    let sum = sizes.reduce((total, size) => total + size, 0);
    const most = Math.max(MOST_BLOCKS * block, Math.floor(totalBytes / 16));
    while (sum < totalBytes) {
      const size = 1 + random.below(most);
      sizes.push(size);
      sum += size;
    }
    return sizes.map((size) => this.another(random, size));
  }

  /** One more file, which is not stored yet; its size at random when none is given. */
  another(random: Random, size = 1 + random.below(4 * this.#blockSize)): DrillFile {
    const name = `file-${this.#made.length}`;
    const path = joined(this.root, Buffer.from(name));
    const file = { path, name, size, seed: random.below(SEEDS) };
    this.#made.push(file);
    return file;
  }

  /** Stores a file, new or again; from then on it must be there. @throws DfsError as `DfsClient.put`. */
  async put(client: DfsClient, file: DrillFile): Promise<void> {
    const content = contentOf(file);
    await client.put(file.path, [content], { ...ownOwner(FILE_MODE), keepReplaced: true });
    if (!this.#stored.includes(file)) this.#stored.push(file);
  }
}

/** What must be in a file. */
export function contentOf({ size, seed }: Pick<DrillFile, "size" | "seed">): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let word = seed | 1; // xorshift32 by George Marsaglia, which must not begin with 0
  for (let at = 0; at < words.length; at++) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    words[at] = word;
  }
  return new Uint8Array(words.buffer, 0, size);
}
