/**
 * Reads the stored content of one file: its map, the blocks, and what to do when no replica of a block can be read.
 *
 * When every replica failed, the map may be out of date: it is fetched again, and the read goes on with what it says
 * now. Only what metadata still names and nobody can deliver is an error, `io`. Replicas whose servers do not answer
 * but are believed to be up are tried again for a moment, since a server may be restarting.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, type ErrorKind } from "../base/errors.ts";
import type { BlockId, ServerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { CopyVote, ReadVotes } from "./api.ts";
import { copyStateOf } from "./copy-check.ts";
import type { BlockReader, BlockReadResult, ReplicaFailure } from "./block-reader.ts";
import type { FileMap, Segment } from "./file-map.ts";
import { doneWith, readMemory } from "./read-memory.ts";
import { backoffDelayMs, Deadline, pause, type Backoff } from "./retry.ts";

const RETRY: Backoff = { firstMs: 250, maxMs: 1_000 };

/** Kinds of failure that a server which is restarting causes, until it says itself that it is (`busy`). */
const NO_ANSWER: readonly ErrorKind[] = ["unreachable", "timeout"];

/** How often a read follows a map that changes under it. */
const MAX_MAP_CHANGES = 10;

export interface FileReaderOptions {
  readonly blocks: BlockReader;
  /** For how long replicas whose servers do not answer are tried again. */
  readonly retryTimeoutMs: number;
  /** False when it is not worth waiting for the server. */
  readonly mayComeBack: (server: ServerId) => boolean;
  /** A replica that metadata names is not on its server. */
  readonly onMissingReplica: (block: BlockId, failure: ReplicaFailure) => void;
  /** Whether copies are missing is being found out, beside the read: `settled` resolves when that is known. */
  readonly onDoubt: (settled: Promise<void>) => void;
  readonly readQuorum: () => number;
  /** Told of each read that succeeded. */
  readonly onVotes: ((votes: ReadVotes) => void) | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** The file that is read, for its messages. */
export interface FileName {
  /** The path as it was opened, printable. */
  readonly path: string;
}

/** What to do when servers refuse the metadata database. */
const OLDER_REMEDY =
  "the metadata was probably put back from an older copy: `dfs status` says what to do";

export class FileReader {
  readonly map: FileMap;
  private readonly options: FileReaderOptions;
  private readonly name: FileName;

  constructor(options: FileReaderOptions, name: FileName, map: FileMap) {
    this.options = options;
    this.name = name;
    this.map = map;
  }

  /**
   * The bytes at `offset` .. `offset + length`, which lie inside the file; holes are zeros.
   * @throws DfsError `io` naming file, offset, block and servers; `cancelled`; and what fetching the map fails with.
   */
  async range(offset: number, length: number, signal?: CancelSignal): Promise<Uint8Array> {
    const parts: Promise<Uint8Array>[] = [];
    for (let at = offset; at < offset + length;) {
      const segments = await this.map.segments(at, offset + length - at);
      for (const segment of segments) {
        const part = this.segment(segment, signal);
        part.catch(() => undefined); // awaited below; an earlier part may throw first
        parts.push(part);
        at = segment.offset + segment.length;
      }
    }
    return joined(await Promise.all(parts), length);
  }

  /** The bytes of one segment, from its block, or zeros. @throws as `range`. */
  async segment(segment: Segment, signal?: CancelSignal): Promise<Uint8Array> {
    const deadline = new Deadline(this.options.clock, this.options.retryTimeoutMs);
    const asked = new FailedCopies();
    for (let attempt = 0, changes = 0; ; attempt++) {
      const { extent, length } = segment;
      if (extent === undefined) return new Uint8Array(length);
      const from = extent.blockOffset + (segment.offset - extent.offset);
      const result = await this.options.blocks.read({ extent, from, length }, signal);
      const { bytes, failures, right } = result;
      const missing = failures.filter((failure) => failure.kind === "noBlock");
      if (bytes !== undefined) {
        this.tellVotes(segment, result);
        if (missing.length > 0) this.options.onDoubt(this.confirmMissing(segment, missing));
        return bytes;
      }
      asked.add(extent.block, failures);
      if (attempt === 0) this.map.forget();
      const now = await this.map.segments(segment.offset, length);
      if (!isSame(segment, now) && changes < MAX_MAP_CHANGES) {
        // What is known of the map may end inside the segment: the rest is then looked up as well.
        if (now.length > 1 || now[0]!.length < length) {
          return this.range(segment.offset, length, signal);
        }
        changes++;
        segment = now[0]!;
        continue;
      }
      for (const failure of missing) this.options.onMissingReplica(extent.block, failure);
      if (!this.worthWaiting(failures) || deadline.passed) {
        const inVain = asked.of(extent.block).filter(({ server }) => !right.includes(server));
        throw this.unreadable(segment, { ...result, failures: inVain });
      }
      this.map.forget(); // a repair may have made a copy elsewhere
      const delayMs = backoffDelayMs(RETRY, attempt, this.options.random);
      await pause(this.options.clock, Math.min(delayMs, deadline.remainingMs), signal);
    }
  }

