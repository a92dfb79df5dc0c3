/**
 * One pass over what a server that has lost its disk is to get again, in order of block id.
 *
 *     read a page ──► order it, from several servers ──► copies are durable there ──► present, in one transaction
 *
 * Several orders are under way, each with its blocks from all other servers. When the pass has ended, or may not go on, the planner
 * does what is left: refills.ts has the whole of it, and the invariants.
 *
 * While a server is away that should have copies, a pass has two rounds: first over the blocks of which just one copy is within
 * reach, then over the others. It begins again when other servers than before can give copies; what it has ordered goes on meanwhile.
 */
import { sleep, type Clock } from "../../../base/clock.ts";
import { isDfsError, messageOf, type ErrorKind } from "../../../base/errors.ts";
import { blockId, type BlockId, type ServerId } from "../../../base/ids.ts";
import { MAX_BATCHED_BYTES } from "../../../base/limits.ts";
import type { Logger } from "../../../base/logger.ts";
import type { BatchResult } from "../../../protocol/messages/data.ts";
import type { BatchOrder, Commands } from "../commands.ts";
import type { Engine } from "../engine.ts";
import type { Member } from "../members.ts";
import type { RefillRow } from "../store/primitives/refills.ts";
import type { Server } from "../store/rows.ts";
import { partOfMany, type Loads } from "./loads.ts";
import { clusterView, type ClusterView } from "./need.ts";
import type { Pace } from "./pace.ts";
import { recordMade } from "./refill-record.ts";
import { countReady, shareOut } from "./refill-sources.ts";
import { readRefills, type RefillPage } from "./refill-steps.ts";
import type { Share } from "./share.ts";

/** Most blocks of one order: few enough that its transactions never hold the event loop long. */
const MOST_ROWS = 512;

/** Rows read at first, before it is known how long blocks are. */
const FIRST_ROWS = 32;

/** While a rate is waited for the service may be told to stop. */
const MOST_SLEEP_MS = 200;

/** Most orders under way. */
const MOST_ORDERS = 6;

/** A source that the server could not reach is asked again after so long. */
const AWAY_MS = 300_000;

/** Kinds of error by which a server shows that it is no good target at the moment. */
const UNFIT: ReadonlySet<ErrorKind> = new Set(["noSpace", "io", "timeout"]);

/** Below and above every block id. */
const NO_BLOCK = blockId(0n);
const LAST_BLOCK = blockId((1n << 63n) - 1n);

export interface PassOptions {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly loads: Loads;
  readonly pace: Pace;
  readonly share: Share;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Copies at a time to one server, where 8 MiB of small blocks count as one. */
  readonly copiesPerServer: number;
  /** Whether the planner is busy with the block. */
  readonly isBusyWith: (block: BlockId) => boolean;
  /** Whether the planner waits for the rate with something that is to have it first. */
  readonly isHeld: () => boolean;
  /** Who can give copies while servers are like this; undefined: the pass may not go on. */
  readonly sources: (servers: Iterable<Server>) => ReadonlySet<ServerId> | undefined;
  /** A source has not given a block right to a server. */
  readonly onBad: (block: BlockId, source: ServerId, to: ServerId) => void;
  /** These blocks were passed over, or could not be copied: they are the planner's now. */
  readonly onLeft: (blocks: readonly BlockId[]) => void;
}

/** An order under way: its blocks, in order of id. */
interface UnderWay {
  readonly rows: readonly RefillRow[];
  readonly done: Promise<void>;
}

export class RefillPass {
  private readonly options: PassOptions;
  readonly member: Member;
  private readonly orders = new Set<UnderWay>();
  /** Blocks up to this one have been read in this round. */
  private after = NO_BLOCK;
  /** Blocks up to this one were read before: they may be in an order. */
  private readBefore = NO_BLOCK;
  private which: "urgent" | "rest" = "rest";
  /** Who can give copies, in this round. */
  private sources: ReadonlySet<ServerId> = new Set();
  /** The next block is to come from these, who have enough to do. */
  private waitsFor: readonly ServerId[] = [];
  private isReading = false;
  private rows = FIRST_ROWS;
  private page: RefillPage | undefined;
  private bytesUnderWay = 0;
  /** Sources that the server could not reach: asking them costs it a wait each time. They are asked no more */
  private readonly away = new Set<ServerId>();
  /** until then. */
  private awayUntilMs = 0;
  /** Blocks up to this one may be read: the server has been compared with the record that far. */
  private reach: BlockId;
  /** There may be more to read, or it may not go on: since the last look at that, */
  private isNews = true;
  /** which is told to who waits for it. */
  private tell: () => void = () => undefined;
  /** It has come to blocks whose sources are all away. */
  private hasLeftCutOff = false;
  /** Why nothing more is to be ordered. */
  private failure: string | undefined;
  /** Nothing more is read: what it has not come to is not its business any more. */
  private isOver = false;
  private stopped = false;

