/**
 * Copies that somebody could not read or verify: each is read whole by its own server, and marked bad only if that finds
 * the same. A report alone does nothing: it may come from a client with bad memory, and a copy that nobody may read any
 * more is as good as lost.
 *
 * What waits to be verified is in memory only. A report that is lost with this process is made again by the next reader, or
 * by a scrub; a copy that was found bad is on record.
 */
import type { Clock } from "../../../base/clock.ts";
import { messageOf } from "../../../base/errors.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import { LimitedLines } from "../../../base/limited-lines.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ReplicaVerdict } from "../../../protocol/messages/data.ts";
import type { Commands } from "../commands.ts";
import type { Engine } from "../engine.ts";
import type { Member } from "../members.ts";
import { settleVerdicts } from "../replica-operations.ts";
import type { Block } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { clusterView, liveBlock } from "./need.ts";

/** Copies of one server that may wait to be verified; of more the oldest is forgotten. */
const MOST_WAITING = 4096;

/** Copies verified with one request. */
const AT_ONCE = 16;

/** A server that could not be asked is asked again after so long. */
const RETRY_MS = 5_000;

const REPORTED = { message: "a bad copy was reported" };

export interface SuspectsOptions {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The server, if it is connected and has been compared with the record. */
  readonly member: (server: ServerId) => Member | undefined;
  /** A copy was found bad, or a bad one right. */
  readonly onSettled: () => void;
}

/** A copy that somebody met and could not use. */
export interface Report {
  readonly block: BlockId;
  readonly server: ServerId;
  readonly problem: string;
  readonly detail: string;
  /** Who says so, for the log. */
  readonly reporter: string;
}

export class Suspects {
  private readonly options: SuspectsOptions;
  /** By server, in the order in which they came. */
  private readonly waiting = new Map<ServerId, Set<BlockId>>();
  private readonly verifying = new Map<ServerId, Promise<void>>();
  private stopped = false;
  /** Whoever may connect can report what he likes. What comes of it has lines of its own. */
  private readonly reports: LimitedLines;

  constructor(options: SuspectsOptions) {
    this.options = options;
    this.reports = new LimitedLines(options.logger, options.clock, ["bad copies", "were reported"]);
  }

  /** Copies that wait to be verified, on servers that can be asked. */
  get size(): number {
    let size = 0;
    for (const [server, blocks] of this.waiting) {
      if (this.options.member(server) !== undefined) size += blocks.size;
    }
    return size;
  }

  /** Has a copy verified, if it is on record as one that is read. */
  async report({ block, server, problem, detail, reporter }: Report): Promise<void> {
    const { engine } = this.options;
    const isRead = await engine.question(() => isReadable(block, server));
    const fields = { block, server, problem, detail, reporter };
    if (!isRead) {
      this.reports.tell({ level: "info", ...REPORTED, why: "it is not read any more", fields });
      return;
    }
    const blocks = this.waiting.get(server) ?? new Set<BlockId>();
    this.waiting.set(server, blocks);
    if (blocks.has(block)) return;
    this.reports.tell({
      level: "warn",
      ...REPORTED,
      why: "its server is asked to verify it",
      fields,
    });
    blocks.add(block);
    for (const oldest of blocks) {
      if (blocks.size <= MOST_WAITING) break;
      blocks.delete(oldest);
    }
    this.work(server);
  }

  /** Goes on with what waits for servers that take requests now. */
  kick(): void {
    for (const server of this.waiting.keys()) this.work(server);
  }

  /** Begins nothing any more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.reports.close();
    await Promise.all(this.verifying.values());
  }

  /**
   * Has copies of live blocks verified on `member`, and puts on record what they are worth. Returns a verdict for each.
   * @throws DfsError when the server cannot be asked.
   */
  async verify(member: Member, blocks: readonly Block[]): Promise<readonly ReplicaVerdict[]> {
    const { engine, commands, logger, onSettled } = this.options;
    const { server } = member;
    const asked = blocks.map(({ id, length, checksum }) => ({ block: id, length, checksum }));
    const verdicts = await commands.verify(member, asked);
    const { replicas } = engine.settings;
    const changed = await engine.change(function* () {
      const view = yield* clusterView(replicas, engine.nowNs);
      const told = blocks.map(({ id }, at) => ({ block: id, verdict: verdicts[at]! }));
      return yield* settleVerdicts(view, server, told);
    });
    blocks.forEach(({ id }, index) => {
      if (changed[index] !== true) return;
      const verdict = verdicts[index]!;
      if (verdict === "right")
        logger.info("a copy in doubt was found right", { block: id, server });
      else logger.warn("a copy is bad and will be replaced", { block: id, server, verdict });
    });
    if (changed.some(Boolean)) onSettled();
    return verdicts;
  }

  private work(server: ServerId): void {
    if (this.stopped || this.verifying.has(server) || !this.waiting.has(server)) return;
    const done = this.verifyWaiting(server)
      .catch((error: unknown) => {
        if (this.stopped) return;
        const why = messageOf(error);
        const { logger, clock } = this.options;
        logger.warn(`cannot have copies on data server ${server} verified: ${why}`);
        clock.setTimer(RETRY_MS, () => this.work(server), { background: true });
      })
      .finally(() => this.verifying.delete(server));
    this.verifying.set(server, done);
  }

  private async verifyWaiting(server: ServerId): Promise<void> {
    const blocks = this.waiting.get(server) ?? new Set<BlockId>();
    while (blocks.size > 0 && !this.stopped) {
      const member = this.options.member(server);
      if (member === undefined) return; // `kick` goes on when it is back
      const part = [...blocks].slice(0, AT_ONCE);
      const { engine } = this.options;
      const live = await engine.question(() => readableBlocks(part, server));
      if (live.length > 0) await this.verify(member, live);
      for (const block of part) blocks.delete(block);
    }
    this.waiting.delete(server);
  }
}

function* isReadable(block: BlockId, server: ServerId): Operation<boolean> {
  if ((yield* liveBlock(block)) === undefined) return false;
  return (yield* ask("replica.get", block, server)) === "present";
}

function* readableBlocks(blocks: readonly BlockId[], server: ServerId): Operation<Block[]> {
  const found: Block[] = [];
  for (const id of blocks) {
    const block = yield* liveBlock(id);
    const state = yield* ask("replica.get", id, server);
    if (block !== undefined && state === "present") found.push(block);
  }
  return found;
}
