/**
 * Makes up for copies that blocks lose between their writing and their commit.
 *
 * A commit is refused with `quorum` when too few copies of a block count: a server has lost its disk since it acknowledged
 * one, or was removed, or is out, or is still being refilled. The block gets other copies then, under the same id, from the
 * writer's bytes or from a copy that is left, and is committed again. Where that cannot be it is waited for, until the
 * deadline of a write below the quorum.
 *
 * Nothing is committed twice by that: only an answer that says that the commit was refused leads here, and the next one is
 * another operation.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { BlockIds } from "./block-ids.ts";
import { BlockReader } from "./block-reader.ts";
import type { StoredChunk } from "./block-store.ts";
import type { BlockWriter } from "./block-writer.ts";
import type { ByteBudget, Holder } from "./budget.ts";
import type { Copies } from "./copy-round.ts";
import type { Placement, PlacementCache } from "./placement-cache.ts";
import { backoffDelayMs, pause, unlessAborted, type Backoff, type Deadline } from "./retry.ts";
import type { DataServers } from "./servers.ts";

const WAIT: Backoff = { firstMs: 100, maxMs: 1_000 };

/** Blocks of one commit that get copies at the same time: their servers sync them together. */
const AT_ONCE = 64;

export interface CopyMenderOptions {
  readonly ids: BlockIds;
  readonly writer: BlockWriter;
  readonly servers: DataServers;
  readonly placement: PlacementCache;
  readonly clock: Clock;
  readonly random: Random;
  /** For bytes that are read back. */
  readonly budget: ByteBudget;
}

/** The bytes of a chunk by its index, if the writer still has them. */
export type BytesOf = (index: number) => Uint8Array | undefined;

export class CopyMender {
  private readonly options: CopyMenderOptions;
  /** One verified copy is enough, whatever the read quorum; that another is bad concerns nobody before the commit. */
  private readonly reader: BlockReader;

  constructor(options: CopyMenderOptions) {
    const { servers, clock } = options;
    this.options = options;
    this.reader = new BlockReader({
      servers,
      readQuorum: () => 1,
      clock,
      onBadReplica: () => undefined,
    });
  }

  /** Begins to look after the chunks of one commit. */
  begin(): Mending {
    return new Mending(this.options, this.reader);
  }
}

/** What is done for one commit. */
export class Mending {
  private readonly options: CopyMenderOptions;
  private readonly reader: BlockReader;
  private deadline: Deadline | undefined;
  private attempts = 0;

  constructor(options: CopyMenderOptions, reader: BlockReader) {
    this.options = options;
    this.reader = reader;
  }

