/**
 * Figures for people and for JSON: sizes, durations, rates, times, modes.
 */
import type { Attributes, FileType } from "../../protocol/messages/common.ts";

export { counted, countText, sizeText } from "../../base/amounts.ts";

const NS_PER_S = 1_000_000_000n;
/** Bytes have no letter. */
const SHORT_UNITS = " KMGTPE";

/** `512`, `1.5K`, `214M`: rounded up, as ls, du and df have it with -h, and as `sort -h` understands it. */
export function shortSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.ceil(value) >= 1024 && unit < SHORT_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const tenths = Math.ceil(value * 10);
  const number =
    unit === 0 || tenths >= 100 ? Math.ceil(value).toString() : (tenths / 10).toFixed(1);
  return number + SHORT_UNITS.charAt(unit).trim();
}

/** Bytes in whole KiB, rounded up. */
export function kibibytes(bytes: number): number {
  return Math.ceil(bytes / 1024);
}

/** `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function durationText(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** For ages, in one unit: `12 s`, `2 min`, `5 h`, `12 days`. */
export function roughDuration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

/** Nanoseconds since the epoch as ISO 8601 in UTC with nine decimals. */
export function isoTime(ns: bigint): string {
  const { seconds, rest } = splitTime(ns);
  const whole = new Date(Number(seconds) * 1000);
  if (Number.isNaN(whole.getTime())) return `${seconds}.${rest} s since 1970`;
  return whole.toISOString().replace(/\.\d+Z$/, `.${rest}Z`);
}

/** Local time to the minute, `2026-01-31 12:00`, as `ls --time-style=long-iso` has it. */
export function localTime(ns: bigint): string {
  const { seconds } = splitTime(ns);
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  const two = (value: number): string => value.toString().padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Whole seconds (rounded down, also before 1970) and the nine decimals. */
function splitTime(ns: bigint): { seconds: bigint; rest: string } {
  const rest = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
  return { seconds: (ns - rest) / NS_PER_S, rest: rest.toString().padStart(9, "0") };
}

const TYPE_LETTER: Readonly<Record<FileType, string>> = {
  fifo: "p",
  characterDevice: "c",
  directory: "d",
  blockDevice: "b",
  file: "-",
  symlink: "l",
  socket: "s",
};

/** `-rw-r--r--`, with set-id and sticky bits as ls shows them. */
export function modeText(type: FileType, mode: number): string {
  const triple = (shift: number, special: boolean, letter: string): string => {
    const bits = (mode >> shift) & 7;
    const execute = special ? (bits & 1 ? letter : letter.toUpperCase()) : bits & 1 ? "x" : "-";
    return `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${execute}`;
  };
  return (
    TYPE_LETTER[type] +
    triple(6, (mode & 0o4000) !== 0, "s") +
    triple(3, (mode & 0o2000) !== 0, "s") +
    triple(0, (mode & 0o1000) !== 0, "t")
  );
}

/** Permission bits in octal, four digits. */
export function octalMode(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

/** Major and minor number of a device, as makedev(3) packs them into 32 bits. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}

/** Attributes as the fields of a JSON row; 64-bit numbers as text, because JSON readers round them. */
export function jsonAttributes(attributes: Attributes): Record<string, unknown> {
  return {
    type: attributes.type,
    mode: octalMode(attributes.mode),
    nlink: attributes.nlink,
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.size,
    allocated: attributes.allocated,
    rdev: attributes.rdev,
    inode: attributes.inode.toString(),
    atime: isoTime(attributes.atimeNs),
    mtime: isoTime(attributes.mtimeNs),
    ctime: isoTime(attributes.ctimeNs),
    atimeNs: attributes.atimeNs.toString(),
    mtimeNs: attributes.mtimeNs.toString(),
    ctimeNs: attributes.ctimeNs.toString(),
    version: attributes.version.toString(),
    base: attributes.base,
  };
}
