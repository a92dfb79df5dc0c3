/**
 * A bounded number of things at a time, and a bounded number of those that wait for their turn, in order.
 */
import { DfsError } from "../../base/errors.ts";

interface Waiter {
  readonly go: () => void;
}

export class Slots {
  private readonly most: number;
  private readonly mostWaiting: number;
  private readonly waiting: Waiter[] = [];
  private taken = 0;

  constructor(most: number, mostWaiting = Number.POSITIVE_INFINITY) {
    this.most = most;
    this.mostWaiting = mostWaiting;
  }

  /**
   * Runs `work` when its turn has come.
   * @throws DfsError `busy` when too many wait already, `cancelled` when `signal` is aborted before the turn; and what
   * `work` throws.
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.take(signal);
    try {
      return await work();
    } finally {
      this.release();
    }
  }

  private take(signal: AbortSignal | undefined): Promise<void> {
    if (this.taken < this.most) {
      this.taken++;
      return Promise.resolve();
    }
    if (this.waiting.length >= this.mostWaiting) {
      return Promise.reject(
        new DfsError("busy", `${this.waiting.length} others wait already; try again later`),
      );
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        go: () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      const onAbort = (): void => {
        const at = this.waiting.indexOf(waiter);
        if (at < 0) return;
        this.waiting.splice(at, 1);
        reject(new DfsError("cancelled", "given up before its turn had come"));
      };
      this.waiting.push(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
      if (signal?.aborted === true) onAbort();
    });
  }

  /** Hands the slot to who waits longest. */
  private release(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.taken--;
    else next.go();
  }
}
