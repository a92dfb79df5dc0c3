/**
 * The reaper: what metadata has durably given up is deleted on the data servers, and then forgotten.
 *
 *     opens of an ended session    ─ in bounded steps ─►  given up, and with the last one of an inode without name the inode
 *     other things of one          ─ in bounded steps ─►  locks and replies gone, reservations ended
 *     long tail cut off a file     ─ in bounded steps ─►  extents of inodes without name or opens
 *     inode without name or opens  ─ its extents go in bounded steps ─►  dead blocks, copies `removing`
 *     copy `removing`              ─ command to its server, acknowledged ─►  copy forgotten, with the last one the block
 *     block forgotten              ─ command to the other servers, once, for copies that nobody had on record
 *     reserved, never committed    ─ grace period after the session's end ─►  deleted on every server, then forgotten
 *     ended session                ─ grace period ─►  forgotten
 *
 * Everything it works through is in the store, so it goes on where it was after a crash of any side. A server that is
 * not connected is dealt with when it is, and has been compared with the record. Steps are small and each is a transaction of its own, so requests of clients
 * come in between.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { blockId, type BlockId, type InodeId, type ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { Changes, watched } from "./changes.ts";
import type { Commands } from "./commands.ts";
import { finishCut } from "./cutting.ts";
import type { Engine } from "./engine.ts";
import type { Member } from "./members.ts";
import {
  clearStep,
  endedUncleared,
  endedWithOpens,
  forgetReplica,
  forgetReservation,
  giveUpOpens,
  orphans,
  reclaimStep,
  type Orphans,
} from "./namespace/operations.ts";
import { clusterView } from "./repair/need.ts";
import { judge } from "./repair/steps.ts";
import { forgetSessions, longEnded } from "./session-operations.ts";
import { ask, type Operation } from "./store/store.ts";

/** Copies deleted with one command and forgotten in one transaction. */
const COPIES_AT_ONCE = 1024;

/** Extents removed in one step of reclaiming. */
const EXTENTS_AT_ONCE = 256;

/** Ended reservations dealt with at a time; each may be of thousands of blocks. */
const RESERVATIONS_AT_ONCE = 4;

const SESSIONS_AT_ONCE = 256;

/** Below every block id. */
const NO_BLOCK = blockId(0n);

const NS_PER_MS = 1_000_000n;

export interface ReaperOptions {
  readonly engine: Engine;
  readonly commands: Commands;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two looks for work. */
  readonly intervalMs: number;
  /** How long blocks that an ended session may still be writing are left alone. */
  readonly graceMs: number;
  readonly members: () => readonly Member[];
  /** Of these, the ones whose copies may be deleted: those that have been compared with the record. */
  readonly settled: () => readonly Member[];
  /** True while a copy of the block is being made on the server: its deletion waits until that has ended. */
  readonly isCopying: (block: BlockId, server: ServerId) => boolean;
  /** False while files without a name must stay. */
  readonly mayReclaim: () => boolean;
  /** Clients want to know of this: locks of an ended session have gone, and others have been granted; a cut file has its count of allocated bytes. */
  readonly onChanged: (changes: Changes) => void;
  /** Something has gone on record for repair. */
  readonly onNeedy: () => void;
}

export class Reaper {
  private readonly options: ReaperOptions;
  private readonly running = new Map<string, Promise<void>>();
  private timer: Timer | undefined;
  private stopped = false;

  constructor(options: ReaperOptions) {
    this.options = options;
  }

  start(): void {
    this.timer = this.options.clock.setTimer(this.options.intervalMs, () => this.tick(), {
      background: true,
    });
  }

  /** Begins nothing any more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.timer?.cancel();
    await Promise.all(this.running.values());
  }

  private tick(): void {
    this.run("cutting files", () => this.cut());
    this.run("clearing ended sessions", () => this.clearSessions());
    if (this.options.mayReclaim()) {
      this.run("closing files of ended sessions", () => this.closeFiles());
      this.run("reclaiming files", () => this.reclaim());
    }
    for (const member of this.options.settled()) {
      this.run(`deleting on data server ${member.server}`, () => this.deleteOn(member));
    }
    this.run("collecting what ended sessions left", () => this.collectOrphans());
    this.run("forgetting ended sessions", () => this.forgetSessions());
    this.start();
  }

  /** Runs one kind of work unless it is still at it. What fails is tried again at the next tick. */
  private run(what: string, work: () => Promise<void>): void {
    if (this.running.has(what)) return;
    const done = work()
      .catch((error: unknown) => {
        if (!this.stopped) this.options.logger.warn(`${what} failed for now: ${messageOf(error)}`);
      })
      .finally(() => this.running.delete(what));
    this.running.set(what, done);
  }

  private async clearSessions(): Promise<void> {
    const { engine, onChanged } = this.options;
    while (!this.stopped) {
      const session = await engine.question(() => endedUncleared());
      if (session === undefined) return;
      let changes = new Changes();
      await engine.vital(() => {
        changes = new Changes();
        return watched(clearStep({ nowNs: engine.nowNs }, session), changes);
      });
      onChanged(changes);
    }
  }

  private async closeFiles(): Promise<void> {
    const { engine } = this.options;
    while (!this.stopped) {
      const session = await engine.question(() => endedWithOpens());
      if (session === undefined) return;
      let more = true;
      while (more && !this.stopped) {
        more = await engine.vital(() => giveUpOpens({ nowNs: engine.nowNs }, session));
      }
    }
  }

  private async cut(): Promise<void> {
    const { engine, onChanged } = this.options;
    while (!this.stopped) {
      const [inode] = await engine.question(() => ask("cut.list", 1));
      if (inode === undefined) return;
      await finishCut(engine, inode, () => this.stopped);
      onChanged(await engine.question(() => changed(inode)));
    }
  }

