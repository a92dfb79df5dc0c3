/**
 * Whether somebody looks at what a command prints. Asking `process.stdout` itself loads Node's streams, which takes
 * longer than many a command: it is asked only when there may be a terminal.
 */
import { fstatSync } from "node:fs";

/** Major number of /dev/null, /dev/zero and so on (Linux, admin-guide/devices.txt), above the 8 bits of the minor one. */
const MEMORY_DEVICES = 1;
const MINOR_BITS = 8;

/** True when standard output is a terminal. */
export function isOutputTerminal(): boolean {
  return isDevice(1) && process.stdout.isTTY;
}

/** Width of the terminal that is standard output; undefined when it is none, or does not tell. */
export function outputColumns(): number | undefined {
  if (!isOutputTerminal()) return undefined;
  const { columns } = process.stdout;
  return columns > 0 ? columns : undefined;
}

/** True when another program reads standard output. */
export function isOutputPipe(): boolean {
  try {
    const stats = fstatSync(1);
    return stats.isFIFO() || stats.isSocket();
  } catch {
    return false; // closed by whoever started the command
  }
}

/** True when standard error is a terminal. */
export function isErrorTerminal(): boolean {
  return isDevice(2) && process.stderr.isTTY;
}

/** True for what may be a terminal: a character device, but not /dev/null and its like. */
function isDevice(descriptor: number): boolean {
  try {
    const stats = fstatSync(descriptor);
    return stats.isCharacterDevice() && stats.rdev >> MINOR_BITS !== MEMORY_DEVICES;
  } catch {
    return false; // closed by whoever started the command
  }
}