  /**
   * The chunks, with other copies in place of those that are lost. They may be the same as before, when that had to be waited
   * for in vain: the next commit tells.
   * @throws DfsError `quorum` when the time is over or a block is lost, `stale` when the session is not
   * the one that reserved the blocks, `cancelled`, and as `BlockWriter.write`.
   */
  async mend(
    chunks: readonly StoredChunk[],
    refusal: DfsError,
    signal: CancelSignal,
    bytesOf: BytesOf = () => undefined,
  ): Promise<readonly StoredChunk[]> {
    const { ids, placement, writer } = this.options;
    this.deadline ??= writer.deadline();
    if (this.deadline.passed) throw inVain(refusal, this.deadline);
    if (this.attempts++ > 0) await this.pause(signal);
    await unlessAborted(ids.confirm(chunks[0]!.epoch), signal);
    const table = await unlessAborted(placement.refresh(), signal);
    const mended = [...chunks];
    const lacking = chunks.keys().filter((index) => {
      const { block } = chunks[index]!;
      return !writer.suffices(writer.copiesLeft(block, table), table);
    });
    const holder = this.options.budget.holder();
    let found = 0;
    const work = async (): Promise<void> => {
      for (const index of lacking) {
        found++;
        const source = { bytes: bytesOf(index), table, holder };
        mended[index] = await this.withCopies(chunks[index]!, source, signal);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (found === 0) writer.tellWaiting(`another copy: ${refusal.message}`, this.deadline);
    return mended;
  }

  private async withCopies(
    chunk: StoredChunk,
    { bytes, table, holder }: Source,
    signal: CancelSignal,
  ): Promise<StoredChunk> {
    const { writer } = this.options;
    const copies = writer.copiesLeft(chunk.block, table);
    const { length } = chunk.block;
    if (bytes !== undefined) return this.stored(chunk, bytes, copies, signal);
    await holder.acquire(length, signal);
    try {
      const read = await this.readBack(chunk, copies, signal);
      return read === undefined ? chunk : await this.stored(chunk, read, copies, signal);
    } finally {
      holder.release(length);
    }
  }

  private async stored(
    chunk: StoredChunk,
    bytes: Uint8Array,
    copies: Copies,
    signal: CancelSignal,
  ): Promise<StoredChunk> {
    const { block, extent, inode } = chunk;
    const place = { group: block.group, inode, fileOffset: extent.offset };
    const outgoing = { block: block.block, bytes, ...place };
    const written = await this.options.writer.complete(outgoing, copies, this.deadline!, signal);
    return { ...chunk, block: written };
  }

  /**
   * The bytes of a chunk from one of its copies; undefined, and said, when none can be reached now. Copies that are not there,
   * or not right, are taken out of `copies`.
   * @throws DfsError `quorum` when no copy is left.
   */
  private async readBack(
    { block, extent }: StoredChunk,
    copies: Copies,
    signal: CancelSignal,
  ): Promise<Uint8Array | undefined> {
    const { length, checksum } = block;
    const servers = [...copies.keys()];
    const mapped = { ...extent, blockOffset: 0, blockLength: length, checksum, servers };
    const range = { extent: mapped, from: 0, length };
    const { bytes, failures } =
      servers.length === 0 ? nothingRead : await this.reader.read(range, signal);
    for (const { server, kind } of failures) {
      if (kind === "noBlock" || kind === "badChecksum") copies.delete(server);
    }
    if (bytes !== undefined) return bytes;
    if (copies.size === 0) throw lostBlock(block.block);
    const named = [...copies.keys()].map((server) => `server ${server}`).join(", ");
    const what = `${named}: nobody else has a copy of a block that is not committed yet`;
    this.options.writer.tellWaiting(what, this.deadline!);
    return undefined;
  }

  private pause(signal: CancelSignal): Promise<void> {
    const { clock, random } = this.options;
    const delayMs = backoffDelayMs(WAIT, this.attempts, random);
    return pause(clock, Math.min(delayMs, this.deadline!.remainingMs), signal);
  }
}

/** What copies of a block are made from. */
interface Source {
  readonly bytes: Uint8Array | undefined;
  readonly table: Placement;
  readonly holder: Holder;
}

const nothingRead: {
  readonly bytes: undefined;
  readonly failures: readonly { readonly server: ServerId; readonly kind: string }[];
} = { bytes: undefined, failures: [] };

function inVain(refusal: DfsError, { timeoutMs }: Deadline): DfsError {
  return new DfsError(
    "quorum",
    `${refusal.message}; ${Math.round(timeoutMs / 1000)} s were not enough to make others\n` +
      "start the data servers that are down (`dfs status` names them), then try again",
    { details: refusal.details, cause: refusal },
  );
}

/** True when every copy of a block was lost before it could be committed. */
export function isLostBlock(error: unknown): boolean {
  return isDfsError(error, "quorum") && error.details["lost"] === true;
}

function lostBlock(block: bigint): DfsError {
  return new DfsError(
    "quorum",
    `every copy of block ${block} was lost before the file was complete: its servers lost their disks, or were given up\n` +
      "nothing of the file is visible; put it again",
    { details: { block, copies: 0, lost: true } },
  );
}
