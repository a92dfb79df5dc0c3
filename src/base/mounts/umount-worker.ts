/**
 * umount2(2) in a thread of its own: it takes as long as the file system takes to write back what programs have mapped, and the
 * process that serves the mount has to answer meanwhile. Gets `{ path, flags }`, answers with 0 or the errno.
 */
import { loadLibc, resultOf } from "../libc.ts";

declare const self: Worker;

export interface UmountOrder {
  readonly path: string;
  readonly flags: number;
}

const libc = loadLibc({ umount2: { args: ["buffer", "i32"], returns: "i32" } });

self.onmessage = ({ data }: MessageEvent<UmountOrder>): void => {
  self.postMessage(-resultOf(libc.umount2(Buffer.from(`${data.path}\0`), data.flags)));
};
