/**
 * Stores one block on as many servers as the cluster keeps copies, all at once.
 *
 * Which servers: those of the block's placement group, then stand-ins in the order that all clients share. A server
 * that fails is replaced at once, one that is late is replaced while its answer is still welcome. The block is written
 * when all copies are durable, or when there is nobody left to ask and the write quorum is reached. Below the quorum
 * the write waits and tries again until its deadline.
 *
 * A write quorum above the default that equals the number of copies is the strict mode: only the group's own servers
 * are used, so that a write waits while any of them is down.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import { checksumOf, pieceHashes } from "../base/checksum.ts";
import type { Clock } from "../base/clock.ts";
import { brieflyOf, DfsError } from "../base/errors.ts";
import type { BlockId, IncarnationId, InodeId, ServerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { ClusterSettings, NewBlock } from "../protocol/messages/common.ts";
import { FOREVER_MS } from "./api.ts";
import { countedIn, CopyRound, type BlockToSend, type Copies } from "./copy-round.ts";
import type { Placement, PlacementCache } from "./placement-cache.ts";
import { backoffDelayMs, Deadline, pause, unlessAborted, type Backoff } from "./retry.ts";
import type { DataServers } from "./servers.ts";
import type { Warnings } from "./warnings.ts";

const WAIT: Backoff = { firstMs: 100, maxMs: 1_000 };

/** While a write waits for the quorum, its user is told this often at most. */
const TELL_AGAIN_MS = 5_000;

/** Servers named in one message. */
const MAX_NAMED = 4;

/** The write quorum of a cluster that was formatted without a wish; a higher one is meant strictly. */
const DEFAULT_WRITE_QUORUM = 2;

/** Whether only the servers of a block's own group will do: nobody stands in for one that is away or full. */
export function isStrict(settings: {
  readonly replicas: number;
  readonly writeQuorum: number;
}): boolean {
  return settings.writeQuorum > DEFAULT_WRITE_QUORUM && settings.writeQuorum >= settings.replicas;
}

type ReadonlyCopies = ReadonlyMap<ServerId, IncarnationId | undefined>;

/** A block to be stored. */
export interface OutgoingBlock {
  readonly block: BlockId;
  readonly bytes: Uint8Array;
  readonly group: number;
  /** The file that it is written for, 0 when that has no number yet; told to the server, so that blocks describe themselves. */
  readonly inode: InodeId;
  readonly fileOffset: number;
}

export interface BlockWriterOptions {
  readonly servers: DataServers;
  readonly placement: PlacementCache;
  readonly settings: () => ClusterSettings;
  readonly warnings: Warnings;
  readonly clock: Clock;
  readonly random: Random;
  /** How long a block may wait for the write quorum. */
  readonly quorumTimeoutMs: number;
}

/** Servers for a block, in the order in which they are tried. */
export interface Candidates {
  /** To be asked for all copies. */
  readonly good: readonly ServerId[];
  /** Failed lately: to be asked only to reach the write quorum. */
  readonly doubtful: readonly ServerId[];
  /** Left out because they have no space. */
  readonly full: readonly ServerId[];
}

export class BlockWriter {
  private readonly options: BlockWriterOptions;
  private toldMs = -Infinity;

  constructor(options: BlockWriterOptions) {
    this.options = options;
  }

  /**
   * Stores the block; returns what a commit says about it.
   * @throws DfsError `quorum` (too few servers until the deadline), `noSpace` (all are full), `cancelled`, and what
   * fetching the placement table can fail with.
   */
  write(outgoing: OutgoingBlock, signal: CancelSignal): Promise<NewBlock> {
    return this.complete(outgoing, new Map(), this.deadline(), signal);
  }

  /** The deadline of a block that begins to be written now. */
  deadline(): Deadline {
    return new Deadline(this.options.clock, this.options.quorumTimeoutMs);
  }

  /** The copies of a block that are not lost by what `table` tells. */
  copiesLeft({ servers, incarnations }: NewBlock, table: Placement): Copies {
    const all: Copies = new Map(servers.map((server, at) => [server, incarnations?.[at]]));
    forgetLost(all, table);
    return all;
  }

  /** True when these copies can be committed. */
  suffices(copies: ReadonlyCopies, table: Placement): boolean {
    return counted(copies, table) >= this.options.settings().writeQuorum;
  }

