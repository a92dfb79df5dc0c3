// What a log must say about each block after a crash, given what it has acknowledged.
//
// - A put that was acknowledged, and that nobody asked to delete: held.
// - Never asked for, or a deletion was acknowledged: gone. Ids are never used again.
// - Everything else, also what failed: either, until an opening has shown which. From then on it stays so.

import type { BlockToPut } from "../../../src/log/log.ts";

export type Expectation = "held" | "gone" | "either";

interface Told {
  readonly block: BlockToPut;
  expected: Expectation;
  /** Its copy was made rotten: reads may fail. */
  rotten: boolean;
}

/** The expectations of one moment. */
export interface Snapshot {
  readonly blocks: ReadonlyMap<number, Readonly<Told>>;
  /** Something was made rotten: damage may be reported. */
  readonly rot: boolean;
}

export class Oracle {
  /** Set when the test has damaged the log. */
  rot = false;
  private readonly blocks = new Map<number, Told>();
  private taken: Snapshot | undefined;

  snapshot(): Snapshot {
    this.taken ??= {
      blocks: new Map([...this.blocks].map(([id, told]) => [id, { ...told }])),
      rot: this.rot,
    };
    return this.taken;
  }

  /** Continues from a snapshot. */
  static from({ blocks, rot }: Snapshot): Oracle {
    const oracle = new Oracle();
    for (const [id, told] of blocks) oracle.blocks.set(id, { ...told });
    oracle.rot = rot;
    return oracle;
  }

  block(id: number): BlockToPut {
    return this.told(id).block;
  }

  ids(expected: Expectation): number[] {
    return [...this.blocks].filter(([, told]) => told.expected === expected).map(([id]) => id);
  }

  putAsked(block: BlockToPut): void {
    const id = Number(block.block);
    const known = this.blocks.get(id);
    if (known === undefined) this.blocks.set(id, { block, expected: "either", rotten: false });
    this.taken = undefined;
  }

  putDone(id: number): void {
    const told = this.told(id);
    told.expected = "held";
    told.rotten = false;
  }

  deleteAsked(id: number): void {
    const told = this.told(id);
    if (told.expected === "held") told.expected = "either";
  }

  deleteDone(id: number): void {
    this.told(id).expected = "gone";
  }

  isRotten(id: number): boolean {
    return this.told(id).rotten;
  }

  madeRotten(id: number): void {
    this.told(id).rotten = true;
    this.rot = true;
  }

  /** An opening has shown which blocks there are. A rotten copy may be listed, or not, by each of them. */
  settle(held: ReadonlySet<number>): void {
    for (const [id, told] of this.blocks) {
      if (told.expected === "either" && !told.rotten)
        told.expected = held.has(id) ? "held" : "gone";
    }
    this.taken = undefined;
  }

  private told(id: number): Told {
    this.taken = undefined;
    const told = this.blocks.get(id);
    if (told === undefined) throw new Error(`nobody has put block ${id}`);
    return told;
  }
}