  /** `member` is the server that is refilled; it has been compared with the record up to `reach`, undefined: to the end. */
  constructor(options: PassOptions, member: Member, reach: BlockId | undefined) {
    this.options = options;
    this.member = member;
    this.reach = reach ?? LAST_BLOCK;
  }

  /** The server has been compared as far as that. */
  extend(reach: BlockId | undefined): void {
    this.reach = reach ?? LAST_BLOCK;
    this.lookAgain();
  }

  /** Servers have changed: whether it may go on is asked now, and not when there is more to read. */
  lookAgain(): void {
    this.isNews = true;
    this.tell();
  }

  /** Whether it orders nothing any more, and only waits for what it has ordered. */
  get isEnding(): boolean {
    return this.isOver || this.stopped || this.failure !== undefined;
  }

  /** Whether it has failed, or left blocks because their sources could not be reached: another pass may have more luck. */
  get isToBeRepeated(): boolean {
    return (this.failure !== undefined || this.hasLeftCutOff) && !this.stopped;
  }

  /** Copies under way. */
  get copies(): number {
    return [...this.orders].reduce((sum, { rows }) => sum + rows.length, 0);
  }

  /** Whether the pass has yet to come to the block, or has ordered it; `isUrgent`: one copy is within reach though more are wanted. */
  has(block: BlockId, isUrgent: boolean): boolean {
    // With two copies wanted all are alike.
    const isFirst = isUrgent && this.options.engine.settings.replicas > 2;
    const isOfRound = isFirst === (this.which === "urgent");
    const isToCome = isOfRound ? block > this.after : !isFirst;
    return (!this.isEnding && isToCome) || this.isBusyWith(block);
  }

  /** Whether the block is in an order that has not ended. */
  isBusyWith(block: BlockId): boolean {
    for (const { rows } of this.orders) if (isAmong(rows, block)) return true;
    return false;
  }

  /** Whether a copy of the block may be on its way, or about to be ordered. */
  isCopying(block: BlockId): boolean {
    return (this.isReading && block > this.after) || this.isBusyWith(block);
  }

  /** Orders nothing any more. */
  stop(): void {
    this.stopped = true;
    this.lookAgain();
  }

  /** Resolves when the pass has ended. Never throws. */
  async run(): Promise<void> {
    try {
      while ((await this.mayOrder()) && (await this.orderNext()));
    } catch (error) {
      this.failure ??= messageOf(error);
    }
    this.isOver = true;
    await Promise.all([...this.orders].map(({ done }) => done));
    if (this.failure === undefined || this.stopped) return;
    const { server } = this.member;
    this.options.logger.info(
      `data server ${server} is refilled block by block for now: ${this.failure}`,
    );
  }

  /** Waits until there is room for another order. Returns false when there is to be none. */
  private async mayOrder(): Promise<boolean> {
    const { copiesPerServer } = this.options;
    // One copy of these is left to the planner, for what is more urgent.
    const mostBytes = Math.max(0, copiesPerServer - 2) * MAX_BATCHED_BYTES;
    while (this.orders.size >= MOST_ORDERS || this.bytesUnderWay > mostBytes) {
      await Promise.race([...this.orders].map(({ done }) => done));
    }
    return !this.isEnding;
  }

  /** Reads the next blocks and orders them. Returns whether there may be more. */
  private async orderNext(): Promise<boolean> {
    await this.untilAllowed();
    await this.untilReady();
    const { reach } = this;
    this.isNews = false;
    this.isReading = true;
    let page: RefillPage | "later" | undefined;
    try {
      page = await this.readNext(reach);
      if (page === undefined || this.isEnding) return false;
      if (page === "later") return true;
      this.take(page);
    } finally {
      // Not sooner: nothing comes between the last look at what is read and its place among the orders.
      this.isReading = false;
    }
    return page.last === undefined ? this.mayReadOn(reach) : true;
  }

