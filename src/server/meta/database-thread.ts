/**
 * A thread with a database connection of its own, which takes one order at a time and answers each.
 *
 * The thread starts with the first order. It must answer `{kind: "close"}` by closing its connection, because SQLite
 * cleans up behind the last connection that is closed.
 */
import { assert, DfsError } from "../../base/errors.ts";

export class DatabaseThread<Order, Answer> {
  private readonly script: string;
  private worker: Worker | undefined;
  private busy = false;

  /** `script` is the address of the thread's module. */
  constructor(script: URL) {
    this.script = script.href;
  }

  /** @throws DfsError `internal` when the thread itself has failed. */
  async ask(order: Order): Promise<Answer> {
    assert(!this.busy, "a database thread was given two orders at once");
    this.busy = true;
    this.worker ??= new Worker(this.script);
    const worker = this.worker;
    try {
      return await new Promise<Answer>((resolve, reject) => {
        worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
        worker.onerror = ({ message }) => {
          reject(new DfsError("internal", `a thread of the metadata service failed: ${message}`));
        };
        worker.postMessage(order);
      });
    } finally {
      this.busy = false;
    }
  }

  /** Sends the last order and ends the thread. */
  async close(last: Order): Promise<void> {
    if (this.worker === undefined) return;
    await this.ask(last);
    this.worker.terminate();
    this.worker = undefined;
  }
}
