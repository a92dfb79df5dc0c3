// Hands to reach into files.

import { readFileSync, writeFileSync } from "node:fs";

/** Changes the bytes of a file. */
export function editFile(path: string, change: (bytes: Buffer) => Buffer | void): void {
  const bytes = readFileSync(path);
  writeFileSync(path, change(bytes) ?? bytes);
}

/** Flips one bit of a file. */
export function flipBit(path: string, position: number, bit = 0): void {
  editFile(path, (bytes) => {
    bytes[position]! ^= 1 << bit;
  });
}
