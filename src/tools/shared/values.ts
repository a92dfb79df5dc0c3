/**
 * Parsers of option values. Each returns the value or throws a `usage` error that says what was expected; the caller
 * puts the option's name and the text in front of it.
 */
import { DfsError } from "../../base/errors.ts";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

function expected(what: string): never {
  throw new DfsError("usage", `expected ${what}`);
}

/** Any text but the empty one. */
export function text(value: string): string {
  return value === "" ? expected("a value, not nothing") : value;
}

/** A directory's path, without trailing slashes. */
export function directory(value: string): string {
  return text(value).replace(/(?<=.)\/+$/, "");
}

/** A number of bytes: `8`, `64K`, `1M`, `2GiB`. Units are powers of 1,024. */
export function size(value: string): number {
  const match = /^(\d+)(?:([bkmgt])|([kmgt])ib)?$/i.exec(value);
  const unit = UNITS[(match?.[2] ?? match?.[3] ?? "").toLowerCase()];
  const bytes = Number(match?.[1]) * (unit ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : expected("a size, such as 8, 64K or 1M");
}

/** A number of bytes in a second; 0: without limit. */
export const rate = size;

/** A whole number from `least` to `most`. */
export function count(least: number, most: number): (value: string) => number {
  return (value) => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    return number >= least && number <= most
      ? number
      : expected(`a whole number from ${least} to ${most}`);
  };
}

/** A time in seconds, as milliseconds. */
export function seconds(value: string): number {
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
  return number > 0 && number <= 1_000_000
    ? Math.ceil(number * 1000)
    : expected("a number of seconds above 0, such as 5 or 0.5");
}

/** Permission bits in octal: `755`, `0644`. */
export function mode(value: string): number {
  return /^0?[0-7]{1,4}$/.test(value)
    ? Number.parseInt(value, 8)
    : expected("permission bits in octal, such as 755");
}

/** `host:port`; IPv6 in brackets. Port 0 is for listening only. */
export function address(value: string): string {
  const match = /^(\[[0-9a-f:.%\w]+\]|[^:\s[\]/]+):(\d{1,5})$/i.exec(value);
  return match !== null && Number(match[2]) <= 65_535
    ? value
    : expected("an address HOST:PORT, such as 127.0.0.1:4000");
}

/** One or more addresses, separated by commas. */
export function addresses(value: string): string {
  value.split(",").forEach(address);
  return value;
}

/** Words separated by commas. */
export function words(value: string): string[] {
  return value
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}
