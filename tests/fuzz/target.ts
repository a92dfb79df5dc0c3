// What is fuzzed: something that reads bytes which somebody else may have written.

import type { Random } from "../../src/base/random.ts";
import { isDfsError, messageOf, type ErrorKind } from "../../src/base/errors.ts";

export interface Target {
  /** Also the name of its file in corpus/. */
  readonly name: string;
  /** An input that is right, or right but for what mutation cannot find by chance. Throws when a right one is not taken. */
  readonly generate: (random: Random) => Uint8Array;
  /**
   * Reads `input` and tells in a few words what came of it: inputs that make something new happen are mutated further.
   * @throws Error when what must hold does not.
   */
  readonly read: (input: Uint8Array) => string;
}

/** @throws Error that ends the run: a property does not hold. */
export function mustHold(holds: boolean, what: string): void {
  if (!holds) throw new Error(`it does not hold that ${what}`);
}

/** What an error says without what differs from input to input; errors of other kinds than these are passed on. */
export function refusalOf(error: unknown, ...kinds: ErrorKind[]): string {
  if (!kinds.some((kind) => isDfsError(error, kind))) throw error;
  return messageOf(error)
    .replace(/(JSON Parse error: \w+ \w+)[^]*/, "$1") // what follows is a part of the input
    .replaceAll(/-?\d+/g, "N")
    .replaceAll(/\/\S*/g, "PATH")
    .slice(0, 120);
}

/** 0, 1, 2, 3-4, 5-8, ...: numbers that are alike are one behaviour. */
export function about(count: number): number {
  return count <= 2 ? count : 2 ** Math.ceil(Math.log2(count));
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
