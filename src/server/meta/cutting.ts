/**
 * Cuts of long files that are on record (`namespace/content/cuts.ts`): working them off, and operations that have to wait for
 * that because their file would grow.
 *
 * What a connection asks of one file is executed in the order in which it was asked, also when some of it has to wait. A client
 * that gives an operation up relies on that: it asks behind it how the file is then, and what it writes afterwards must not be
 * overwritten by what it has given up. So what comes later and is about the same file waits as well, and nothing else does.
 */
import { DfsError } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { Engine } from "./engine.ts";
import { CutPending, cutStep } from "./namespace/operations.ts";
import type { Operation } from "./store/store.ts";

/**
 * Works off the cut of an inode, until `isEnough` says that what is left begins far enough behind. Nobody waits for the disk:
 * a step that a power cut takes back is made again, and with it goes whatever was executed after it. `owner` is who waits, if
 * anybody does.
 */
export async function finishCut(
  engine: Engine,
  inode: InodeId,
  isEnough: (start: number) => boolean,
  owner?: unknown,
): Promise<void> {
  let start: number | undefined = 0;
  while (start !== undefined && !isEnough(start)) {
    start = await engine.lazy(
      () => cutStep({ nowNs: engine.nowNs, ids: engine.idSource }, inode),
      owner,
    );
  }
}

/** To be put around an operation in its transaction: it throws, and is undone, when its turn has not come. */
export type InTurn = <T>(operation: Operation<T>) => Operation<T>;

/** An operation that waits, for a cut or behind another one. */
class Waiting {
  readonly files: ReadonlySet<InodeId>;
  /** Resolves when it has been answered. */
  readonly done: Promise<void>;
  readonly settle: () => void;

  constructor(files: Iterable<InodeId>) {
    this.files = new Set(files);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.settle = resolve;
  }

  sharesFileWith({ files }: Waiting): boolean {
    return !this.files.isDisjointFrom(files);
  }
}

/** An operation that came earlier over the same connection, and is about the same file, waits. */
class Behind extends DfsError {
  readonly earlier: Waiting;

  constructor(earlier: Waiting) {
    super("busy", "an earlier operation on the same file waits until what was cut off it is gone");
    this.earlier = earlier;
  }
}

/** Executes operations behind cuts. */
export class CutWaits {
  private readonly engine: Engine;
  /** Those that wait, by the connection that they came over, in the order in which their turn was first. */
  private readonly lines = new WeakMap<object, Waiting[]>();

  constructor(engine: Engine) {
    this.engine = engine;
  }

  /**
   * Calls `execute`, again and again as long as its operation comes upon a cut, which is worked off first as far as it has to be,
   * or upon an earlier operation over the same connection that waits. `owner` is that connection, `files` what the operation is
   * about.
   */
  async run<T>(
    owner: object,
    files: Iterable<InodeId>,
    execute: (inTurn: InTurn) => Promise<T>,
  ): Promise<T> {
    const mine = new Waiting(files);
    try {
      for (;;) {
        try {
          return await execute((operation) => this.inTurn(owner, mine, operation));
        } catch (error) {
          if (error instanceof CutPending) await this.cut(error, owner);
          else if (error instanceof Behind) await error.earlier.done;
          else throw error;
        }
      }
    } finally {
      this.leave(owner, mine);
    }
  }

  private cut({ inode, size }: CutPending, owner: object): Promise<void> {
    return finishCut(this.engine, inode, (start) => start >= size, owner);
  }

  /** In the transaction, so that nothing is executed between the look and the operation. */
  private *inTurn<T>(owner: object, mine: Waiting, operation: Operation<T>): Operation<T> {
    for (const earlier of this.lines.get(owner) ?? []) {
      if (earlier === mine) break;
      if (!earlier.sharesFileWith(mine)) continue;
      this.enter(owner, mine);
      throw new Behind(earlier);
    }
    try {
      return yield* operation;
    } catch (error) {
      if (error instanceof CutPending) this.enter(owner, mine);
      throw error;
    }
  }

  private enter(owner: object, mine: Waiting): void {
    const line = this.lines.get(owner);
    if (line === undefined) this.lines.set(owner, [mine]);
    else if (!line.includes(mine)) line.push(mine);
  }

  private leave(owner: object, mine: Waiting): void {
    const line = this.lines.get(owner);
    const at = line?.indexOf(mine) ?? -1;
    if (line === undefined || at < 0) return;
    line.splice(at, 1);
    if (line.length === 0) this.lines.delete(owner);
    mine.settle();
  }
}
