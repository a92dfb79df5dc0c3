/**
 * Points in time as people type them: the forms of date(1) that are in daily use.
 *
 *     2026-01-31                      midnight, local time
 *     2026-01-31 12:00:05.25          or with T between; local time unless Z, UTC or +01:00 follows
 *     12:00                           today
 *     @1767225600.5                   seconds since 1970
 *     now, yesterday, tomorrow, 2 days ago, +3 hours, 2026-01-31 +1 week
 */
import { DfsError } from "../../base/errors.ts";

const NS_PER_S = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
const MS_PER_S = 1000;
const MS_PER_MINUTE = 60 * MS_PER_S;

/** Times are 64-bit numbers of nanoseconds. */
const EARLIEST_NS = -(2n ** 63n);
const LATEST_NS = 2n ** 63n - 1n;

/** Two digits of a year: from these on they are of the 20th century. */
const FIRST_OF_1900 = 69;

const EPOCH = /^@([+-]?)(\d{1,17})(?:[.,](\d{1,9})\d*)?$/;
const DAY = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:t(?=\d)|\s+|$)/;
const TIME = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9})\d*)?)?/;
const ZONE = /^\s*(?:(z|utc|gmt)(?![a-z])|([+-])(\d{2}):?(\d{2})?(?!\s*[\da-z]))/;
const WORD = /^(now|today|yesterday|tomorrow)(?![a-z\d])/;
const RELATIVE =
  /^([+-]?\d{1,9}|an?|next|last)\s*(second|sec|minute|min|hour|day|week|fortnight|month|year)s?(?![a-z])(\s+ago(?![a-z]))?/;

/** A calendar day and a time in it; what is added to it may take any field out of its range. */
interface Moment {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  ns: bigint;
  /** Minutes east of Greenwich; undefined: local time. */
  zone: number | undefined;
  /** Added when the rest is a point in time. */
  addedMs: number;
}

/**
 * The time that `text` names, in nanoseconds since 1970, counted from `nowMs` where it is relative; `now` alone as such, for
 * the service to set.
 * @throws DfsError `usage` whose message says what was expected.
 */
export function parseDate(text: string, nowMs: number): bigint | "now" {
  const wanted = text.trim().toLowerCase();
  if (wanted === "now") return "now";
  const epoch = EPOCH.exec(wanted);
  const ns = epoch === null ? new DateReader(wanted, nowMs).read() : secondsOf(epoch);
  if (ns >= EARLIEST_NS && ns <= LATEST_NS) return ns;
  throw new DfsError("usage", "times can be kept from the year 1678 to 2262");
}

/**
 * The time that `text` names in the form of touch -t, [[CC]YY]MMDDhhmm[.ss], local time, in nanoseconds since 1970.
 * @throws DfsError `usage`
 */
export function parseStamp(text: string): bigint {
  const match = /^(\d{2})?(\d{2})?(\d{2})(\d{2})(\d{2})(\d{2})(?:\.(\d{2}))?$/.exec(text);
  if (match === null) {
    throw new DfsError("usage", "expected [[CC]YY]MMDDhhmm[.ss], such as 202601311200");
  }
  const [, first, second, month, day, hour, minute, seconds = "00"] = match;
  const date = `${yearOf(first, second)}-${month}-${day} ${hour}:${minute}:${seconds}`;
  return BigInt(parseDate(date, Date.now()));
}

/** Four digits; two of them are of 1969 to 2068, as POSIX has it; none: this year. */
function yearOf(first: string | undefined, second: string | undefined): string {
  if (first === undefined) return String(new Date().getFullYear()).padStart(4, "0");
  if (second !== undefined) return first + second;
  return (Number(first) >= FIRST_OF_1900 ? "19" : "20") + first;
}

function secondsOf([, sign, whole, fraction]: RegExpExecArray): bigint {
  const ns = BigInt(whole ?? 0) * NS_PER_S + fractionNs(fraction);
  return sign === "-" ? -ns : ns;
}

function fractionNs(digits: string | undefined): bigint {
  return BigInt((digits ?? "").padEnd(9, "0"));
}

class DateReader {
  readonly #moment: Moment;
  #rest: string;

