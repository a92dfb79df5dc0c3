/**
 * Copies of many blocks from one source: fetched in parts, a few of them at a time, so that some are on their way while others
 * are verified and written, and memory does not grow with the batch.
 */
import { checksumOf, pieceHashes } from "../../base/checksum.ts";
import { DfsError, isDfsError } from "../../base/errors.ts";
import { MAX_GIVEN_BYTES } from "../../base/limits.ts";
import type { BlockLog } from "../../log/log.ts";
import type { RequestOf } from "../../protocol/message.ts";
import {
  blockGetMany,
  type BatchResult,
  type blockCopyMany,
} from "../../protocol/messages/data.ts";
import type { Source, SourcePeers } from "./source-peers.ts";
import { verdictOn } from "./verification.ts";

/** Longest wait for a message with blocks from a source. */
export const GET_TIMEOUT_MS = 30_000;

/** Parts of a batch under way. */
const PARTS_AT_ONCE = 2;

/** Copies of blocks, each from one of the sources. */
export type BatchOrder = Pick<RequestOf<typeof blockCopyMany>, "sources" | "blocks">;

/** One block of a batch, until it is stored or given up. */
export interface BatchItem {
  readonly order: BatchOrder["blocks"][number];
  readonly settle: (result: BatchResult) => void;
  readonly result: Promise<BatchResult>;
  state: "waiting" | "storing" | "ended";
}

type Part = readonly BatchItem[];

interface FetchedPart {
  readonly found: ReadonlyMap<BatchItem, Uint8Array>;
  /** To be called when they have been stored. */
  readonly release: () => void;
}

/**
 * Makes the copies of a batch; each of its items is settled when it resolves. Items that are ended meanwhile are left out.
 * @throws what is no DfsError, and leaves items waiting then.
 */
export async function copyTogether(
  log: BlockLog,
  peers: SourcePeers,
  source: Source,
  items: readonly BatchItem[],
  signal: AbortSignal,
): Promise<void> {
  for (const { order, settle } of items) {
    if (log.holds(order.block) && (await verdictOn(log, order)) === "right") settle("stored");
  }
  const parts = partsOf(items.filter(({ state }) => state === "waiting")).values();
  let isReached = true;
  const copyParts = async (): Promise<void> => {
    for (const part of parts) {
      // Who did not answer once is not waited for again and again.
      if (!isReached) settleAll(part, "unreachable");
      else if (!(await copyPart(log, peers, source, part, signal))) isReached = false;
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: PARTS_AT_ONCE }, copyParts));
  const failed = ended.find((each) => each.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/** What may be given in one message, again and again. */
function partsOf(items: readonly BatchItem[]): Part[] {
  const parts: BatchItem[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const { length } = item.order;
    if (bytes + length > MAX_GIVEN_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(item);
    bytes += length;
  }
  return parts;
}

function settleAll(part: Part, result: BatchResult): void {
  for (const { state, settle } of part) if (state === "waiting") settle(result);
}

/** Returns false when the source could not be asked. */
async function copyPart(
  log: BlockLog,
  peers: SourcePeers,
  source: Source,
  part: Part,
  signal: AbortSignal,
): Promise<boolean> {
  const wanted = part.filter(({ state }) => state === "waiting");
  if (wanted.length === 0) return true;
  let fetched: FetchedPart;
  try {
    fetched = await fetchPart(peers, source, wanted, signal);
  } catch (error) {
    if (!isDfsError(error)) throw error;
    settleAll(wanted, "unreachable");
    return false;
  }
  const { found, release } = fetched;
  const stored = await Promise.allSettled(wanted.map((item) => store(log, item, found.get(item))));
  release(); // the log has written out of this memory
  const failed = stored.find((each) => each.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return true;
}

/** Stores a block unless it has been ended; nothing comes between that look and its place in the log. */
async function store(log: BlockLog, item: BatchItem, bytes: Uint8Array | undefined): Promise<void> {
  const { order, settle } = item;
  if (item.state !== "waiting") return;
  const pieces = bytes === undefined ? undefined : pieceHashes(bytes);
  if (bytes === undefined || pieces === undefined) return settle("notGiven");
  if (checksumOf(order.length, pieces) !== order.checksum) return settle("notGiven");
  item.state = "storing";
  try {
    await log.put({ ...order, pieces, bytes });
    settle("stored");
  } catch (error) {
    settle("notStored");
    if (!isDfsError(error)) throw error;
  }
}

/** What the source gives. @throws DfsError when it does not answer, or not as it should. */
async function fetchPart(
  peers: SourcePeers,
  source: Source,
  items: Part,
  signal: AbortSignal,
): Promise<FetchedPart> {
  const peer = await peers.to(source);
  const blocks = items.map(({ order: { block, length } }) => ({ block, length }));
  const { body, bulk, release } = await peer
    .request(blockGetMany, { blocks }, { timeoutMs: GET_TIMEOUT_MS, signal })
    .catch((error: unknown) => {
      if (isDfsError(error, "timeout")) peer.close("it did not answer in time");
      throw error;
    });
  const found = new Map<BatchItem, Uint8Array>();
  let at = 0;
  for (const [index, item] of items.entries()) {
    if (body.given[index] !== true) continue;
    found.set(item, bulk.subarray(at, at + item.order.length));
    at += item.order.length;
  }
  if (at === bulk.length && body.given.length === items.length) return { found, release };
  throw new DfsError(
    "protocol",
    `data server ${source.server} sent ${bulk.length} bytes for ${found.size} blocks of ${at}`,
  );
}