  private async reclaim(): Promise<void> {
    const { engine } = this.options;
    let more = (await engine.question(() => ask("reclaim.list", 1))).length > 0;
    while (more && !this.stopped) {
      const step = await engine.vital(() => reclaimStep({ nowNs: engine.nowNs }, EXTENTS_AT_ONCE));
      more = step.more;
    }
  }

  private async deleteOn(member: Member): Promise<void> {
    const { engine, commands, isCopying } = this.options;
    const { server, peer } = member;
    while (peer.open && !this.stopped) {
      const copies = await engine.question(() =>
        ask("replica.listUnsettled", server, "removing", NO_BLOCK, COPIES_AT_ONCE),
      );
      const blocks = copies.map((copy) => copy.block).filter((block) => !isCopying(block, server));
      if (blocks.length === 0) return;
      await engine.settle(); // a lazy change may have given them up: it must be durable before they are deleted
      await commands.deleteBlocks(member, blocks);
      const { replicas } = engine.settings;
      const { forgotten, needy } = await engine.vital(() =>
        forgetCopies(blocks, server, { replicas, nowNs: engine.nowNs }),
      );
      if (needy > 0) this.options.onNeedy();
      // A copy that was stored though nobody heard of it is on no record: it goes with its block, or stays for good.
      if (forgotten.length > 0) await this.deleteEverywhere(forgotten);
    }
  }

  private async collectOrphans(): Promise<void> {
    const { engine, graceMs } = this.options;
    while (!this.stopped) {
      const beforeNs = engine.nowNs - BigInt(graceMs) * NS_PER_MS;
      const page = await engine.question(() => orphans(beforeNs, RESERVATIONS_AT_ONCE));
      if (page.length === 0) return;
      const blocks = page.flatMap((each) => each.blocks);
      const done = await this.deleteEverywhere(blocks);
      for (const each of page) await this.forgetOrphans(each, done);
    }
  }

  /**
   * Servers that have not deleted the blocks get them on record as copies to be removed, and delete them later: in steps,
   * because these may be thousands of blocks on hundreds of servers. After a crash in between all of them are deleted again.
   */
  private async forgetOrphans(
    { first, blocks }: Orphans,
    done: ReadonlySet<ServerId>,
  ): Promise<void> {
    const { engine } = this.options;
    const told = new Set(done);
    while (!this.stopped) {
      const absent = await engine.vital(() => forgetOrAbsent(first, told));
      if (absent === undefined) return;
      for (let at = 0; at < blocks.length && !this.stopped; at += COPIES_AT_ONCE) {
        const some = blocks.slice(at, at + COPIES_AT_ONCE);
        await engine.vital(() => recordRemovals(absent, some));
      }
      told.add(absent);
    }
  }

  /** Returns the servers that have deleted the blocks. */
  private async deleteEverywhere(blocks: readonly BlockId[]): Promise<ReadonlySet<ServerId>> {
    const { commands, members, logger } = this.options;
    const done = new Set<ServerId>();
    const deleteOn = async (member: Member): Promise<void> => {
      try {
        await commands.deleteBlocks(member, blocks);
        done.add(member.server);
      } catch (error) {
        logger.info(
          `data server ${member.server} could not delete unused blocks: ${messageOf(error)}`,
        );
      }
    };
    await Promise.all(members().map(deleteOn));
    return done;
  }

  private async forgetSessions(): Promise<void> {
    const { engine, graceMs } = this.options;
    const beforeNs = engine.nowNs - BigInt(graceMs) * NS_PER_MS;
    for (const state of ["closed", "expired"] as const) {
      const due = await engine.question(() => longEnded(state, beforeNs, SESSIONS_AT_ONCE));
      if (due.length > 0) await engine.vital(() => forgetSessions(due));
    }
  }
}

/** The inode counts as changed, if it is there. */
function* changed(id: InodeId): Operation<Changes> {
  const changes = new Changes();
  const inode = yield* ask("inode.get", id);
  if (inode !== undefined) changes.inodes.set(id, inode.version);
  return changes;
}

interface Forgotten {
  /** Blocks of which this was the last copy on record. */
  readonly forgotten: readonly BlockId[];
  /** Live blocks that need something now that the copy is gone: its place is free for another one, say. */
  readonly needy: number;
}

/** Copies have been deleted on the server. */
function* forgetCopies(
  blocks: readonly BlockId[],
  server: ServerId,
  { replicas, nowNs }: { readonly replicas: number; readonly nowNs: bigint },
): Operation<Forgotten> {
  const forgotten: BlockId[] = [];
  const live: BlockId[] = [];
  for (const block of blocks) {
    if (!(yield* forgetReplica(block, server))) continue;
    const state = (yield* ask("block.get", block))?.state;
    if (state === undefined) forgotten.push(block);
    else if (state === "live") live.push(block);
  }
  if (live.length === 0) return { forgotten, needy: 0 };
  const needy = yield* judge(yield* clusterView(replicas, nowNs), live, "placement");
  return { forgotten, needy };
}

/** A server that is not among those `told`; when there is none, the reservation is forgotten. */
function* forgetOrAbsent(
  first: BlockId,
  told: ReadonlySet<ServerId>,
): Operation<ServerId | undefined> {
  const absent = (yield* ask("server.list")).find(({ id }) => !told.has(id));
  if (absent === undefined) yield* forgetReservation(first);
  return absent?.id;
}

/** The server, unless it has been removed, is to delete the blocks. */
function* recordRemovals(server: ServerId, blocks: readonly BlockId[]): Operation<void> {
  if ((yield* ask("server.standing", server)) === undefined) return;
  yield* ask(
    "replica.putMany",
    blocks.map((block) => ({ block, server, state: "removing" as const })),
  );
}
