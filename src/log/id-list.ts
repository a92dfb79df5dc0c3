/**
 * A list of block ids that only grows, in 8 bytes each.
 */
import type { BlockId } from "../base/ids.ts";

const FIRST_ROOM = 8;
const NO_IDS = new BigUint64Array(0);

export class IdList {
  private ids: BigUint64Array | undefined;
  private used = 0;

  /** A list of these ids, which are not copied and must not change. */
  static of(ids: BigUint64Array): IdList {
    const list = new IdList();
    if (ids.length > 0) list.ids = ids;
    list.used = ids.length;
    return list;
  }

  get length(): number {
    return this.used;
  }

  /** A view of the ids that are in the list now. */
  get values(): BigUint64Array {
    return this.ids?.subarray(0, this.used) ?? NO_IDS;
  }

  push(id: BlockId): void {
    if (this.ids === undefined || this.used === this.ids.length) {
      const grown = new BigUint64Array(Math.max(FIRST_ROOM, this.used * 2));
      if (this.ids !== undefined) grown.set(this.ids);
      this.ids = grown;
    }
    this.ids[this.used++] = id;
  }

  /** Those of the list that are in `wanted`, each once. */
  in(wanted: ReadonlySet<BlockId>): BlockId[] {
    const found = new Set<BlockId>();
    for (let at = 0; at < this.used; at++) {
      const id = this.ids![at] as BlockId;
      if (wanted.has(id)) found.add(id);
    }
    return [...found];
  }
}
