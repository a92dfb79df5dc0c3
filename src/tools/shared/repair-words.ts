/**
 * What there is to repair, from the figures of the service: for people in a line, for programs as an object.
 */
import type { ClusterStatus, ServerList } from "../../client/api.ts";
import { counted, durationText, sizeText } from "./format.ts";

type RepairStatus = NonNullable<ClusterStatus["repair"]>;

/** What matters of the servers: whether they hold copies that count, and take new ones. */
type Places = readonly Pick<ServerList[number], "state" | "full">[];

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

/** A part of the queue: blocks with the same number of good copies. */
interface Row extends Amount {
  readonly urgency: number;
}

export interface RepairSummary {
  /** Blocks that lack copies and have a good one, by the number of good copies: from 1. */
  readonly blocksToCopy: readonly number[];
  readonly copiesToMake: number;
  readonly bytesToCopy: number;
  /** Of these blocks those that are on every server which is not out already, or that no server can take, and what they lack. */
  readonly blocksWithoutPlace: number;
  readonly copiesWithoutPlace: number;
  readonly bytesWithoutPlace: number;
  /** Blocks of which no good copy is on record. */
  readonly blocksWithoutGoodCopy: number;
  readonly misplacedBlocks: number;
  readonly surplusBlocks: number;
  readonly copying: number;
  readonly suspects: number;
  readonly copiedBlocks: number;
  readonly copiedBytes: number;
  readonly bytesPerSecond: number;
  /** Until the copies are made that have a place; undefined while nothing is copied. */
  readonly secondsLeft: number | undefined;
}

/** The queue in the words of `dfs status --json`. */
export function repairSummary(repair: RepairStatus, servers: Places): RepairSummary {
  const toCopy = repair.queue.filter(({ urgency }) => urgency > 0 && urgency < LACKING);
  const { copies, bytes } = sumOf(toCopy);
  const stuck = sumOf(toCopy.map((row) => withoutPlace(row, servers)));
  const highest = toCopy.reduce((most, { urgency }) => Math.max(most, urgency), 0);
  const { queue: _queue, ...progress } = repair;
  const rate = repair.bytesPerSecond;
  const left = bytes - stuck.bytes;
  return {
    blocksToCopy: Array.from({ length: highest }, (_, index) => blocksOf(repair, index + 1)),
    copiesToMake: copies,
    bytesToCopy: bytes,
    blocksWithoutPlace: stuck.blocks,
    copiesWithoutPlace: stuck.copies,
    bytesWithoutPlace: stuck.bytes,
    blocksWithoutGoodCopy: blocksOf(repair, 0),
    misplacedBlocks: blocksOf(repair, MISPLACED),
    surplusBlocks: blocksOf(repair, SURPLUS),
    ...progress,
    secondsLeft: left > 0 && rate > 0 ? Math.ceil(left / rate) : undefined,
  };
}

/**
 * What of a part of the queue cannot be made before there are other servers. It is told of what is certain: of a block with as many
 * good copies as servers are not out, and of all when no server takes new copies.
 */
function withoutPlace({ urgency: good, blocks, copies, bytes }: Row, servers: Places): Amount {
  const takers = servers.filter(({ state, full }) => state === "up" && !full).length;
  const inside = servers.filter(({ state }) => state !== "out").length;
  const places = takers === 0 ? 0 : Math.max(0, inside - good);
  const lacking = blocks === 0 ? 0 : copies / blocks;
  const share = lacking === 0 ? 0 : Math.max(0, lacking - places) / lacking;
  const part = (whole: number): number => Math.round(whole * share);
  return { blocks: places === 0 ? blocks : 0, copies: part(copies), bytes: part(bytes) };
}

/** One line, such as `being repaired: 243 blocks (1.2 GiB), 3 copies under way, 98 MiB/s, about 12 s left`. */
export function repairLine(summary: RepairSummary): string {
  const { copying, suspects, secondsLeft, bytesPerSecond } = summary;
  const { surplusBlocks, misplacedBlocks, blocksWithoutPlace, bytesWithoutPlace } = summary;
  const lacking = summary.blocksToCopy.reduce((sum, each) => sum + each, 0);
  const blocks = lacking - blocksWithoutPlace;
  const parts: string[] = [];
  if (blocks > 0) {
    const left = sizeText(summary.bytesToCopy - bytesWithoutPlace);
    parts.push(`being repaired: ${counted(blocks, "block")} (${left})`);
  }
  if (copying > 0) parts.push(`${counted(copying, "copy", "copies")} under way`);
  const isMoving = blocks + copying + misplacedBlocks + surplusBlocks > 0;
  if (bytesPerSecond > 0 && isMoving) parts.push(`${sizeText(bytesPerSecond)}/s`);
  if (secondsLeft !== undefined) parts.push(`about ${durationText(secondsLeft * 1000)} left`);
  if (summary.copiesWithoutPlace > 0) {
    const what = counted(summary.copiesWithoutPlace, "copy", "copies");
    const verb = summary.copiesWithoutPlace === 1 ? "has" : "have";
    parts.push(`${what} (${sizeText(bytesWithoutPlace)}) ${verb} to wait for another server`);
  }
  const none = summary.blocksWithoutGoodCopy;
  if (none > 0) parts.push(`${counted(none, "block")} without a good copy to copy from`);
  if (suspects > 0)
    parts.push(`${counted(suspects, "reported copy", "reported copies")} to verify`);
  if (misplacedBlocks > 0) parts.push(`${counted(misplacedBlocks, "block")} to be moved`);
  if (surplusBlocks > 0) parts.push(`${counted(surplusBlocks, "block")} with a copy to remove`);
  if (lacking + copying + none + suspects + misplacedBlocks + surplusBlocks > 0)
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
