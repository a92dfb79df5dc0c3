// Opens the log on a disk after a crash and compares it with what must be there.

import { blockId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { messageOf } from "../../../src/base/errors.ts";
import { seededRandom } from "../../../src/base/random.ts";
import type { Corruption } from "../../../src/log/corruption.ts";
import { describeCorruption } from "../../../src/log/corruption.ts";
import { openLog, type BlockLog, type BlockToPut } from "../../../src/log/log.ts";
import type { SimulatedDisk } from "../../support/disk/simulated-disk.ts";
import { CLUSTER, SERVER } from "../identity.ts";
import type { Oracle, Snapshot } from "./oracle.ts";

export const DIRECTORY = "/server/log";

/** How the logs under test are opened. */
export interface LogShape {
  readonly segmentBytes: number;
  readonly reserveBytes: number;
  readonly checkpointBytes?: number | undefined;
  readonly compactionRate?: number;
  readonly aheadBytes?: number;
}

export interface OpenedLog {
  readonly log: BlockLog;
  readonly corruptions: Corruption[];
}

export async function openSimulated(
  disk: SimulatedDisk,
  shape: LogShape,
  seed: number,
): Promise<OpenedLog> {
  const corruptions: Corruption[] = [];
  const log = await openLog({
    disk,
    directory: DIRECTORY,
    cluster: CLUSTER,
    server: SERVER,
    random: seededRandom(seed),
    logger: silentLogger,
    reporter: { report: (corruption) => corruptions.push(corruption) },
    ...shape,
  });
  return { log, corruptions };
}

/** Ids that the log lists. */
export function listed(log: BlockLog): Set<number> {
  return new Set(log.list(blockId(0n), 1_000_000).blocks.map(({ block }) => Number(block)));
}

/** What is wrong with an opened log, in words; empty when everything is as it must be. */
export async function faultsOf(
  { log, corruptions }: OpenedLog,
  { blocks, rot }: Snapshot,
): Promise<string[]> {
  const faults: string[] = [];
  if (!rot) for (const each of corruptions) faults.push(`reported ${describeCorruption(each)}`);
  const held = listed(log);
  for (const id of held) {
    const told = blocks.get(id);
    if (told === undefined) faults.push(`block ${id} is there, nobody has put it`);
    else if (told.expected === "gone") faults.push(`block ${id} is back, it had been deleted`);
    else if (!told.rotten) faults.push(...(await readFaults(log, told.block)));
  }
  for (const [id, { expected, rotten }] of blocks) {
    if (expected === "held" && !rotten && !held.has(id)) faults.push(`block ${id} is lost`);
  }
  return faults;
}

async function readFaults(log: BlockLog, block: BlockToPut): Promise<string[]> {
  try {
    const range = await log.get(block.block, 0, block.length);
    const same = Buffer.compare(range.bytes, block.bytes) === 0;
    range.release();
    return same ? [] : [`block ${block.block} has other bytes`];
  } catch (error) {
    return [`block ${block.block} cannot be read: ${messageOf(error)}`];
  }
}

/** Puts a block and tells the oracle; a put that fails may have happened. Returns the error. */
export async function put(log: BlockLog, oracle: Oracle, block: BlockToPut): Promise<unknown> {
  oracle.putAsked(block);
  try {
    await log.put(block);
    oracle.putDone(Number(block.block));
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Puts blocks together and tells the oracle what became of each. */
export async function putMany(
  log: BlockLog,
  oracle: Oracle,
  blocks: readonly BlockToPut[],
): Promise<void> {
  for (const block of blocks) oracle.putAsked(block);
  const failures = await log.putMany(blocks);
  for (const [at, { block }] of blocks.entries()) {
    if (failures[at] === undefined) oracle.putDone(Number(block));
  }
}

/** Deletes blocks and tells the oracle; a deletion that fails may have happened. Returns the error. */
export async function remove(
  log: BlockLog,
  oracle: Oracle,
  ids: readonly number[],
): Promise<unknown> {
  for (const id of ids) oracle.deleteAsked(id);
  try {
    await log.delete(ids.map((id) => blockId(BigInt(id))));
    for (const id of ids) oracle.deleteDone(id);
    return undefined;
  } catch (error) {
    return error;
  }
}
