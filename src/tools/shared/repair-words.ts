/**
 * What there is to repair, from the figures of the service: for people in a line, for programs as an object.
 */
import type { ClusterStatus } from "../../client/api.ts";
import { counted, durationText, sizeText } from "./format.ts";

type RepairStatus = NonNullable<ClusterStatus["repair"]>;

/** As the service counts urgency: below this, the number of good copies of a block that lacks some. */
const LACKING = 100;
const MISPLACED = 100;
const SURPLUS = 101;

/** Blocks, copies and bytes of some part of the queue. */
interface Amount {
  readonly blocks: number;
  readonly copies: number;
  readonly bytes: number;
}

export interface RepairSummary {
  /** Blocks that lack copies and have a good one, by the number of good copies: from 1. */
  readonly blocksToCopy: readonly number[];
  readonly copiesToMake: number;
  readonly bytesToCopy: number;
  /** Blocks of which no good copy is on record. */
  readonly blocksWithoutGoodCopy: number;
  readonly misplacedBlocks: number;
  readonly surplusBlocks: number;
  readonly copying: number;
  readonly suspects: number;
  readonly copiedBlocks: number;
  readonly copiedBytes: number;
  readonly bytesPerSecond: number;
  /** Undefined while nothing is copied. */
  readonly secondsLeft: number | undefined;
}

/** The queue in the words of `dfs status --json`. */
export function repairSummary(repair: RepairStatus): RepairSummary {
  const toCopy = repair.queue.filter(({ urgency }) => urgency > 0 && urgency < LACKING);
  const { copies, bytes } = sumOf(toCopy);
  const highest = toCopy.reduce((most, { urgency }) => Math.max(most, urgency), 0);
  const { queue: _queue, ...progress } = repair;
  const rate = repair.bytesPerSecond;
  return {
    blocksToCopy: Array.from({ length: highest }, (_, index) => blocksOf(repair, index + 1)),
    copiesToMake: copies,
    bytesToCopy: bytes,
    blocksWithoutGoodCopy: blocksOf(repair, 0),
    misplacedBlocks: blocksOf(repair, MISPLACED),
    surplusBlocks: blocksOf(repair, SURPLUS),
    ...progress,
    secondsLeft: bytes > 0 && rate > 0 ? Math.ceil(bytes / rate) : undefined,
  };
}

/** One line, such as `being repaired: 243 blocks (1.2 GiB), 3 copies under way, 98 MiB/s, about 12 s left`. */
export function repairLine(summary: RepairSummary): string {
  const { copying, suspects, secondsLeft, bytesToCopy, bytesPerSecond } = summary;
  const { surplusBlocks, misplacedBlocks } = summary;
  const blocks = summary.blocksToCopy.reduce((sum, each) => sum + each, 0);
  const parts: string[] = [];
  if (blocks > 0)
    parts.push(`being repaired: ${counted(blocks, "block")} (${sizeText(bytesToCopy)})`);
  if (copying > 0) parts.push(`${counted(copying, "copy", "copies")} under way`);
  if (bytesPerSecond > 0) parts.push(`${sizeText(bytesPerSecond)}/s`);
  if (secondsLeft !== undefined) parts.push(`about ${durationText(secondsLeft * 1000)} left`);
  const none = summary.blocksWithoutGoodCopy;
  if (none > 0) parts.push(`${counted(none, "block")} without a good copy to copy from`);
  if (suspects > 0)
    parts.push(`${counted(suspects, "reported copy", "reported copies")} to verify`);
  if (misplacedBlocks > 0) parts.push(`${counted(misplacedBlocks, "block")} to be moved`);
  if (surplusBlocks > 0) parts.push(`${counted(surplusBlocks, "block")} with a copy to remove`);
  if (blocks + copying + none + suspects + misplacedBlocks + surplusBlocks > 0)
    return parts.join(", ");
  const { copiedBlocks, copiedBytes } = summary;
  const done = `${counted(copiedBlocks, "copy", "copies")} made since the service started`;
  return copiedBlocks === 0 ? "nothing to do" : `nothing to do; ${done} (${sizeText(copiedBytes)})`;
}

function blocksOf(repair: RepairStatus, wanted: number): number {
  return sumOf(repair.queue.filter(({ urgency }) => urgency === wanted)).blocks;
}

function sumOf(rows: readonly Amount[]): Amount {
  const sum = { blocks: 0, copies: 0, bytes: 0 };
  for (const { blocks, copies, bytes } of rows) {
    sum.blocks += blocks;
    sum.copies += copies;
    sum.bytes += bytes;
  }
  return sum;
}
