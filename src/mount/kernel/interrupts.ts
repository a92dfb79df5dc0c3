/**
 * Requests whose process wants to wait no longer.
 *
 * The kernel sends INTERRUPT once for a request, whatever the signal. One that waits for a lock is given up at once: there any
 * signal counts, and the kernel restarts the call where the program wants that. Others are given up when the process has to end
 * (`system/signals.ts`); until then they are looked at again and again, as the kernel tells of no further signal.
 *
 * Of reads and writes that it has split into background requests (O_DIRECT with ASYNC_DIO) the kernel tells nothing, and lets
 * the process wait even when it was killed. So those that take long are looked at without being told.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { OPCODE } from "./protocol/constants.ts";
import type { Request } from "./protocol/request.ts";
import { hasToEnd } from "./system/signals.ts";

const LOOK_MS = 250;

export class Interrupts {
  private readonly clock: Clock;
  private readonly inFlight: ReadonlyMap<number, Request>;
  private told = new Set<Request>();
  /** Reads and writes that were in flight at the last look. */
  private slow = new Set<Request>();
  private timer: Timer | undefined;

  /** `inFlight`: the requests that are not answered yet, kept by the session. */
  constructor(clock: Clock, inFlight: ReadonlyMap<number, Request>) {
    this.clock = clock;
    this.inFlight = inFlight;
  }

  /** The kernel says that the process of this request has got a signal. */
  tell(request: Request): void {
    if (request.opcode === OPCODE.SETLKW || hasToEnd(request.pid)) request.interrupt();
    else this.told.add(request);
  }

  /** A request is in flight: from now on it is looked after. */
  watch(): void {
    this.timer ??= this.clock.setTimer(LOOK_MS, () => {
      this.timer = undefined;
      this.look();
      if (this.inFlight.size > 0) this.watch();
    });
  }

  stop(): void {
    this.timer?.cancel();
  }

  private look(): void {
    const ending = new Map<number, boolean>();
    const told = new Set<Request>();
    const slow = new Set<Request>();
    for (const request of this.inFlight.values()) {
      const wasTold = this.told.has(request);
      if (wasTold) told.add(request);
      if (request.opcode === OPCODE.READ || request.opcode === OPCODE.WRITE) slow.add(request);
      if (!wasTold && !this.slow.has(request)) continue;
      const ends = ending.get(request.pid) ?? hasToEnd(request.pid);
      ending.set(request.pid, ends);
      if (ends) request.interrupt();
    }
    this.told = told;
    this.slow = slow;
  }
}