  /** Stores a block of which there are some copies already. @throws DfsError as `write`. */
  async complete(
    outgoing: OutgoingBlock,
    copies: Copies,
    deadline: Deadline,
    signal: CancelSignal,
  ): Promise<NewBlock> {
    const { clock, placement, random } = this.options;
    const toSend = prepare(outgoing);
    for (let attempt = 0; ; attempt++) {
      const fetched = attempt === 0 ? placement.current() : placement.refresh();
      const table = await unlessAborted(fetched, signal);
      forgetLost(copies, table);
      const candidates = this.candidates(table, outgoing.group, copies);
      const round = await this.round(toSend, candidates, table, copies, signal);
      if (signal.aborted) throw new DfsError("cancelled", "the transfer was cancelled");
      if (this.enough(copies, table)) return newBlock(toSend, outgoing.group, table, copies);
      const mayCount = copies.size > counted(copies, table); // once its server is refilled
      const hasFull = candidates.full.length + round.full > 0;
      const outOfSpace = hasFull && round.others.length === 0 && !mayCount;
      if (outOfSpace && attempt > 0) throw this.noSpace(candidates.full.length + round.full);
      const lacking = this.lacking(table, outgoing.group, copies, round);
      const text = this.quorumText(copies, table);
      if (deadline.passed) throw this.belowQuorum(copies, text, lacking, deadline);
      if (outOfSpace) continue; // once more with a fresh table: space may have been made
      this.tellWaiting(`${lacking}: ${text} could be made so far`, deadline);
      const delayMs = backoffDelayMs(WAIT, attempt, random);
      await pause(clock, Math.min(delayMs, deadline.remainingMs), signal);
    }
  }

  /** The servers worth asking, without those that hold a copy already. */
  private candidates(table: Placement, group: number, copies: ReadonlyCopies): Candidates {
    const { servers } = this.options;
    const order = this.isStrict ? table.targets(group) : table.candidates(group);
    const good: ServerId[] = [];
    const suspect: ServerId[] = [];
    const doubtful: ServerId[] = [];
    const full: ServerId[] = [];
    for (const id of order) {
      const known = table.server(id);
      if (copies.has(id) || known === undefined) continue;
      if (known.state !== "up" && known.state !== "suspect") continue;
      if (known.full || servers.full(id)) full.push(id);
      else if (!servers.usable(id)) doubtful.push(id);
      else (known.state === "up" ? good : suspect).push(id);
    }
    return { good: [...good, ...suspect], doubtful, full };
  }

  private async round(
    toSend: BlockToSend,
    { good, doubtful }: Candidates,
    table: Placement,
    copies: Copies,
    signal: CancelSignal,
  ): Promise<RoundResult> {
    const { replicas, writeQuorum } = this.options.settings();
    const { servers, clock } = this.options;
    const seams = { servers, clock, signal };
    const failures = new Map<ServerId, unknown>();
    const counts = (server: ServerId): boolean => table.counts(server);
    const shared = { toSend, copies, failures, floor: writeQuorum, counts };
    await new CopyRound({ ...shared, candidates: good, wanted: replicas }, seams).run();
    if (counted(copies, table) < writeQuorum) {
      const lastResort = { ...shared, candidates: doubtful, wanted: writeQuorum };
      await new CopyRound(lastResort, seams).run();
    }
    const others = [...failures].filter(([, error]) => !isNoSpace(error));
    return { failures, others, full: failures.size - others.length };
  }

  /** Only the servers of a block's group will do. */
  private get isStrict(): boolean {
    return isStrict(this.options.settings());
  }

