/**
 * What the log says of connections that end: one line for each that was refused or ended for what the peer did, and for each
 * that the peer broke off, before its hello had succeeded or in the middle of a frame. A peer that goes when all is said
 * gets none.
 *
 * Strangers can cause as many of these lines as they like, so those of a listener are limited. Who has opened a connection
 * itself says what becomes of it to whoever asked for it.
 */
import type { Clock } from "../base/clock.ts";
import { LimitedLines } from "../base/limited-lines.ts";
import type { Logger } from "../base/logger.ts";
import { parseAddress } from "./address.ts";

export interface ConnectionLog {
  /** We have ended it, for what the peer or the network did. */
  ended(address: string, why: string, peer: string | undefined): void;
  /** We have refused the peer's hello. */
  refused(address: string, why: string, peer: string | undefined): void;
  /** The peer has broken it off. */
  brokenOff(address: string, how: string, peer: string | undefined): void;
}

/** For a connection that this end has opened. */
export function callerLog(logger: Logger): ConnectionLog {
  return {
    ended: (address, why, peer) => logger.warn(endedTo(address, why), { peer }),
    refused: (address, why, peer) => logger.warn(endedTo(address, why), { peer }),
    brokenOff: (address, how) => logger.debug(`lost the connection to ${address}: ${how}`),
  };
}

/** For all connections of a listener. */
export class ListenerLog implements ConnectionLog {
  private readonly lines: LimitedLines;

  constructor(logger: Logger, clock: Clock) {
    this.lines = new LimitedLines(logger, clock, ["connections", "were refused, ended or lost"]);
  }

  ended(address: string, why: string, peer: string | undefined): void {
    this.tell("warn", `ended the connection from ${address}`, address, why, peer);
  }

  refused(address: string, why: string, peer: string | undefined): void {
    this.tell("warn", `refused the connection from ${address}`, address, why, peer);
  }

  brokenOff(address: string, how: string, peer: string | undefined): void {
    this.tell("info", `lost the connection from ${address}`, address, how, peer);
  }

  /** Tells what was left out so far. */
  close(): void {
    this.lines.close();
  }

  private tell(
    level: "info" | "warn",
    message: string,
    address: string,
    why: string,
    peer: string | undefined,
  ): void {
    const from = parseAddress(address).host;
    this.lines.tell({ level, message, from, why, fields: { peer } });
  }
}

function endedTo(address: string, why: string): string {
  return `ended the connection to ${address}: ${why}`;
}
