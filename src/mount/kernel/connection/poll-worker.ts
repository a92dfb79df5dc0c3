/**
 * A thread that only waits: until a request arrives at the device; then it wakes the main thread, unless that is busy taking
 * requests anyway. It is never in the way of the main thread, which reads, answers and keeps its event loop free.
 *
 * epoll is edge-triggered: it tells of each arrival once, and the thread waits on at once. So the main thread need not wake it
 * in turn, which was seen to cost more than all of its own work on a request.
 */
import { closeSync } from "node:fs";
import { constants } from "node:os";

import { EPOLLET, EPOLLIN, errnoName, sys } from "../system/libc.ts";
import { allocateMemory } from "./memory.ts";
import { BUSY, QUIET, STOPPED, type PollOrder, type PollReport } from "./poll-states.ts";

declare const self: Worker;

/** `struct epoll_event`: u32 events first; 12 bytes on x86-64, 16 on arm64. The rest is not used. */
const EVENT_BYTES = 16;

function report(what: PollReport): void {
  postMessage(what);
}

/** @throws Error, which ends the thread; the main thread is told. */
function checked(what: string, result: number): number {
  if (result < 0) throw new Error(`${what}: ${errnoName(result)}`);
  return result;
}

function watch(epoll: number, fd: number, events: number): void {
  const event = allocateMemory(EVENT_BYTES);
  event.view.setUint32(0, events, true);
  checked("epoll_ctl", sys.epollAdd(epoll, fd, event.address));
}

function run(order: PollOrder): void {
  const state = new Int32Array(order.state);
  const events = allocateMemory(2 * EVENT_BYTES);
  const epoll = checked("epoll_create1", sys.epollCreate());
  watch(epoll, order.wake, EPOLLIN);
  watch(epoll, order.device, EPOLLIN + EPOLLET);
  for (let before: number = QUIET; before !== STOPPED;) {
    const ready = sys.epollWait(epoll, events.address, 2, -1);
    if (ready !== -constants.errno.EINTR) checked("epoll_wait", ready);
    before = Atomics.compareExchange(state, 0, QUIET, BUSY);
    if (before === QUIET) report("ready");
  }
  closeSync(epoll);
  report("stopped");
}

self.onmessage = (event: MessageEvent<PollOrder>) => run(event.data);
