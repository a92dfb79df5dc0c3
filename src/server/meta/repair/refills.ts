/**
 * Refills servers that have lost their disk, each in a pass over its copies in order of block id (refill-pass.ts).
 *
 * All that such a server lacks is one copy each of many blocks, and what to do for them is plain. So they are not looked at one by
 * one as planner.ts does, which would cost ten times as much as all the rest for a small block. A pass takes the blocks that lack nothing
 * else and have a copy within reach, wherever other servers are and however they are (refill-choice.ts); it leaves the others to the
 * planner, and with them what could not be copied. It begins with the server's comparison with the record, and stays behind that.
 *
 * Invariants
 * - A copy stays `bad` until it is durable on the server and a transaction finds everything as it was when it was chosen. A
 *   crash at any moment leaves blocks that are copied once more.
 * - From before a block is read until its order has ended no deletion of it is sent to the server (`isCopying`): what dies in
 *   between is deleted after the copy was made, not before.
 * - A block is the planner's or a pass's, never both: the planner leaves alone what a pass has yet to come to (`has`) or has
 *   ordered (`isBusyWith`), and a pass what the planner is busy with.
 */
import type { Timer } from "../../../base/clock.ts";
import { messageOf } from "../../../base/errors.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import type { Member, Members } from "../members.ts";
import type { Server } from "../store/rows.ts";
import { ask } from "../store/store.ts";
import { RefillPass, type PassOptions } from "./refill-pass.ts";

/** When a pass has failed, or could not reach sources, another one begins after so long, unless something happens sooner. */
const AGAIN_MS = 60_000;

export interface RefillsOptions extends Omit<PassOptions, "sources"> {
  readonly members: Members;
  /** A pass has ended. */
  readonly onEnded: () => void;
}

interface Comparison {
  readonly member: Member;
  readonly reach: BlockId;
}

export class Refills {
  private readonly options: RefillsOptions;
  private readonly passes = new Map<ServerId, RefillPass>();
  /** Servers that are being compared with the record, and up to where that has given up their copies. */
  private readonly compared = new Map<ServerId, Comparison>();
  /** Servers that are being refilled, as far as is known. */
  private filling: readonly ServerId[] = [];
  /** Servers that may have another pass when the one that is about to end has ended. */
  private readonly late = new Set<ServerId>();
  private readonly running = new Set<Promise<void>>();
  private looking: Promise<void> | undefined;
  private isNews = false;
  private again: Timer | undefined;
  private stopped = false;

  constructor(options: RefillsOptions) {
    this.options = options;
  }

  /** Whether every server that is being refilled has its pass. */
  get isComplete(): boolean {
    return this.passes.size > 0 && this.filling.every((id) => this.goesOn(id));
  }

  /** Whether a server has a pass. */
  get isUnderWay(): boolean {
    return this.passes.size > 0;
  }

  /** Copies under way. */
  get copies(): number {
    return this.passes.values().reduce((sum, { copies }) => sum + copies, 0);
  }

  /**
   * Whether a block that lacks nothing but the copy of this server is to be left to the server's pass. `isUrgent`: just one copy of it is
   * within reach, though more are wanted.
   */
  has(block: BlockId, server: ServerId, isUrgent: boolean): boolean {
    return this.passes.get(server)?.has(block, isUrgent) === true;
  }

  /** Whether the block is in an order of a pass that has not ended. */
  isBusyWith(block: BlockId): boolean {
    return this.passes.values().some((pass) => pass.isBusyWith(block));
  }

  /** True while a copy of the block may be on its way to the server. */
  isCopying(block: BlockId, server: ServerId): boolean {
    return this.passes.get(server)?.isCopying(block) === true;
  }

  /** A server that has lost its disk is being compared with the record, and has been up to `reach`. */
  emptied(member: Member, reach: BlockId): void {
    this.compared.set(member.server, { member, reach });
    if (this.goesOn(member.server)) this.extend(member.server);
    else this.kick();
  }

  /** Servers have changed: passes that may begin do so, and others see whether they may go on. */
  kick(): void {
    this.isNews = true;
    if (this.stopped) return;
    for (const [server, pass] of this.passes) {
      this.extend(server);
      pass.lookAgain();
    }
    this.looking ??= this.look()
      .catch((error: unknown) => {
        if (!this.stopped) this.warn(error);
      })
      .finally(() => {
        this.looking = undefined;
        if (this.isNews) this.kick(); // it came too late to be seen
      });
  }

