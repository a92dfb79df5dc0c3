/**
 * A thread for one system call that may need the mount's own answers, or block: umount2(2).
 */
import { cString, sys } from "./libc.ts";

declare const self: Worker;

export interface UnmountOrder {
  readonly path: string;
  readonly flags: number;
}

self.onmessage = (event: MessageEvent<UnmountOrder>) => {
  const { path, flags } = event.data;
  postMessage(sys.umount2(cString(path), flags));
};