  /** Waits until one of those that are to give the next block has room for an order. It holds nothing that others wait for. */
  private async untilReady(): Promise<void> {
    const { loads } = this.options;
    const isBusy = (): boolean => this.waitsFor.every((source) => this.hasEnough(source));
    while (this.waitsFor.length > 0 && isBusy() && !this.isEnding && !this.isNews) {
      await this.told(loads.whenLess());
    }
    this.waitsFor = [];
  }

  /** One slot of each source, too, is left to the planner. */
  private hasEnough(source: ServerId): boolean {
    const { loads, copiesPerServer } = this.options;
    return loads.outgoing(source) >= Math.max(1, copiesPerServer - 1);
  }

  /** Orders what is on a page, as far as there are sources for it that have room. */
  private take(page: RefillPage): void {
    if (page.last === undefined) return;
    const { isBusyWith, onLeft } = this.options;
    const busy = new Set([...this.sources].filter((source) => this.hasEnough(source)));
    const isDone = (block: BlockId): boolean => block <= this.readBefore && this.isBusyWith(block);
    const isCutOff = ({ holders }: RefillRow): boolean =>
      this.away.size > 0 && holders.present.every((source) => this.away.has(source));
    const open = page.wanted.filter(
      (row) => !isBusyWith(row.id) && !isDone(row.id) && !isCutOff(row),
    );
    const rows = open.slice(0, countReady(open, this.away, busy));
    const blocked = open[rows.length];
    this.waitsFor = blocked?.holders.present.filter((source) => !this.away.has(source)) ?? [];
    this.after = blocked === undefined ? page.last : blockId(blocked.id - 1n);
    if (rows.length > 0) this.begin(rows, page, busy);
    const cutOff = page.wanted.filter(isCutOff);
    this.hasLeftCutOff ||= cutOff.length > 0;
    const left = [...page.others, ...cutOff.map(({ id }) => id)];
    const isPast = (block: BlockId): boolean => block <= this.after && !isDone(block);
    if (left.length > 0) onLeft(left.filter(isPast));
  }

  /** There is nothing more up to `reach`: waits until there may be. Returns whether that can be. */
  private async mayReadOn(reach: BlockId): Promise<boolean> {
    if (reach === LAST_BLOCK) {
      if (this.which === "rest") return false;
      this.beginRound("rest");
      return true;
    }
    const { peer } = this.member;
    if (!this.isNews && peer.open) await this.told(peer.closed);
    return true;
  }

  /** Waits until something has happened, or servers have changed. */
  private async told(happened: Promise<unknown>): Promise<void> {
    const told = new Promise<void>((resolve) => (this.tell = resolve));
    await Promise.race([happened, told]);
  }

  private beginRound(which: "urgent" | "rest"): void {
    this.which = which;
    if (this.after > this.readBefore) this.readBefore = this.after;
    this.after = NO_BLOCK;
    this.waitsFor = [];
    this.page = undefined;
  }

  /** Begins with the urgent ones when others can give copies than before. Returns whether the pass may go on. */
  private lookAt({ servers, replicas }: ClusterView): boolean {
    const { clock } = this.options;
    const sources = this.options.sources(servers.values());
    if (sources === undefined) return false;
    if (clock.monotonicMs() >= this.awayUntilMs) this.away.clear();
    if (sources.symmetricDifference(this.sources).size === 0) return true;
    this.sources = sources;
    this.away.clear();
    const isAway = ({ id, state }: Server): boolean =>
      id !== this.member.server && state !== "out" && !sources.has(id);
    this.beginRound(replicas > 2 && servers.values().some(isAway) ? "urgent" : "rest");
    return true;
  }

  /** The next page up to `reach`; "later": nothing may be ordered now; undefined: the pass may not go on. */
  private async readNext(reach: BlockId): Promise<RefillPage | "later" | undefined> {
    const { engine } = this.options;
    const { server } = this.member;
    const page = await engine.question(
      function* (this: RefillPass) {
        const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
        if (!this.lookAt(view)) return undefined;
        // Not sooner: the round may be another one by now.
        const bytes = this.allowance;
        if (bytes <= 0) return "later";
        const { after, rows, sources, which, page: before } = this;
        const stretch = { after, last: reach };
        const target = { server, sources, which };
        return yield* readRefills(view, target, stretch, { rows, bytes }, before);
      }.bind(this),
    );
    if (page === "later") return page;
    this.page = page;
    // As many are read next as are likely to be ordered.
    this.rows = Math.min(MOST_ROWS, Math.max(FIRST_ROWS, 2 * (page?.looked ?? 0)));
    return page;
  }

