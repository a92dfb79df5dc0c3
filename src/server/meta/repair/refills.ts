/**
 * Refills servers that have lost their disk, each in a pass over its copies in order of block id (refill-pass.ts).
 *
 * All that such a server lacks is one copy each of many blocks, and what to do for them is plain. So they are not looked at one by
 * one as planner.ts does, which would cost ten times as much as all the rest for a small block. A pass is made only while all servers are
 * up and compared with the record; it takes the blocks that lack nothing else and are well placed, and leaves the others to the planner, and
 * with them what could not be copied.
 *
 * Invariants
 * - A copy stays `bad` until it is durable on the server and a transaction finds everything as it was when it was chosen. A
 *   crash at any moment leaves blocks that are copied once more.
 * - From before a block is read until its order has ended no deletion of it is sent to the server (`isCopying`): what dies in
 *   between is deleted after the copy was made, not before.
 * - A block is the planner's or a pass's, never both: the planner leaves alone what a pass has yet to come to (`has`) or has
 *   ordered (`isBusyWith`), and a pass what the planner is busy with.
 */
import { messageOf } from "../../../base/errors.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import type { Member, Members } from "../members.ts";
import type { Server } from "../store/rows.ts";
import { ask } from "../store/store.ts";
import { RefillPass, type PassOptions } from "./refill-pass.ts";

export interface RefillsOptions extends Omit<PassOptions, "isWhole"> {
  readonly members: Members;
  /** A pass has ended. */
  readonly onEnded: () => void;
}

export class Refills {
  private readonly options: RefillsOptions;
  private readonly passes = new Map<ServerId, RefillPass>();
  private readonly running = new Set<Promise<void>>();
  private looking: Promise<void> | undefined;
  private isNews = false;
  private stopped = false;

  constructor(options: RefillsOptions) {
    this.options = options;
  }

  /** Whether a pass is under way. */
  get isActive(): boolean {
    return this.passes.size > 0;
  }

  /** Copies under way. */
  get copies(): number {
    return this.passes.values().reduce((sum, { copies }) => sum + copies, 0);
  }

  /** Whether a block on record with urgency REFILL is to be left to a pass. */
  has(block: BlockId): boolean {
    return this.passes.values().some((pass) => pass.has(block));
  }

  /** Whether the block may be in an order of a pass that has not ended. */
  isBusyWith(block: BlockId): boolean {
    return this.passes.values().some((pass) => pass.isBusyWith(block));
  }

  /** True while a copy of the block may be on its way to the server. */
  isCopying(block: BlockId, server: ServerId): boolean {
    return this.passes.get(server)?.isCopying(block) === true;
  }

  /** Servers have changed: passes that may begin do so. */
  kick(): void {
    this.isNews = true;
    if (this.stopped) return;
    this.looking ??= this.look()
      .catch((error: unknown) => {
        if (this.stopped) return;
        this.options.logger.warn(`no data server can be refilled for now: ${messageOf(error)}`);
      })
      .finally(() => {
        this.looking = undefined;
      });
  }

  /** Begins nothing any more, and waits for what is under way. The connections must have been closed, or that takes long. */
  async stop(): Promise<void> {
    this.stopped = true;
    for (const pass of this.passes.values()) pass.stop();
    await this.looking;
    await Promise.all(this.running);
  }

  private async look(): Promise<void> {
    while (this.isNews && !this.stopped) {
      this.isNews = false;
      const servers = await this.options.engine.question(() => ask("server.list"));
      const members = this.membersWhenWhole(servers);
      if (members === undefined) continue;
      for (const { id, filling } of servers) {
        if (filling && !this.passes.has(id) && !this.stopped) this.begin(members.get(id)!);
      }
    }
  }

  /** The members of all servers, when each of them is up and has been compared with the record. */
  private membersWhenWhole(servers: Iterable<Server>): ReadonlyMap<ServerId, Member> | undefined {
    const members = new Map(this.options.members.settled().map((each) => [each.server, each]));
    for (const { id, state, instance } of servers) {
      if (state !== "up" || members.get(id)?.instance !== instance) return undefined;
    }
    return members;
  }

  private begin(member: Member): void {
    const isWhole = (servers: Iterable<Server>): boolean =>
      this.membersWhenWhole(servers)?.get(member.server) === member;
    const pass = new RefillPass({ ...this.options, isWhole }, member);
    this.passes.set(member.server, pass);
    const run = pass.run().finally(() => {
      this.running.delete(run);
      this.passes.delete(member.server);
      if (!this.stopped) this.options.onEnded();
    });
    this.running.add(run);
  }
}