  private worthWaiting(failures: readonly ReplicaFailure[]): boolean {
    return failures.some(
      ({ kind, server }) =>
        kind === "busy" || (NO_ANSWER.includes(kind) && this.options.mayComeBack(server)),
    );
  }

  /** Reports replicas that were not there, if metadata still names them: the block may just have been replaced. */
  private async confirmMissing(
    segment: Segment,
    missing: readonly ReplicaFailure[],
  ): Promise<void> {
    try {
      this.map.forget();
      const now = await this.map.segments(segment.offset, segment.length);
      const { extent } = segment;
      if (extent === undefined || now[0]?.extent?.block !== extent.block) return;
      const named = now[0].extent.servers;
      for (const failure of missing) {
        if (named.includes(failure.server)) this.options.onMissingReplica(extent.block, failure);
      }
    } catch {
      // The bytes are right; whoever reads the map next meets the trouble and says so.
    }
  }

  private tellVotes(segment: Segment, { right, failures }: BlockReadResult): void {
    const { onVotes } = this.options;
    const { offset, length, extent } = segment;
    if (onVotes === undefined || extent === undefined) return;
    const votes = extent.servers.map((server): CopyVote => {
      if (right.includes(server)) return { server, state: "right", reason: "" };
      const failure = failures.find((each) => each.server === server);
      if (failure === undefined) return { server, state: "notAsked", reason: "" };
      return { server, state: copyStateOf(failure.kind), reason: failure.reason };
    });
    onVotes({ path: this.name.path, offset, length, block: extent.block, votes });
  }

  private unreadable(segment: Segment, { failures, right }: BlockReadResult): DfsError {
    const { offset, length, extent } = segment;
    const { path } = this.name;
    const block = extent?.block ?? 0n;
    const reasons = [
      ...right.map((server) => `server ${server}: right`),
      ...failures.map(({ server, reason }) => `server ${server}: ${reason}`),
    ].join("; ");
    const servers = failures.map(({ server }) => server).join(",");
    const what =
      right.length > 0
        ? `fewer than the ${this.options.readQuorum()} servers that the read quorum asks for answered for block ${block} ` +
          `(${length} bytes)`
        : `no replica of block ${block} (${length} bytes) could be read and verified`;
    return new DfsError(
      right.length > 0 ? "quorum" : "io",
      `cannot read ${path} at offset ${offset}: ${what}\n` +
        (reasons === "" ? "no server is on record for it" : `tried ${reasons}`) +
        (failures.some(({ kind }) => kind === "databaseOlder") ? `\n${OLDER_REMEDY}` : ""),
      { details: { path, offset, length, block, servers } },
    );
  }
}

/**
 * What has become of the copies of a block in all attempts to read it. A copy that was found bad may be off the map at the
 * next attempt; whoever is told that nothing can be read wants to know of it all the same.
 */
class FailedCopies {
  private block: BlockId | undefined;
  private readonly failures = new Map<ServerId, ReplicaFailure>();

  add(block: BlockId, failures: readonly ReplicaFailure[]): void {
    if (block !== this.block) this.failures.clear();
    this.block = block;
    for (const failure of failures) this.failures.set(failure.server, failure);
  }

  of(block: BlockId): ReplicaFailure[] {
    return block === this.block ? [...this.failures.values()] : [];
  }
}

function isSame(segment: Segment, now: readonly Segment[]): boolean {
  const [first] = now;
  return (
    now.length === 1 &&
    first!.extent?.block === segment.extent?.block &&
    first!.extent?.blockOffset === segment.extent?.blockOffset &&
    String(first!.extent?.servers) === String(segment.extent?.servers)
  );
}

/** The parts one behind the other; a single one as it is. Nobody else may look at the parts any more. */
export function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = readMemory(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
    doneWith(part);
  }
  return whole.fill(0, at);
}
