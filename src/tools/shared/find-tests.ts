/**
 * What `dfs find` looks for: the parsers of its options' values, and the tests that they stand for.
 */
import { DfsError } from "../../base/errors.ts";
import type { FileType } from "../../protocol/messages/common.ts";
import type { Item } from "./visits.ts";
import { globMatcher } from "./glob.ts";

/** Tells whether something found is looked for. */
export type Test = (item: Item) => boolean;

/** A figure to compare with: `+7` more than 7, `-7` less, `7` exactly. */
export interface Comparison {
  readonly sign: "+" | "-" | "";
  readonly count: number;
  /** What is counted: bytes of a unit of size. */
  readonly unit: number;
}

const TYPES: Readonly<Record<string, FileType>> = {
  b: "blockDevice",
  c: "characterDevice",
  d: "directory",
  f: "file",
  l: "symlink",
  p: "fifo",
  s: "socket",
};

/** Units of find(1); without a letter it is that of st_blocks. */
const UNITS: Readonly<Record<string, number>> = {
  "": 512,
  b: 512,
  c: 1,
  w: 2,
  k: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
};

const DAY_NS = 86_400_000_000_000n;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** `f`, or several as `f,l`. @throws DfsError `usage`. */
export function types(value: string): ReadonlySet<FileType> {
  const found = value.split(",").map((letter) => TYPES[letter]);
  const known = found.filter((type) => type !== undefined);
  if (known.length === found.length) return new Set(known);
  throw new DfsError("usage", "expected f, d, l, p, s, b or c, or several with commas");
}

/** `100c`, `+4k`, `-1M`. @throws DfsError `usage`. */
export function sizeComparison(value: string): Comparison {
  const match = /^([+-]?)(\d{1,15})([bcwkMG]?)$/.exec(value);
  const unit = UNITS[match?.[3] ?? ""];
  if (match === null || unit === undefined) {
    throw new DfsError("usage", "expected a size such as 100c, +4k or -1M");
  }
  return { sign: signOf(match[1]), count: Number(match[2]), unit };
}

/** `7`, `+7`, `-7`. @throws DfsError `usage`. */
export function dayComparison(value: string): Comparison {
  const match = /^([+-]?)(\d{1,9})$/.exec(value);
  if (match === null) throw new DfsError("usage", "expected days such as 7, +7 or -7");
  return { sign: signOf(match[1]), count: Number(match[2]), unit: 1 };
}

function signOf(text: string | undefined): Comparison["sign"] {
  return text === "+" || text === "-" ? text : "";
}

/** The name matches each of `patterns`. */
export function nameTest(patterns: readonly string[], ignoreCase: boolean): Test {
  const matchers = patterns.map((pattern) => globMatcher(pattern, { ignoreCase }));
  return ({ name }) => matchers.every((matches) => matches(decoder.decode(name)));
}

/** The whole path matches each of `patterns`. */
export function pathTest(patterns: readonly string[]): Test {
  const matchers = patterns.map((pattern) => globMatcher(pattern));
  return ({ path }) => matchers.every((matches) => matches(decoder.decode(path)));
}

/** The size in units, a part of one counting as one. */
export function sizeTest(wanted: Comparison): Test {
  return ({ attributes }) => holds(wanted, Math.ceil(attributes.size / wanted.unit));
}

/** Whole days since the last change of content. */
export function ageTest(wanted: Comparison, nowNs: bigint): Test {
  return ({ attributes: { mtimeNs } }) => {
    const age = nowNs - mtimeNs;
    return holds(wanted, Number(age < 0n ? -((DAY_NS - 1n - age) / DAY_NS) : age / DAY_NS));
  };
}

function holds({ sign, count }: Comparison, figure: number): boolean {
  return sign === "+" ? figure > count : sign === "-" ? figure < count : figure === count;
}
