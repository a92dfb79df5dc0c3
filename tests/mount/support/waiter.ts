// A process that waits for the mount, for tests of interrupts: `waiter.ts PATH read|fsync|fallocate|lseek|copy`. It has a handler for SIGUSR1 and
// none for SIGINT. It prints what came of it.

import { constants, fsyncSync, openSync, readSync } from "node:fs";
import * as posix from "./system-calls.ts";

const [, , path = "", call = ""] = process.argv;
process.on("SIGUSR1", () => undefined);
// Past the page cache: a read of pages waits for the page, and not for the request.
const fd = openSync(path, constants.O_RDWR | constants.O_DIRECT);
const calls: Readonly<Record<string, () => unknown>> = {
  fsync: () => fsyncSync(fd),
  read: () => readSync(fd, new Uint8Array(4096), 0, 4096, 0),
  fallocate: () => posix.fallocate(fd, posix.FALLOC_ZERO_RANGE, 0, 4096),
  lseek: () => posix.lseek(fd, 0, posix.SEEK_HOLE),
  copy: () => posix.copyFileRange({ fd, offset: 0 }, { fd, offset: 4096 }, 4),
};
calls[call]!();
process.stdout.write("done\n");