  /** The servers that could hold a copy that counts and do not, each with the reason: "server 3 (down)". */
  private lacking(
    table: Placement,
    group: number,
    copies: ReadonlyCopies,
    { failures }: RoundResult,
  ): string {
    const { servers } = this.options;
    const order = this.isStrict ? table.targets(group) : table.candidates(group);
    const named = order
      .filter((id) => !copies.has(id) || !table.counts(id))
      .map((id) => {
        const known = table.server(id);
        const failure = failures.get(id);
        const isFull = known?.full === true || servers.full(id);
        if (known === undefined) return `server ${id} (not known any more)`;
        if (known.state !== "up" && known.state !== "suspect")
          return `server ${id} (${known.state})`;
        if (copies.has(id)) return `server ${id} (being refilled)`;
        if (isFull) return `server ${id} (full)`;
        return `server ${id} (${failure === undefined ? "does not answer" : brieflyOf(failure)})`;
      });
    if (named.length === 0) return "more data servers";
    const rest = named.length - MAX_NAMED;
    return named.slice(0, MAX_NAMED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  }

  /** True when there are copies enough to go on; says so when they are fewer than wanted. */
  private enough(copies: ReadonlyCopies, table: Placement): boolean {
    const { settings, warnings } = this.options;
    const { replicas } = settings();
    if (!this.suffices(copies, table)) return false;
    if (copies.size < replicas) {
      warnings.warn({
        kind: "missingCopies",
        message:
          `some blocks have only ${copies.size} of ${replicas} copies for now, because too few data servers ` +
          "are usable; the missing ones are on record",
      });
    }
    return true;
  }

  /** Says what is waited for, unless that was said a moment ago. */
  tellWaiting(what: string, deadline: Deadline): void {
    const { warnings, clock } = this.options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.toldMs < TELL_AGAIN_MS) return;
    this.toldMs = nowMs;
    warnings.rearm("belowQuorum");
    warnings.warn({
      kind: "belowQuorum",
      message: `waiting for ${what}${givingUp(deadline)}`,
    });
  }

  private belowQuorum(
    copies: ReadonlyCopies,
    text: string,
    lacking: string,
    deadline: Deadline,
  ): DfsError {
    const { writeQuorum } = this.options.settings();
    return new DfsError(
      "quorum",
      `could not store a block: ${text} could be made within ` +
        `${Math.round(deadline.timeoutMs / 1000)} s; lacking: ${lacking}\n` +
        "start the data servers that are down (`dfs status` names them), then try again",
      { details: { copies: copies.size, writeQuorum } },
    );
  }

  private quorumText(copies: ReadonlyCopies, table: Placement): string {
    const { writeQuorum } = this.options.settings();
    const strictly = this.isStrict ? ", for which no other servers stand in," : "";
    return `${counted(copies, table)} of the ${writeQuorum} copies that the write quorum asks for${strictly}`;
  }

  private noSpace(full: number): DfsError {
    const which = this.isStrict
      ? `${full === 1 ? "a data server" : `${full} data servers`} of the block's placement group ` +
        `${full === 1 ? "is" : "are"} full, and with this write quorum no other stands in`
      : `${full === 1 ? "the data server that is up is" : `all ${full} usable data servers are`} full`;
    return new DfsError("noSpace", `no space left: ${which}\nremove files, or add a data server`, {
      details: { full },
    });
  }
}

/** What became of the servers that hold no copy after a round. */
interface RoundResult {
  readonly failures: ReadonlyMap<ServerId, unknown>;
  /** Failures for other reasons than space. */
  readonly others: readonly (readonly [ServerId, unknown])[];
  /** Servers that answered that they have no space. */
  readonly full: number;
}

function prepare(outgoing: OutgoingBlock): BlockToSend {
  const { block, bytes, inode, fileOffset } = outgoing;
  const pieces = pieceHashes(bytes);
  const checksum = checksumOf(bytes.length, pieces);
  return { bytes, body: { block, length: bytes.length, checksum, inode, fileOffset, pieces } };
}

function newBlock(
  toSend: BlockToSend,
  group: number,
  table: Placement,
  copies: ReadonlyCopies,
): NewBlock {
  const { block, length, checksum } = toSend.body;
  const inOrder = table.candidates(group).filter((server) => copies.has(server));
  const others = [...copies.keys()].filter((server) => !inOrder.includes(server));
  const servers = [...inOrder, ...others];
  const incarnations = servers
    .map((server) => copies.get(server))
    .filter((each) => each !== undefined);
  const areKnown = incarnations.length === servers.length;
  return { block, length, checksum, group, servers, incarnations: areKnown ? incarnations : null };
}

/** When a wait ends, for those that do. */
function givingUp({ timeoutMs, remainingMs }: Deadline): string {
  return timeoutMs >= FOREVER_MS ? "" : `; giving up in ${Math.ceil(remainingMs / 1000)} s`;
}

/** Copies that count towards the write quorum. */
function counted(copies: ReadonlyCopies, table: Placement): number {
  return countedIn(copies, (server) => table.counts(server));
}

/** A server may lose its disk, or be given up, while a block is still being written. */
function forgetLost(copies: Copies, table: Placement): void {
  for (const [server, incarnation] of copies) {
    if (table.isLost(server, incarnation)) copies.delete(server);
  }
}

function isNoSpace(error: unknown): boolean {
  return error instanceof DfsError && error.kind === "noSpace";
}