  /** Begins nothing any more, and waits for what is under way. The connections must have been closed, or that takes long. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.again?.cancel();
    for (const pass of this.passes.values()) pass.stop();
    await this.looking;
    await Promise.all(this.running);
  }

  private async look(): Promise<void> {
    while (this.isNews && !this.stopped) {
      this.isNews = false;
      const servers = await this.options.engine.question(() => ask("server.list"));
      this.filling = servers.filter(({ filling }) => filling).map(({ id }) => id);
      for (const { id, filling } of servers) {
        if (this.stopped) return;
        if (!filling) this.compared.delete(id);
        else if (!this.passes.has(id)) this.beginIfFit(id, servers);
        else if (!this.goesOn(id)) this.late.add(id);
      }
    }
  }

  /** How far a server has been compared with the record. */
  private comparisonOf(
    server: ServerId,
  ): { member: Member; reach: BlockId | undefined } | undefined {
    const settled = this.options.members.settled().find((each) => each.server === server);
    if (settled !== undefined) return { member: settled, reach: undefined };
    const begun = this.compared.get(server);
    return begun?.member.peer.open === true ? begun : undefined;
  }

  /** Whether the server has a pass that is of this run of it, and is not about to end. */
  private goesOn(server: ServerId): boolean {
    const pass = this.passes.get(server);
    return pass?.isEnding === false && pass.member === this.comparisonOf(server)?.member;
  }

  private extend(server: ServerId): void {
    const pass = this.passes.get(server);
    const comparison = this.comparisonOf(server);
    if (comparison !== undefined && pass?.member === comparison.member)
      pass.extend(comparison.reach);
  }

  /**
   * The servers that can give copies to `member`: up or being drained, connected and compared with the record. Undefined when there
   * are none, or it takes no copies itself; of it the comparison need only have begun.
   */
  private sourcesFor(member: Member, servers: Iterable<Server>): ReadonlySet<ServerId> | undefined {
    const { members, loads } = this.options;
    const isFull = members.lastSign(member.server)?.condition.full === true;
    if (isFull || loads.isAvoided(member.server)) return undefined;
    const settled = new Map(members.settled().map((each) => [each.server, each]));
    const sources = new Set<ServerId>();
    let isThere = false;
    for (const { id, state, instance } of servers) {
      if (id === member.server) {
        const isSame = this.comparisonOf(id)?.member === member && member.instance === instance;
        isThere = isSame && state === "up";
      } else if (state === "up" || state === "draining") {
        if (settled.get(id)?.instance === instance) sources.add(id);
      }
    }
    return isThere && sources.size > 0 ? sources : undefined;
  }

  private beginIfFit(server: ServerId, servers: readonly Server[]): void {
    const comparison = this.comparisonOf(server);
    if (comparison === undefined) return;
    const { member, reach } = comparison;
    const sources = (rows: Iterable<Server>) => this.sourcesFor(member, rows);
    if (sources(servers) === undefined) return;
    const pass = new RefillPass({ ...this.options, sources }, member, reach);
    this.passes.set(server, pass);
    const run = this.follow(pass).finally(() => this.running.delete(run));
    this.running.add(run);
  }

  private async follow(pass: RefillPass): Promise<void> {
    const { server } = pass.member;
    await pass.run();
    this.passes.delete(server);
    if (pass.isToBeRepeated) this.kickLater();
    // Before the planner looks: another pass has what that would take otherwise.
    if (this.late.delete(server)) await this.beginAnother(server);
    if (!this.stopped) this.options.onEnded();
  }

  /** What was in the way may be over by then, and nobody tells. */
  private kickLater(): void {
    if (this.stopped) return;
    const kick = (): void => {
      this.again = undefined;
      this.kick();
    };
    this.again ??= this.options.clock.setTimer(AGAIN_MS, kick, { background: true });
  }

  /** Begins a pass of this server, if it may. Of others nothing is noted: passes that fail would begin each other for ever. */
  private async beginAnother(server: ServerId): Promise<void> {
    try {
      const servers = await this.options.engine.question(() => ask("server.list"));
      const isWanted = servers.some(({ id, filling }) => id === server && filling);
      if (isWanted && !this.stopped && !this.passes.has(server)) this.beginIfFit(server, servers);
    } catch (error) {
      if (!this.stopped) this.warn(error);
    }
  }

  private warn(error: unknown): void {
    this.options.logger.warn(`no data server can be refilled for now: ${messageOf(error)}`);
  }
}
