// What the tests of the scrub share: logs with a scrub, what they tell, and passes over them.

import { systemClock } from "../../src/base/clock.ts";
import { blockId, type BlockId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import type { BlockLog, LogOptions } from "../../src/log/log.ts";
import { MAX_SCRUB_RATE, type ScrubStatus } from "../../src/log/scrub.ts";
import type { ManualClock } from "../support/manual-clock.ts";
import { eventually, findingsOf, makeBlock, openTestLog, type TestLog } from "./support.ts";

export const LENGTH = 1001; // seven bytes of padding behind it
export const MIB = 1024 * 1024;

/** A log with a scrub, and the blocks that it has called rotten. */
export interface ScrubbedLog extends TestLog {
  readonly rotten: number[];
  readonly warnings: string[];
}

export async function openScrubbed(
  directory: string,
  options: Partial<LogOptions> = {},
): Promise<ScrubbedLog> {
  const rotten: number[] = [];
  const warnings: string[] = [];
  const keep = (line: string): void => void warnings.push(line);
  const opened = await openTestLog(directory, {
    clock: systemClock,
    logger: { ...silentLogger, warn: keep, error: keep },
    onRotten: (block) => void rotten.push(Number(block)),
    ...options,
  });
  return { ...opened, rotten, warnings };
}

export function statusOf(log: BlockLog): ScrubStatus {
  return log.scrubber!.status;
}

/** A whole pass, as fast as it goes. */
export async function scrub(log: BlockLog): Promise<ScrubStatus> {
  const before = statusOf(log).lastPassNs;
  await log.scrubber!.control("start", MAX_SCRUB_RATE);
  for (let turn = 0; statusOf(log).lastPassNs === before; turn++) {
    if (turn < 1000) await new Promise((resolve) => setImmediate(resolve));
    else await eventually("the pass is over", () => statusOf(log).lastPassNs > before);
  }
  return statusOf(log);
}

export async function putAll(
  log: BlockLog,
  from: number,
  to: number,
  length = LENGTH,
): Promise<void> {
  for (let id = from; id <= to; id++) await log.put(makeBlock(id, length));
}

export function ids(...list: number[]): BlockId[] {
  return list.map((id) => blockId(BigInt(id)));
}

/** Where the record of a block begins in a segment. */
export function recordOf(directory: string, block: number, place = 0): number {
  const found = findingsOf(directory, place).find(
    ({ header }) => header?.kind === "put" && header.block === BigInt(block),
  );
  if (found?.header === undefined) throw new Error(`segment ${place} has no block ${block}`);
  return found.header.position;
}

/** Lets time pass until `holds`, but none while the scrub does something: what takes the disk real time takes no other. */
export async function passing(
  clock: ManualClock,
  stepMs: number,
  what: string,
  holds: () => boolean,
): Promise<void> {
  for (let steps = 0; !holds(); steps++) {
    if (steps > 20_000) throw new Error(`it never came to be that ${what}`);
    await eventually("the scrub waits", () => clock.pending > 0 || holds());
    await clock.advance(stepMs);
  }
}
