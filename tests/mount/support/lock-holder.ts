// A process that locks, for tests: `lock-holder.ts PATH fcntl|flock TYPE`. It waits for the lock, says "locked" and holds it
// until its input ends. Before it waits it says "asking".

import { openSync } from "node:fs";

import { flock, setLock, type LockType } from "./system-calls.ts";

const [, , path = "", kind, type] = process.argv;
const fd = openSync(path, "r+");
process.stdout.write("asking\n");
if (kind === "flock") flock(fd, type as LockType, true);
else setLock(fd, { type: type as LockType, start: 0, length: 0 }, { wait: true });
process.stdout.write("locked\n");
await Bun.stdin.text();
