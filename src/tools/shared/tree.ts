/**
 * Walking trees: many things at once, in bounded memory, however deep or wide the tree.
 *
 * Work is given as steps. A step does one thing; when that thing was a directory, it returns what is inside as a lazy
 * sequence of further steps, and what is to be done when all of them are done (`leave`). Workers always take the next
 * step of the directory that was entered last, so that only one page of each directory on the way down is in memory.
 *
 * Invariants
 * - A step runs after the step of its directory has returned, and before that directory's `leave`.
 * - `leave` runs once for each directory that was entered, unless the walk was ended by an error.
 * - The first error thrown by a step ends the walk: no further step begins, and it is thrown when the running ones have
 *   ended. Steps deal with what should not end the walk themselves.
 * - An interruption does the same, but waits for the running ones only a moment: what they wait for may never come.
 */
import { soonUnlessAborted } from "./interruption.ts";

/** Does one thing; returns the directory to go into, if it was one. */
export type Step = () => Promise<TreeDirectory | undefined>;

export interface TreeDirectory {
  /** The steps for what is inside, in any order. */
  readonly steps: AsyncIterable<Step>;
  /** Called when everything inside is done. */
  readonly leave: () => Promise<void>;
}

/** A directory that has been entered. */
interface Frame {
  readonly parent: Frame | undefined;
  readonly iterator: AsyncIterator<Step>;
  readonly leave: () => Promise<void>;
  /** What must still end before `leave`: the sequence of steps itself, and each step begun and not done. */
  open: number;
  exhausted: boolean;
}

/**
 * Runs `steps` and all that they lead to, at most `width` at a time.
 * @throws the first error of a step; the reason of `signal` once that is aborted.
 */
export async function walkTree(
  steps: AsyncIterable<Step>,
  width: number,
  signal: AbortSignal,
): Promise<void> {
  const walk = new Walk({ steps, leave: () => Promise.resolve() }, signal);
  await soonUnlessAborted(signal, walk.run(width));
  signal.throwIfAborted();
}

class Walk {
  readonly #signal: AbortSignal;
  readonly #stack: Frame[] = [];
  #active = 0;
  #failure: { readonly error: unknown } | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(root: TreeDirectory, signal: AbortSignal) {
    this.#signal = signal;
    this.#enter(root, undefined);
  }

  async run(width: number): Promise<void> {
    await Promise.all(Array.from({ length: width }, () => this.#work()));
    const left = this.#stack.splice(0);
    for (const frame of left) await frame.iterator.return?.();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #work(): Promise<void> {
    while (this.#failure === undefined && !this.#signal.aborted) {
      const frame = this.#stack.at(-1);
      if (frame === undefined) {
        if (this.#active === 0) return;
        await this.#changed.promise;
        continue;
      }
      this.#active++;
      try {
        await this.#advance(frame);
      } catch (error) {
        this.#failure ??= { error };
      } finally {
        this.#active--;
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      }
    }
  }

  /** Takes and does the next step of `frame`. */
  async #advance(frame: Frame): Promise<void> {
    const next = await frame.iterator.next();
    if (next.done) {
      if (frame.exhausted) return;
      frame.exhausted = true;
      this.#stack.splice(this.#stack.indexOf(frame), 1);
      await this.#settle(frame);
      return;
    }
    frame.open++;
    const inside = await next.value();
    if (inside === undefined) await this.#settle(frame);
    else this.#enter(inside, frame);
  }

  #enter(directory: TreeDirectory, parent: Frame | undefined): void {
    const iterator = directory.steps[Symbol.asyncIterator]();
    const { leave } = directory;
    this.#stack.push({ parent, iterator, leave, open: 1, exhausted: false });
  }

  /** One thing in `frame` has ended; leaves it, and those around it, when that was the last one. */
  async #settle(frame: Frame): Promise<void> {
    for (let at: Frame | undefined = frame; at !== undefined; at = at.parent) {
      at.open--;
      if (at.open > 0 || this.#signal.aborted) return;
      await at.leave();
    }
  }
}
