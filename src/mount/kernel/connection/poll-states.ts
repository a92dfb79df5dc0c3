/** What main thread and polling thread say to each other. */

export const ARMED = 0;
export const SIGNALLED = 1;
export const STOPPED = 2;

export interface PollOrder {
  readonly device: number;
  /** An eventfd that becomes readable when the thread shall stop. */
  readonly wake: number;
  /** One 32-bit integer: the state. */
  readonly state: SharedArrayBuffer;
}

export type PollReport = "ready" | "stopped";
