// A process that waits for the mount, for tests of interrupts: `waiter.ts PATH read|fsync`. It has a handler for SIGUSR1 and
// none for SIGINT. It prints what came of it.

import { constants, fsyncSync, openSync, readSync } from "node:fs";

const [, , path = "", call] = process.argv;
process.on("SIGUSR1", () => undefined);
// Past the page cache: a read of pages waits for the page, and not for the request.
const fd = openSync(path, constants.O_RDWR | constants.O_DIRECT);
if (call === "fsync") fsyncSync(fd);
else readSync(fd, new Uint8Array(4096), 0, 4096, 0);
process.stdout.write("done\n");
