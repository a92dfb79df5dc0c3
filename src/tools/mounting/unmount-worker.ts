/**
 * umount2(2) in a thread of its own, because it can take as long as the file system takes to write back what programs have
 * mapped. Gets `{ path, flags }`, answers with the errno, 0 for success.
 */
import { dlopen, read, type Pointer } from "bun:ffi";

declare const self: Worker;

const { symbols } = dlopen("libc.so.6", {
  umount2: { args: ["cstring", "i32"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
});

self.onmessage = ({ data }: MessageEvent<{ path: string; flags: number }>): void => {
  const path = Buffer.from(`${data.path}\0`);
  const result = symbols.umount2(path, data.flags);
  const errno = result === 0 ? 0 : read.i32(symbols.__errno_location() as Pointer, 0);
  self.postMessage(errno);
};
