/**
 * The bound on file bytes in memory, shared by all transfers of a client.
 *
 * Invariants
 * - What is held never exceeds the limit by more than one grant for each holder: a holder that holds nothing is granted
 *   at once, so that every transfer can move. Without that, a reader whose blocks fill the memory and the writer that
 *   should take them would wait for each other.
 * - Other grants are made in the order in which they were asked for.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import { assert, DfsError } from "../base/errors.ts";

interface Waiter {
  readonly holder: Holder;
  readonly bytes: number;
  grant(): void;
}

/** A transfer's share of the budget. */
export interface Holder {
  /** Bytes held now. */
  readonly held: number;
  /**
   * Waits until `bytes` more may be held.
   * @throws DfsError `cancelled` when `signal` is aborted first.
   */
  acquire(bytes: number, signal?: CancelSignal): Promise<void>;
  /** Takes `bytes` if that is possible at once, ahead of nobody who waits. */
  tryAcquire(bytes: number): boolean;
  release(bytes: number): void;
  /** Makes what is held `bytes`, the memory that really is in use, even beyond the limit. */
  settle(bytes: number): void;
}

export class ByteBudget {
  readonly limit: number;
  private readonly waiters: Waiter[] = [];
  private readonly reclaimers = new Set<() => void>();
  private usedBytes = 0;
  private peakBytes = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes held now by all holders. */
  get used(): number {
    return this.usedBytes;
  }

  /** The most bytes that were ever held. */
  get peak(): number {
    return this.peakBytes;
  }

  /** A share for one more transfer. It is given up by releasing what it holds. */
  holder(): Holder {
    return new Share(this);
  }

  /** `reclaim` is called when memory is short; it releases what can be done without. Returns how to end that. */
  addReclaimer(reclaim: () => void): () => void {
    this.reclaimers.add(reclaim);
    return () => this.reclaimers.delete(reclaim);
  }

  /** For Share. */
  reclaim(): void {
    for (const each of this.reclaimers) each();
  }

  /** For Share. */
  fits(bytes: number): boolean {
    return this.waiters.length === 0 && this.usedBytes + bytes <= this.limit;
  }

  /** For Share. */
  add(bytes: number): void {
    this.usedBytes += bytes;
    this.peakBytes = Math.max(this.peakBytes, this.usedBytes);
    assert(this.usedBytes >= 0, "more memory was released than was held");
    if (bytes < 0) this.grantWaiting();
  }

  /** For Share: calls `grant` when it is the holder's turn; returns a function that gives the wait up. */
  wait(waiter: Waiter): () => void {
    this.waiters.push(waiter);
    return () => {
      const at = this.waiters.indexOf(waiter);
      if (at >= 0) this.waiters.splice(at, 1);
      this.grantWaiting(); // it may have been the one that held up the others
    };
  }

  private grantWaiting(): void {
    for (let at = 0; at < this.waiters.length;) {
      const waiter = this.waiters[at]!;
      const first = at === 0 && this.usedBytes + waiter.bytes <= this.limit;
      if (first || waiter.holder.held === 0) {
        this.waiters.splice(at, 1);
        waiter.grant();
      } else {
        at++;
      }
    }
  }
}

class Share implements Holder {
  held = 0;
  private readonly budget: ByteBudget;

  constructor(budget: ByteBudget) {
    this.budget = budget;
  }

  tryAcquire(bytes: number): boolean {
    if (this.held > 0 && !this.budget.fits(bytes)) return false;
    this.take(bytes);
    return true;
  }

  acquire(bytes: number, signal?: CancelSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(cancelled());
    if (this.tryAcquire(bytes)) return Promise.resolve();
    this.budget.reclaim();
    if (this.tryAcquire(bytes)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const giveUp = this.budget.wait({
        holder: this,
        bytes,
        grant: () => {
          signal?.removeEventListener("abort", onAbort);
          this.take(bytes);
          resolve();
        },
      });
      const onAbort = (): void => {
        giveUp();
        reject(cancelled());
      };
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  release(bytes: number): void {
    this.held -= bytes;
    assert(this.held >= 0, "a transfer released more memory than it held");
    this.budget.add(-bytes);
  }

  settle(bytes: number): void {
    if (bytes > this.held) this.take(bytes - this.held);
    else if (bytes < this.held) this.release(this.held - bytes);
  }

  private take(bytes: number): void {
    this.held += bytes;
    this.budget.add(bytes);
  }
}

function cancelled(): DfsError {
  return new DfsError("cancelled", "the transfer was cancelled");
}
