/**
 * Ids of inodes, blocks and sessions, given out from durable ranges.
 *
 * Invariants
 * - For each kind the store keeps a mark; ids below it may have been given out. The mark rises in the transaction that
 *   first gives out an id at or above it, and the reply of that transaction waits until it is durable. So no id leaves
 *   the service before a mark above it is durable.
 * - A start begins at the mark, wherever the run before had got to: what is left of its range is skipped, never reused.
 * - When a transaction or savepoint is undone, the mark that it put is undone with it; ids taken in it are skipped.
 */
import { DfsError } from "../../base/errors.ts";
import { MAX_ID } from "../../base/ids.ts";

/** Counter with the largest id of a data server that was ever given; those are given singly (`member-operations.ts`). */
export const SERVER_COUNTER = "server";

export type IdKind = "inode" | "block" | "session";

/** The two primitives of the store that this needs. */
export interface CounterStore {
  "counter.get"(name: string): bigint;
  "counter.put"(name: string, reserved: bigint): void;
}

/** How far the mark is put ahead of need: how many ids a crash may skip, and how often the mark is written. */
const AHEAD: Readonly<Record<IdKind, bigint>> = { inode: 4096n, block: 65536n, session: 64n };

/** First id that is ever given out. Inode 1 is the root, which exists from the beginning. */
const FIRST: Readonly<Record<IdKind, bigint>> = { inode: 2n, block: 1n, session: 1n };

interface Range {
  /** The next id to give out. */
  next: bigint;
  /** The mark as the store has it inside the open transaction; undefined when it must be looked up. */
  mark: bigint | undefined;
}

export class IdRanges {
  private readonly store: CounterStore;
  private readonly ranges: Readonly<Record<IdKind, Range>>;

  /** Begins at the marks that `store` holds. */
  constructor(store: CounterStore) {
    this.store = store;
    const begin = (kind: IdKind): Range => {
      const mark = store["counter.get"](kind);
      return { next: mark > FIRST[kind] ? mark : FIRST[kind], mark };
    };
    this.ranges = { inode: begin("inode"), block: begin("block"), session: begin("session") };
  }

  /**
   * Takes `count` ids in a row and returns the first. Call inside a transaction.
   * @throws DfsError `outOfRange` when all ids have been given out.
   */
  take(kind: IdKind, count = 1): bigint {
    const range = this.ranges[kind];
    const first = range.next;
    const end = first + BigInt(count);
    if (end > MAX_ID) throw new DfsError("outOfRange", `all ${kind} ids have been given out`);
    this.raiseMark(kind, range, end);
    range.next = end;
    return first;
  }

  /** No id up to and including `id` will be given out from now on. Call inside a transaction. */
  skipTo(kind: IdKind, id: bigint): void {
    const range = this.ranges[kind];
    if (id < range.next) return;
    if (id >= MAX_ID)
      throw new DfsError("outOfRange", `${kind} id ${id} is too large to go on from`);
    this.raiseMark(kind, range, id + 1n);
    range.next = id + 1n;
  }

  /** A transaction or savepoint was undone: what it did to the marks is undone as well. */
  undone(): void {
    for (const range of Object.values(this.ranges)) range.mark = undefined;
  }

  private raiseMark(kind: IdKind, range: Range, end: bigint): void {
    range.mark ??= this.store["counter.get"](kind);
    if (end <= range.mark) return;
    const wished = end + AHEAD[kind];
    range.mark = wished < MAX_ID ? wished : MAX_ID;
    this.store["counter.put"](kind, range.mark);
  }
}
