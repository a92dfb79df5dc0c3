/**
 * A thread that only waits: until the device has a request, then it wakes the main thread and waits until that has taken all
 * there are. It is never in the way of the main thread, which reads, answers and keeps its event loop free.
 *
 * The states, in shared memory:  ARMED -> (request) SIGNALLED -> (all taken) ARMED ...;  STOPPED ends it.
 */
import { sys } from "../system/libc.ts";
import { allocateMemory } from "./memory.ts";
import { ARMED, SIGNALLED, STOPPED, type PollOrder, type PollReport } from "./poll-states.ts";

declare const self: Worker;

const POLLIN = 1;
const POLLFD_BYTES = 8;

function report(what: PollReport): void {
  postMessage(what);
}

/** Waits for a request or for the end of the mount. False when the poller shall stop, or nothing can be waited for. */
function wait(order: PollOrder, descriptors: ReturnType<typeof allocateMemory>): boolean {
  for (const [index, fd] of [order.device, order.wake].entries()) {
    descriptors.view.setInt32(index * POLLFD_BYTES, fd, true);
    descriptors.view.setUint32(index * POLLFD_BYTES + 4, POLLIN, true); // events; revents 0
  }
  const ready = sys.poll(descriptors.address, 2, -1);
  // EINTR and the like: the main thread finds nothing and says so.
  return ready <= 0 || descriptors.view.getUint16(POLLFD_BYTES + 6, true) === 0;
}

function run(order: PollOrder): void {
  const state = new Int32Array(order.state);
  const descriptors = allocateMemory(2 * POLLFD_BYTES);
  while (wait(order, descriptors)) {
    if (Atomics.compareExchange(state, 0, ARMED, SIGNALLED) !== ARMED) break;
    report("ready");
    Atomics.wait(state, 0, SIGNALLED);
    if (Atomics.load(state, 0) === STOPPED) break;
  }
  report("stopped");
}

self.onmessage = (event: MessageEvent<PollOrder>) => run(event.data);
