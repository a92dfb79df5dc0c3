/**
 * New lengths of files as truncate(1) takes them: `10M`, `+4K` (longer), `-1` (shorter), `<1G` (at most), `>512` (at least),
 * `/4K` and `%4K` (down and up to a multiple).
 */
import { DfsError } from "../../base/errors.ts";
import { MAX_FILE_BYTES } from "../../base/limits.ts";
import { countText } from "./format.ts";
import { Reason } from "./errors.ts";

const POWERS = "KMGTPE";
const PATTERN = /^\s*([-+<>/%]?)\s*(\d+)(?:([KMGTPE])(B|IB)?)?$/i;

/** No program can name more. */
const MOST = 2n ** 63n - 1n;

/** What becomes of a length. */
export interface Resizing {
  /** Empty: `bytes` is the new length. */
  readonly sign: "" | "+" | "-" | "<" | ">" | "/" | "%";
  readonly bytes: bigint;
}

/** @throws DfsError `usage` whose message says what was expected. */
export function parseResizing(text: string): Resizing {
  const [, sign = "", digits = "", letter, suffix] = PATTERN.exec(text) ?? [];
  if (digits === "") {
    throw new DfsError("usage", "expected a size, such as 0, 64K, 10M, +1G, -512, <1G or %4K");
  }
  const bytes = BigInt(digits) * unitOf(letter, suffix);
  if (bytes > MOST) throw new DfsError("usage", "that is more than any file can have");
  if (bytes === 0n && (sign === "/" || sign === "%")) {
    throw new DfsError("usage", "there are no multiples of 0");
  }
  return { sign: sign as Resizing["sign"], bytes };
}

/** `K` and `KiB` are 1,024, `KB` is 1,000, and so on. */
function unitOf(letter: string | undefined, suffix: string | undefined): bigint {
  if (letter === undefined) return 1n;
  const power = BigInt(POWERS.indexOf(letter.toUpperCase()) + 1);
  return (suffix?.toUpperCase() === "B" ? 1000n : 1024n) ** power;
}

/**
 * The length that one of `size` bytes becomes; never below 0.
 * @throws DfsError `fileTooBig`.
 */
export function resized({ sign, bytes }: Resizing, size: number): number {
  const wanted = newLength(sign, bytes, BigInt(size));
  if (wanted > BigInt(MAX_FILE_BYTES)) {
    throw new Reason(
      "fileTooBig",
      `it would have ${wanted} bytes\na file has at most ${countText(MAX_FILE_BYTES)}`,
    );
  }
  return Math.max(Number(wanted), 0);
}

function newLength(sign: Resizing["sign"], bytes: bigint, size: bigint): bigint {
  switch (sign) {
    case "":
      return bytes;
    case "+":
      return size + bytes;
    case "-":
      return size - bytes;
    case "<":
      return size < bytes ? size : bytes;
    case ">":
      return size > bytes ? size : bytes;
    case "/":
      return (size / bytes) * bytes;
    case "%":
      return ((size + bytes - 1n) / bytes) * bytes;
  }
}