  constructor(text: string, nowMs: number) {
    this.#rest = text;
    const now = new Date(nowMs);
    this.#moment = {
      year: now.getFullYear(),
      month: now.getMonth(),
      day: now.getDate(),
      hour: now.getHours(),
      minute: now.getMinutes(),
      second: now.getSeconds(),
      ns: BigInt(now.getMilliseconds()) * NS_PER_MS,
      zone: undefined,
      addedMs: 0,
    };
  }

  read(): bigint {
    if (this.#rest === "") throw notUnderstood();
    const hasDay = this.#day();
    const hasTime = this.#time();
    if (hasDay && !hasTime) this.#setTime(0, 0, 0, 0n);
    while (this.#rest.trim() !== "") {
      this.#rest = this.#rest.trim();
      if (!this.#word() && !this.#relative()) throw notUnderstood();
    }
    return instantOf(this.#moment);
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    const found = pattern.exec(this.#rest);
    if (found === null) return undefined;
    this.#rest = this.#rest.slice(found[0].length);
    return found;
  }

  #day(): boolean {
    const found = this.#take(DAY);
    if (found === undefined) return false;
    const [year, month, day] = found.slice(1, 4).map(Number) as [number, number, number];
    const longest = new Date(Date.UTC(year, month, 0)).getUTCDate();
    if (month < 1 || month > 12 || day < 1 || day > longest) {
      throw new DfsError("usage", "there is no such day");
    }
    Object.assign(this.#moment, { year, month: month - 1, day });
    return true;
  }

  #time(): boolean {
    const found = this.#take(TIME);
    if (found === undefined) return false;
    const [hour, minute, second] = [found[1], found[2], found[3] ?? 0].map(Number) as [
      number,
      number,
      number,
    ];
    if (hour > 23 || minute > 59 || second > 59) {
      throw new DfsError("usage", "there is no such time of day");
    }
    this.#setTime(hour, minute, second, fractionNs(found[4]));
    const zone = this.#take(ZONE);
    if (zone === undefined) return true;
    const minutes = Number(zone[3] ?? 0) * 60 + Number(zone[4] ?? 0);
    this.#moment.zone = zone[2] === "-" ? -minutes : minutes;
    return true;
  }

  #setTime(hour: number, minute: number, second: number, ns: bigint): void {
    Object.assign(this.#moment, { hour, minute, second, ns });
  }

  #word(): boolean {
    const word = this.#take(WORD)?.[1];
    if (word === "yesterday") this.#moment.day--;
    if (word === "tomorrow") this.#moment.day++;
    return word !== undefined;
  }

  #relative(): boolean {
    const found = this.#take(RELATIVE);
    if (found === undefined) return false;
    const [, many, unit, ago] = found;
    const count = many === "last" ? -1 : /\d/.test(many ?? "") ? Number(many) : 1;
    this.#add(ago === undefined ? count : -count, unit ?? "");
    return true;
  }

  #add(count: number, unit: string): void {
    const moment = this.#moment;
    if (unit === "year") moment.year += count;
    else if (unit === "month") moment.month += count;
    else if (unit === "fortnight") moment.day += 14 * count;
    else if (unit === "week") moment.day += 7 * count;
    else if (unit === "day") moment.day += count;
    else if (unit === "hour") moment.addedMs += 60 * MS_PER_MINUTE * count;
    else if (unit.startsWith("min")) moment.addedMs += MS_PER_MINUTE * count;
    else moment.addedMs += MS_PER_S * count;
  }
}

function instantOf(moment: Moment): bigint {
  const { year, month, day, hour, minute, second, zone } = moment;
  const date = new Date(0);
  if (zone === undefined) {
    date.setHours(0, 0, 0, 0);
    date.setFullYear(year, month, day);
    date.setHours(hour, minute, second);
  } else {
    date.setUTCFullYear(year, month, day);
    date.setUTCHours(hour, minute - zone, second);
  }
  const ms = date.getTime() + moment.addedMs;
  if (!Number.isSafeInteger(ms))
    throw new DfsError("usage", "that is too long ago, or too far off");
  return BigInt(ms) * NS_PER_MS + moment.ns;
}

function notUnderstood(): DfsError {
  return new DfsError(
    "usage",
    'expected a date, such as 2026-01-31, "2026-01-31 12:00:05.5", 2026-01-31T12:00Z, @1767225600 or "2 days ago"',
  );
}
