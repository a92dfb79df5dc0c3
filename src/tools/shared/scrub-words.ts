/**
 * How long ago the data servers' scrubs last came to an end, in words.
 */
import type { ServerId } from "../../base/ids.ts";
import { isoTime, roughDuration } from "./format.ts";

/** What one server says of its scrub, or that it does not answer. */
export interface ScrubFact {
  readonly server: ServerId;
  /** When its last whole pass ended; null: there was none. Undefined: it did not answer. */
  readonly lastPassNs: bigint | null | undefined;
  /** Somebody has told it to pause: nothing is found until it is resumed. */
  readonly paused: boolean;
}

const DAY_MS = 24 * 3600_000;

/** Passes end this often, at least, if nothing keeps them from it. */
const PERIOD_MS = 14 * DAY_MS;

/** One line for `dfs status`, without its title; undefined when no server was asked. */
export function scrubLine(facts: readonly ScrubFact[], nowNs: bigint): string | undefined {
  if (facts.length === 0) return undefined;
  const never = facts.filter(({ lastPassNs }) => lastPassNs === null);
  const silent = facts.filter(({ lastPassNs }) => lastPassNs === undefined);
  const paused = facts.filter((fact) => fact.paused);
  const oldest = oldestPass(facts);
  const parts: string[] = [];
  if (never.length > 0) {
    parts.push(
      `${named(never)} ${never.length === 1 ? "has" : "have"} never been scrubbed to the end`,
    );
  }
  if (oldest !== undefined) {
    const ageMs = Math.max(0, Number((nowNs - oldest.lastPassNs) / 1_000_000n));
    const late = ageMs > PERIOD_MS + DAY_MS ? " (late: it should end every 14 days)" : "";
    parts.push(`oldest: server ${oldest.server}, ${roughDuration(ageMs)} ago${late}`);
  }
  if (paused.length > 0) {
    const ids = paused.map(({ server }) => server).join(" ");
    parts.push(`paused on ${named(paused)}: dfs scrub ${ids} resume`);
  }
  if (silent.length > 0) {
    parts.push(`${named(silent)} ${silent.length === 1 ? "does" : "do"} not answer`);
  }
  return parts.join("; ");
}

/** The value under the key `scrub` of `dfs status --json`. */
export function scrubRow(facts: readonly ScrubFact[]): object {
  const ids = (of: readonly ScrubFact[]): number[] => of.map(({ server }) => server);
  const oldest = oldestPass(facts);
  return {
    oldest:
      oldest === undefined ? null : { server: oldest.server, lastPass: isoTime(oldest.lastPassNs) },
    never: ids(facts.filter(({ lastPassNs }) => lastPassNs === null)),
    paused: ids(facts.filter(({ paused }) => paused)),
    silent: ids(facts.filter(({ lastPassNs }) => lastPassNs === undefined)),
  };
}

function oldestPass(
  facts: readonly ScrubFact[],
): { readonly server: ServerId; readonly lastPassNs: bigint } | undefined {
  const done = facts.flatMap(({ server, lastPassNs }) =>
    typeof lastPassNs === "bigint" ? [{ server, lastPassNs }] : [],
  );
  return done.toSorted((one, other) => (one.lastPassNs < other.lastPassNs ? -1 : 1)).at(0);
}

function named(facts: readonly ScrubFact[]): string {
  const ids = facts.map(({ server }) => server).join(", ");
  return `${facts.length === 1 ? "server" : "servers"} ${ids}`;
}
