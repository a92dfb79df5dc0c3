/**
 * Cuts of long files that are on record (`namespace/content/cuts.ts`): working them off, and operations that have to wait for
 * that because their file would grow.
 *
 * From when an operation waits, what its connection asks of the same file has its turn behind it, and nothing else has. A client
 * that gives an operation up relies on that: it asks behind it how the file is then, and what it writes afterwards must not be
 * overwritten by what it has given up.
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

/** What somebody has asked for. */
interface Asked {
  /** The connection that it came over. */
  readonly owner: object;
  /** What it is about. */
  readonly files: () => Iterable<InodeId>;
  /** Hardly anything has to wait: it costs something then only. */
  waiting: Waiting | undefined;
}

/** An operation that waits, for a cut or behind another one. */
class Waiting {
  private readonly files: ReadonlySet<InodeId>;
  /** Resolves when it has been answered. */
  readonly done: Promise<void>;
  readonly settle: () => void;

  constructor(files: Iterable<InodeId>) {
    this.files = new Set(files);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.settle = resolve;
  }

  isAbout(files: Iterable<InodeId>): boolean {
    for (const file of files) if (this.files.has(file)) return true;
    return false;
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
    files: () => Iterable<InodeId>,
    execute: (inTurn: InTurn) => Promise<T>,
  ): Promise<T> {
    const asked: Asked = { owner, files, waiting: undefined };
    try {
      for (;;) {
        try {
          return await execute((operation) => this.inTurn(asked, operation));
        } catch (error) {
          if (error instanceof CutPending) await this.cut(error, owner);
          else if (error instanceof Behind) await error.earlier.done;
          else throw error;
        }
      }
    } finally {
      this.leave(asked);
    }
  }

  private cut({ inode, size }: CutPending, owner: object): Promise<void> {
    return finishCut(this.engine, inode, (start) => start >= size, owner);
  }

  /** In the transaction, so that nothing is executed between the look and the operation. */
  private *inTurn<T>(asked: Asked, operation: Operation<T>): Operation<T> {
    const earlier = this.earlierThan(asked);
    if (earlier !== undefined) {
      this.enter(asked);
      throw new Behind(earlier);
    }
    try {
      return yield* operation;
    } catch (error) {
      if (error instanceof CutPending) this.enter(asked);
      throw error;
    }
  }

  /** The first one that it has to wait for. */
  private earlierThan({ owner, files, waiting }: Asked): Waiting | undefined {
    for (const each of this.lines.get(owner) ?? []) {
      if (each === waiting) return undefined;
      if (each.isAbout(files())) return each;
    }
    return undefined;
  }

  private enter(asked: Asked): void {
    if (asked.waiting !== undefined) return;
    asked.waiting = new Waiting(asked.files());
    const line = this.lines.get(asked.owner);
    if (line === undefined) this.lines.set(asked.owner, [asked.waiting]);
    else line.push(asked.waiting);
  }

  private leave({ owner, waiting }: Asked): void {
    if (waiting === undefined) return;
    const line = this.lines.get(owner)!;
    line.splice(line.indexOf(waiting), 1);
    if (line.length === 0) this.lines.delete(owner);
    waiting.settle();
  }
}