  /** Waits until something may be ordered, or servers have changed. */
  private async untilAllowed(): Promise<void> {
    const { pace, clock } = this.options;
    while (this.allowance <= 0 && !this.isEnding && !this.isNews) {
      await sleep(clock, Math.min(MOST_SLEEP_MS, Math.max(1, pace.waitMs())));
    }
  }

  /** Bytes that may be ordered now. */
  private get allowance(): number {
    const { pace, isHeld } = this.options;
    if (this.isUrgent) return MAX_BATCHED_BYTES;
    return isHeld() ? 0 : Math.min(MAX_BATCHED_BYTES, pace.allowance());
  }

  /** All blocks of the round have one good copy left within reach: rates do not apply. */
  private get isUrgent(): boolean {
    return this.which === "urgent" || this.options.engine.settings.replicas === 2;
  }

  private begin(rows: readonly RefillRow[], page: RefillPage, busy: ReadonlySet<ServerId>): void {
    const { loads, pace, share } = this.options;
    const { server } = this.member;
    const { addresses } = page;
    const { sources, sourceOf, bytes } = shareOut(rows, this.away, busy);
    const total = bytes.reduce((sum, each) => sum + each, 0);
    const order: BatchOrder = {
      sources: sources.map((source) => ({ server: source, address: addresses.get(source)! })),
      blocks: rows.map(({ id, length, checksum, inode, fileOffset }, at) => {
        return { block: id, length, checksum, inode, fileOffset, source: sourceOf[at]! };
      }),
    };
    const count = (by: 1 | -1): void => {
      this.bytesUnderWay += by * total;
      for (const [at, source] of sources.entries())
        loads.count(server, source, partOfMany(bytes[at]!), by);
    };
    count(1);
    share.ordered(total, rows.length);
    if (!this.isUrgent) pace.begin(total);
    const done = this.carryOut(order, rows, page)
      .catch((error: unknown) => {
        this.failure ??= messageOf(error);
        if (isDfsError(error) && UNFIT.has(error.kind)) loads.avoid(server);
      })
      .finally(() => {
        count(-1);
        this.orders.delete(entry);
      });
    const entry = { rows, done };
    this.orders.add(entry);
  }

  /** Has the copies made, and puts on record those that were. @throws DfsError when the order is refused or not answered. */
  private async carryOut(
    order: BatchOrder,
    rows: readonly RefillRow[],
    page: RefillPage,
  ): Promise<void> {
    const { commands, onLeft, pace } = this.options;
    const results = await commands.copyMany(this.member, order);
    const stored = rows.filter((_, at) => results[at] === "stored");
    const left = rows.filter((_, at) => results[at] !== "stored");
    this.reportSources(order, results);
    if (stored.length > 0) {
      const blocks = stored.map(({ id }) => id);
      const made = await recordMade(this.options.engine, this.member, blocks, page);
      pace.made(
        stored.reduce((sum, { length }) => sum + length, 0),
        made,
      );
    } else if (results.includes("notStored") || this.isCutOff) {
      this.failure ??= "none of its last copies could be made";
    }
    if (left.length > 0) onLeft(left.map(({ id }) => id));
  }

  /** Whether the server could not reach any source. */
  private get isCutOff(): boolean {
    return this.sources.isSubsetOf(this.away);
  }

  /** Whoever has answered and not given a block right is to look at its copy; whoever did not answer is asked last from now on. */
  private reportSources({ sources, blocks }: BatchOrder, results: readonly BatchResult[]): void {
    const { onBad, clock } = this.options;
    for (const [at, { block, source }] of blocks.entries()) {
      const { server } = sources[source]!;
      if (results[at] === "notGiven") onBad(block, server, this.member.server);
      else if (results[at] === "unreachable") this.away.add(server);
    }
    if (results.includes("unreachable")) this.awayUntilMs = clock.monotonicMs() + AWAY_MS;
  }
}

/** Whether the block is among the rows, which are in order of id. */
function isAmong(rows: readonly RefillRow[], block: BlockId): boolean {
  let [from, to] = [0, rows.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (rows[middle]!.id < block) from = middle + 1;
    else to = middle;
  }
  return rows[from]?.id === block;
}
