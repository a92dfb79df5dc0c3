/**
 * What programs do with many small files, one call after the other; a process of its own, so that nothing waits for anything
 * but the file system. `bench/mount.ts` starts it:
 *
 *     file-tool.ts WORK DIRECTORY COUNT SECONDS
 *
 * WORK is a key of `WORKS`. It is done COUNT times, or as often as SECONDS allow. One line of JSON tells how often (`count`) and
 * how long that took (`seconds`).
 */
import {
  closeSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

/** Length of a small file, and of a piece that is appended. */
export const SMALL_BYTES = 4096;

/** Name of a small file. */
export function smallName(index: number): string {
  return `file-${index}`;
}

/** Done over and over, with the number of the turn; `end` belongs to the work and is timed with it. */
interface Work {
  readonly step: (index: number) => void;
  readonly end?: () => void;
}

const bytes = new Uint8Array(SMALL_BYTES).fill(120);

const WORKS: Readonly<Record<string, (directory: string) => Work>> = {
  create: (directory) => ({
    step: (index) => {
      const file = openSync(join(directory, smallName(index)), "wx");
      writeSync(file, bytes);
      closeSync(file);
    },
  }),
  stat: (directory) => ({ step: (index) => void statSync(join(directory, smallName(index))) }),
  read: (directory) => {
    const buffer = new Uint8Array(SMALL_BYTES);
    return {
      step: (index) => {
        const file = openSync(join(directory, smallName(index)), "r");
        if (readSync(file, buffer) !== SMALL_BYTES) throw new Error(`${smallName(index)} is short`);
        closeSync(file);
      },
    };
  },
  rename: (directory) => ({
    step: (index) =>
      renameSync(join(directory, smallName(index)), join(directory, `renamed-${index}`)),
  }),
  unlink: (directory) => ({ step: (index) => unlinkSync(join(directory, smallName(index))) }),
  append: (directory) => {
    const file = openSync(join(directory, "appended"), "a");
    const end = (): void => {
      fsyncSync(file);
      closeSync(file);
    };
    return { step: () => void writeSync(file, bytes), end };
  },
  fsync: (directory) => {
    const file = openSync(join(directory, "synced"), "w");
    const step = (): void => {
      writeSync(file, bytes);
      fsyncSync(file);
    };
    return { step, end: () => closeSync(file) };
  },
};

if (import.meta.main) {
  const [name = "", directory = "", count = "0", seconds = "0"] = process.argv.slice(2);
  const work = WORKS[name];
  if (work === undefined) throw new Error(`no such work: ${name}`);
  console.log(JSON.stringify(repeat(work(directory), Number(count), Number(seconds))));
}

function repeat({ step, end }: Work, most: number, seconds: number) {
  const beganMs = performance.now();
  const untilMs = beganMs + seconds * 1000;
  let count = 0;
  while (count < most && performance.now() < untilMs) step(count++);
  end?.();
  return { count, seconds: (performance.now() - beganMs) / 1000 };
}
