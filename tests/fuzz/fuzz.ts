// The engine: inputs that made something new happen are kept and mutated further. What happens is told by the target in words,
// and stands in for the coverage that the runtime does not give.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/base/random.ts";
import { mutatedBytes, pick } from "./generate.ts";
import { DISK_TARGETS } from "./disk-targets.ts";
import type { Target } from "./target.ts";
import { WIRE_TARGETS } from "./wire-targets.ts";

export const TARGETS: readonly Target[] = [...WIRE_TARGETS, ...DISK_TARGETS];

/** Longer inputs are not kept: what they show, shorter ones show sooner or later. */
const MOST_KEPT_BYTES = 2048;
const MOST_KEPT = 24;

export interface Progress {
  inputs: number;
  /** What happened, and the first input that made it happen. */
  readonly behaviours: Map<string, Uint8Array>;
}

/** An input at which a property did not hold. */
export class Finding extends Error {
  readonly input: Uint8Array;

  constructor(target: Target, input: Uint8Array, cause: unknown) {
    super(
      `${target.name}: ${cause instanceof Error ? cause.message : String(cause)}\ninput: ${input.toHex()}`,
      { cause },
    );
    this.input = input;
  }
}

/** Feeds `target` until `going` says no. @throws Finding */
export function fuzz(
  target: Target,
  random: Random,
  progress: Progress,
  going: () => boolean,
): void {
  for (const input of corpusOf(target)) feed(target, input, progress);
  while (going()) {
    const known = [...progress.behaviours.values()];
    for (let round = 0; round < 64 && going(); round++)
      feed(target, nextInput(target, random, known), progress);
  }
}

export function newProgress(): Progress {
  return { inputs: 0, behaviours: new Map() };
}

/** The inputs that are kept for a target, one a line in hexadecimal. */
export function corpusOf({ name }: Target): Uint8Array[] {
  const path = corpusPath(name);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => Uint8Array.fromHex(line));
}

/** Keeps inputs for later runs, the shortest of them, with what is there already. */
export function keep(target: Target, inputs: readonly Uint8Array[], most = MOST_KEPT): void {
  const short = inputs
    .filter(({ length }) => length <= MOST_KEPT_BYTES)
    .toSorted((one, other) => one.length - other.length)
    .slice(0, most);
  const all = new Set([...corpusOf(target), ...short].map((input) => input.toHex()));
  writeFileSync(corpusPath(target.name), `${[...all].sort().join("\n")}\n`);
}

function corpusPath(name: string): string {
  return join(import.meta.dir, "corpus", `${name}.hex`);
}

function nextInput(target: Target, random: Random, known: readonly Uint8Array[]): Uint8Array {
  const choice = random.below(4);
  if (choice === 0 || known.length === 0) return target.generate(random);
  return mutatedBytes(choice === 1 ? target.generate(random) : pick(known, random), random);
}

function feed(target: Target, input: Uint8Array, progress: Progress): void {
  progress.inputs++;
  let behaviour: string;
  try {
    behaviour = target.read(input);
  } catch (error) {
    throw new Finding(target, input, error);
  }
  if (!progress.behaviours.has(behaviour)) progress.behaviours.set(behaviour, input);
}
