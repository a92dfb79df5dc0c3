/** What main thread and polling thread say to each other. */

/** The main thread has taken everything that it has seen, and wants to be told of the next request. */
export const QUIET = 0;
/** It has been told, and is taking requests. */
export const BUSY = 1;
export const STOPPED = 2;

export interface PollOrder {
  readonly device: number;
  /** An eventfd that becomes readable when the thread shall stop. */
  readonly wake: number;
  /** One 32-bit integer: the state. */
  readonly state: SharedArrayBuffer;
}

export type PollReport = "ready" | "stopped";
