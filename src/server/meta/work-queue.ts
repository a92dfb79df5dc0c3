/**
 * Work that waits for its turn: one piece of each owner after the other, so that nobody waits until others have all that they
 * asked for.
 *
 * Owners whose work takes long have a line of their own. In each turn one piece of it is done, and more only when nothing else
 * waits: a path of a thousand parts takes ten milliseconds, and whoever walks hundreds of them, on as many connections as he
 * likes, is to make others wait for one of them at a time.
 */

/** A piece of work that takes so long is long. */
export const LONG_WORK_MS = 2;

/** An owner whose work was long has done so many that were not before he is like others again. */
const PROBATION = 64;

/** In a turn nothing is begun after so long. */
export const TURN_MS = 10;

/** Owners of long work that are remembered. */
const MAX_REMEMBERED = 16_384;

export interface OwnedWork {
  /** Whose it is; undefined: it stands for itself. */
  readonly owner: unknown;
}

export class WorkQueue<Work extends OwnedWork> {
  private readonly nowMs: () => number;
  private readonly quick = new Ring<Work>();
  private readonly long = new Ring<Work>();
  /** How much of the probation is left to owners of long work; who was seen last comes last. */
  private readonly probation = new Map<unknown, number>();

  /** `nowMs` is a clock that never goes back. */
  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  /** Pieces of work that wait. */
  get size(): number {
    return this.quick.size + this.long.size;
  }

  push(work: Work): void {
    const ring = this.probation.has(work.owner) ? this.long : this.quick;
    ring.push(work.owner ?? work, work);
  }

  /** The work of one turn, at most so many pieces. Each is done before the next one is asked for; what is not stays here. */
  *turn(most: number): Generator<Work, void> {
    const startMs = this.nowMs();
    let nowMs = startMs;
    let left = most;
    const first = this.long.take();
    if (first !== undefined) {
      yield first;
      nowMs = this.took(first.owner, nowMs);
      left--;
    }
    const quickMs = nowMs;
    for (; left > 0; left--) {
      const isQuick = this.quick.size > 0;
      if (nowMs - (isQuick ? quickMs : startMs) >= TURN_MS) return;
      const next = (isQuick ? this.quick : this.long).take();
      if (next === undefined) return;
      yield next;
      nowMs = this.took(next.owner, nowMs);
    }
  }

  /** The owner has gone: takes what waits of it. */
  forget(owner: unknown): readonly Work[] {
    this.probation.delete(owner);
    return [...this.quick.remove(owner), ...this.long.remove(owner)];
  }

  /** Takes all that waits. */
  clear(): Work[] {
    return [...this.quick.clear(), ...this.long.clear()];
  }

  /** Work that was begun at `startMs` has ended now, which is returned. */
  private took(owner: unknown, startMs: number): number {
    const nowMs = this.nowMs();
    const isLong = nowMs - startMs >= LONG_WORK_MS;
    if (owner !== undefined && (isLong || this.probation.size > 0)) this.judge(owner, isLong);
    return nowMs;
  }

  private judge(owner: unknown, isLong: boolean): void {
    const before = this.probation.get(owner);
    if (!isLong && before === undefined) return;
    const left = isLong ? PROBATION : before! - 1;
    this.probation.delete(owner);
    if (left > 0) this.probation.set(owner, left);
    if (before === undefined) this.long.add(owner, this.quick.remove(owner));
    else if (left === 0) this.quick.add(owner, this.long.remove(owner));
    if (this.probation.size > MAX_REMEMBERED) this.forgetOldest();
  }

  private forgetOldest(): void {
    const [oldest] = this.probation.keys();
    this.probation.delete(oldest);
    this.quick.add(oldest, this.long.remove(oldest));
  }
}

/** Work by owner, in the order of turns. */
class Ring<Work> {
  private readonly byOwner = new Map<unknown, Work[]>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  push(owner: unknown, work: Work): void {
    this.add(owner, [work]);
  }

  add(owner: unknown, works: readonly Work[]): void {
    if (works.length === 0) return;
    const own = this.byOwner.get(owner);
    if (own === undefined) this.byOwner.set(owner, [...works]);
    else own.push(...works);
    this.count += works.length;
  }

  /** The next piece; its owner is the last one then. */
  take(): Work | undefined {
    const [next] = this.byOwner;
    if (next === undefined) return undefined;
    const [owner, works] = next;
    const work = works.shift();
    this.count--;
    if (works.length > 0 && this.byOwner.size === 1) return work;
    this.byOwner.delete(owner);
    if (works.length > 0) this.byOwner.set(owner, works);
    return work;
  }

  remove(owner: unknown): readonly Work[] {
    const works = this.byOwner.get(owner) ?? [];
    this.byOwner.delete(owner);
    this.count -= works.length;
    return works;
  }

  clear(): Work[] {
    const all = [...this.byOwner.values()].flat();
    this.byOwner.clear();
    this.count = 0;
    return all;
  }
}
