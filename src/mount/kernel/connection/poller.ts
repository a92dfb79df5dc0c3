/**
 * The main thread's side of the polling thread (`poll-worker.ts`).
 */
import { closeSync } from "node:fs";

import { DfsError } from "../../../base/errors.ts";
import { EFD_CLOEXEC, errnoName, sys } from "../system/libc.ts";
import { allocateMemory } from "./memory.ts";
import { BUSY, QUIET, STOPPED, type PollOrder, type PollReport } from "./poll-states.ts";

export class Poller {
  private readonly worker: Worker;
  private readonly wake: number;
  private readonly state = new Int32Array(new SharedArrayBuffer(4));
  private readonly stopped = Promise.withResolvers<void>();

  /** Calls `ready` when a request has arrived; once, until `again` is called. `failed` when the thread has ended by itself. */
  constructor(device: number, ready: () => void, failed: (error: DfsError) => void) {
    this.wake = sys.eventfd(0, EFD_CLOEXEC);
    if (this.wake < 0) {
      throw new DfsError("io", `cannot make an eventfd: ${errnoName(this.wake)}`);
    }
    this.worker = new Worker(new URL("./poll-worker.ts", import.meta.url));
    this.worker.onmessage = (event: MessageEvent<PollReport>) => {
      if (event.data === "ready") ready();
      else this.stopped.resolve();
    };
    this.worker.onerror = (event) => {
      this.stopped.resolve();
      failed(
        new DfsError("internal", `the thread that waits for requests has failed: ${event.message}`),
      );
    };
    this.worker.postMessage({
      device,
      wake: this.wake,
      state: this.state.buffer,
    } satisfies PollOrder);
  }

  /** Tell me of the next request. What has arrived before this call may not be told of: look once more afterwards. */
  again(): void {
    Atomics.compareExchange(this.state, 0, BUSY, QUIET);
  }

  /** Ends the thread; it does not use the device after that. */
  async stop(): Promise<void> {
    Atomics.store(this.state, 0, STOPPED);
    const one = allocateMemory(8);
    one.view.setBigUint64(0, 1n, true);
    sys.write(this.wake, one.address, 8);
    await this.stopped.promise;
    this.worker.terminate();
    closeSync(this.wake);
  }
}
