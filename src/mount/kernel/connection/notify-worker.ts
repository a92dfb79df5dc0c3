/**
 * A thread that writes notices to the kernel. A notice may block there for as long as a request on the same inode or directory
 * is unanswered, so it never comes from the thread that answers. It has a descriptor of its own.
 */
import { sys } from "../system/libc.ts";
import { allocateMemory } from "./memory.ts";
import type { NotifyOrder, NotifyReport } from "./notices.ts";

declare const self: Worker;

/** The results are errno values, 0 for success, in the order of the notices. */
function writeAll(order: NotifyOrder): number[] {
  return order.notices.map((notice) => {
    const memory = allocateMemory(notice.length);
    memory.bytes.set(notice);
    return Math.min(0, sys.write(order.fd, memory.address, notice.length));
  });
}

self.onmessage = (event: MessageEvent<NotifyOrder>) => {
  postMessage({ results: writeAll(event.data) } satisfies NotifyReport);
};
