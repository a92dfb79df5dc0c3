/**
 * Blocks that one transaction judges together. What is on record of all of them is read with four statements, they are judged
 * in memory by the rules of need.ts, and what has changed is written back with few: a statement for each block and
 * question would cost more than everything else that is done for a small block.
 *
 *     readPage ──► copies, setCopy, judge ... ──► writePage
 *
 * A page lives inside one transaction, which is what makes it true. Nobody else may change its blocks in between.
 */
import type { BlockId, ServerId } from "../../../base/ids.ts";
import type { Block, Repair, RepairReason, Replica, ReplicaState } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { entryFor, needOf, type ClusterView, type Need } from "./need.ts";

interface Entry {
  block: Block | undefined;
  /** Copies on record, in order of server id. */
  readonly was: Replica[];
  /** Copies as they are to be. */
  copies: readonly Replica[];
  repairWas: Repair | undefined;
  repair: Repair | undefined;
}

const NONE: readonly Replica[] = [];

export class BlockPage {
  readonly view: ClusterView;
  private readonly entries: ReadonlyMap<BlockId, Entry>;

  /** Use `readPage`. */
  constructor(view: ClusterView, entries: ReadonlyMap<BlockId, Entry>) {
    this.view = view;
    this.entries = entries;
  }

  /** The blocks, in the order in which they were asked for. */
  get ids(): Iterable<BlockId> {
    return this.entries.keys();
  }

  /** The block, live or dead. */
  block(id: BlockId): Block | undefined {
    return this.entries.get(id)?.block;
  }

  /** The block, if it is live. */
  live(id: BlockId): Block | undefined {
    const block = this.block(id);
    return block?.state === "live" ? block : undefined;
  }

  /** Its copies, in order of server id. */
  copies(id: BlockId): readonly Replica[] {
    return this.entries.get(id)?.copies ?? NONE;
  }

  /** State of its copy on the server. */
  copyOn(id: BlockId, server: ServerId): ReplicaState | undefined {
    return this.copies(id).find((copy) => copy.server === server)?.state;
  }

  /** Puts the copy, over its former state if there is one; undefined takes it off the record. */
  setCopy(block: BlockId, server: ServerId, state: ReplicaState | undefined): void {
    const entry = this.entry(block);
    const at = entry.copies.findIndex((copy) => copy.server >= server);
    const isThere = entry.copies[at]?.server === server;
    const now = state === undefined ? [] : [{ block, server, state }];
    entry.copies = entry.copies.toSpliced(
      at < 0 ? entry.copies.length : at,
      Number(isThere),
      ...now,
    );
  }

  /** What a live block of the page needs, by its copies. */
  need({ id, group }: Block): Need {
    return needOf(this.view, this.copies(id), this.rowOf(group));
  }

  /** Urgency on record; undefined: it needs nothing. */
  urgency(id: BlockId): number | undefined {
    return this.entries.get(id)?.repair?.urgency;
  }

  /** The servers of a group of blocks of the page, in order. */
  rowOf(group: number): readonly ServerId[] {
    return this.view.rows.get(group) ?? [];
  }

  /** Judges a live block of the page: what it needs is to be on record, and nothing when it needs nothing. */
  judge(block: Block, reason: RepairReason): Need {
    const entry = this.entry(block.id);
    const need = this.need(block);
    entry.repair = entryFor(this.view, block.id, need, entry.repair, reason);
    return need;
  }

  /** What is to be written. */
  changes(): PageChanges {
    const changes: PageChanges = { puts: [], drops: [], repairs: [], settled: [] };
    for (const [id, { was, copies, repairWas, repair }] of this.entries) {
      if (copies !== was) addCopies(changes, was, copies);
      if (repair === repairWas) continue;
      if (repair === undefined) changes.settled.push(id);
      else changes.repairs.push(repair);
    }
    return changes;
  }

  private entry(id: BlockId): Entry {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new Error(`block ${id} is not on the page that is judged`);
    return entry;
  }
}

interface PageChanges {
  readonly puts: Replica[];
  readonly drops: Replica[];
  readonly repairs: Repair[];
  /** Blocks that need nothing any more. */
  readonly settled: BlockId[];
}

function addCopies(
  { puts, drops }: PageChanges,
  was: readonly Replica[],
  copies: readonly Replica[],
): void {
  for (const copy of copies) {
    if (!was.some(({ server, state }) => server === copy.server && state === copy.state)) {
      puts.push(copy);
    }
  }
  for (const former of was) {
    if (!copies.some(({ server }) => server === former.server)) drops.push(former);
  }
}

/** Reads what is on record of the blocks, some hundred at most; `known` are all their repairs, when the caller has them. */
export function* readPage(
  view: ClusterView,
  ids: readonly BlockId[],
  known?: readonly Repair[],
): Operation<BlockPage> {
  const entries = new Map<BlockId, Entry>();
  for (const id of ids) {
    const was: Replica[] = [];
    entries.set(id, {
      block: undefined,
      was,
      copies: was,
      repairWas: undefined,
      repair: undefined,
    });
  }
  const unique = [...entries.keys()];
  const groups = new Set<number>();
  for (const block of yield* ask("block.getMany", unique)) {
    entries.get(block.id)!.block = block;
    if (!view.rows.has(block.group)) groups.add(block.group);
  }
  for (const copy of yield* ask("replica.listMany", unique))
    entries.get(copy.block)!.was.push(copy);
  for (const repair of known ?? (yield* ask("repair.getMany", unique))) {
    const entry = entries.get(repair.block)!;
    entry.repair = entry.repairWas = repair;
  }
  for (const { group, servers } of yield* ask("placement.rows", [...groups])) {
    view.rows.set(group, servers);
  }
  return new BlockPage(view, entries);
}

/** Puts on record what has changed on a page. Nothing may be done with the page after that. */
export function* writePage(page: BlockPage): Operation<void> {
  const { puts, drops, repairs, settled } = page.changes();
  if (puts.length > 0) yield* ask("replica.putMany", puts);
  for (const { block, server } of drops) yield* ask("replica.delete", block, server);
  if (repairs.length > 0) yield* ask("repair.putMany", repairs);
  if (settled.length > 0) yield* ask("repair.deleteMany", settled);
}

/** Reads a page, changes it and puts on record what has changed. */
export function* onPage<T>(
  view: ClusterView,
  ids: readonly BlockId[],
  change: (page: BlockPage) => T,
): Operation<T> {
  const page = yield* readPage(view, ids);
  const result = change(page);
  yield* writePage(page);
  return result;
}
