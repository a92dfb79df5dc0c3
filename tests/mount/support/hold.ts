// Holds calls back, as a cluster does that is away, until it lets go or they are given up.

import type { CancelSignal } from "../../../src/base/cancellation.ts";
import { DfsError } from "../../../src/base/errors.ts";

export class Hold {
  /** Calls that are being held. */
  held = 0;
  private holding: PromiseWithResolvers<void> | undefined;

  begin(): void {
    this.holding = Promise.withResolvers<void>();
  }

  letGo(): void {
    this.holding?.resolve();
    this.holding = undefined;
  }

  /** Resolves at once unless calls are being held. @throws DfsError `cancelled` by the signal. */
  async pass(signal?: CancelSignal): Promise<void> {
    if (this.holding === undefined) return;
    const givenUp = Promise.withResolvers<never>();
    const giveUp = (): void => givenUp.reject(new DfsError("cancelled", "the call is given up"));
    signal?.addEventListener("abort", giveUp, { once: true });
    this.held++;
    try {
      await Promise.race([this.holding.promise, givenUp.promise]);
    } finally {
      this.held--;
    }
  }
}
