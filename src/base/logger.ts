/**
 * The logging seam: one line per event, a level, a message for people and fields for programs.
 *
 *     2026-01-31T12:00:00.000Z warn  data-2: peer closed the connection  peer=127.0.0.1:4000 reason="bad frame"
 */
import type { Clock } from "./clock.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

export type LogFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** A logger that writes lines with `write`, from `lowest` level up, each marked with `name`. */
export function lineLogger(
  clock: Clock,
  name: string,
  write: (line: string) => void,
  lowest: LogLevel = "info",
): Logger {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (RANK[level] < RANK[lowest]) return;
    const time = new Date(Number(clock.nowNs() / 1_000_000n)).toISOString();
    write(`${time} ${level.padEnd(5)} ${name}: ${onOneLine(message)}${formatFields(fields)}\n`);
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

const ignore = (): void => undefined;

/** A logger for callers that do not care. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** A message may repeat what a stranger has said, which must not look like a line of its own or move the cursor. */
function onOneLine(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function formatFields(fields: LogFields | undefined): string {
  const shown = Object.entries(fields ?? {}).filter(([, value]) => value !== undefined);
  if (shown.length === 0) return "";
  return "  " + shown.map(([key, value]) => `${key}=${formatValue(value)}`).join(" ");
}

function formatValue(value: LogFields[string]): string {
  return typeof value === "string" && !/^[\w.:/@+-]+$/.test(value)
    ? onOneLine(JSON.stringify(value))
    : String(value);
}
