/**
 * Group commit: what arrived in one turn of the event loop is executed in one transaction, and answered when one sync of
 * the write-ahead log has covered it. In a turn each session has its share (work-queue.ts).
 *
 * Kinds of work
 * - A change is answered when it is durable.
 * - A vital change is made on a full disk as well, in the room that is kept for that (`disk-reserve.ts`).
 * - A lazy change (a file was opened, replies were trimmed) matters only while this machine runs: it is committed, but
 *   nobody waits for it.
 * - A question sees everything committed so far, and is answered when what it may have seen is durable: at once when
 *   nothing is pending. So nobody ever learns what a power cut could take back. That holds for errors, too.
 *
 * Invariants
 * - Each piece of work has its own savepoint: one that throws undoes only itself. One that is alone in its transaction needs
 *   none: the transaction is undone.
 * - The log sequence number (LSN) rises by one with each transaction that has a change in it, and is stored in it.
 * - One sync runs at a time. It covers every transaction committed before it began.
 * - After a failed sync, or an error of the database file itself, nothing is answered and nothing executed any more;
 *   `onFatal` is told once and must end the process.
 */
import { assert, DfsError, isDfsError, messageOf } from "../../base/errors.ts";
import { lsn as lsnOf, type Lsn } from "../../base/ids.ts";
import { classifyEngineError, diskFull } from "./engine-errors.ts";
import type { Reserve } from "./disk-reserve.ts";
import type { SyncStore } from "./store/store.ts";
import type { DurableMark } from "./wal-sync.ts";
import { WorkQueue, type OwnedWork } from "./work-queue.ts";

/** Most pieces of work in one transaction; what is left follows in the next turn, so that the loop is never held long. */
const MAX_GROUP = 256;

/** Name of the counter that holds the LSN of the newest transaction. */
export const LSN_COUNTER = "lsn";

type Kind = "change" | "vital" | "lazy" | "question";

export interface GroupCommitOptions {
  readonly store: SyncStore;
  readonly mark: DurableMark;
  /** Room for vital changes on a full disk. */
  readonly reserve?: Reserve;
  /** Calls back in a later turn of the event loop. */
  readonly defer: (callback: () => void) => void;
  /** A clock that never goes back, by which a turn is kept short. */
  readonly nowMs: () => number;
  /** A transaction or savepoint was undone. */
  readonly onUndone: () => void;
  /** Called after each transaction with the log's size in bytes. */
  readonly onCommitted?: (logBytes: number) => void;
  /** The log or the database cannot be trusted any more: end the process. */
  readonly onFatal: (error: DfsError) => void;
}

interface Work extends OwnedWork {
  readonly kind: Kind;
  readonly run: (lsn: Lsn) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What became of a piece of work. */
interface Outcome {
  readonly work: Work;
  readonly result: { readonly value: unknown } | { readonly error: DfsError };
}

/** Outcomes that wait until `lsn` is durable. */
interface Held {
  readonly lsn: bigint;
  readonly outcomes: readonly Outcome[];
}

export class GroupCommit {
  private readonly options: GroupCommitOptions;
  private readonly changes: WorkQueue<Work>;
  private readonly questions: WorkQueue<Work>;
  /** In order of LSN. */
  private held: Held[] = [];
  private committedLsn: bigint;
  private durableLsn: bigint;
  private turnPlanned = false;
  private syncing = false;
  private pauses = 0;
  private fatal: DfsError | undefined;
  private closed: (() => void) | undefined;

  /** What the store holds now must be durable already. */
  constructor(options: GroupCommitOptions) {
    this.options = options;
    this.changes = new WorkQueue(options.nowMs);
    this.questions = new WorkQueue(options.nowMs);
    this.committedLsn = options.store.primitives["counter.get"](LSN_COUNTER);
    this.durableLsn = this.committedLsn;
  }

  /** LSN of the newest transaction that is durable. */
  get durable(): Lsn {
    return lsnOf(this.durableLsn);
  }

  /**
   * Executes a change; resolves when it is durable. `run` may be called more than once, each time with everything
   * undone that it did before. `owner` is who asked for it, if anybody did: each has his share.
   * @throws DfsError what `run` throws; `noSpace` when the database's disk is full; `outcomeUnknown` when the service ended.
   */
  change<T>(run: (lsn: Lsn) => T, owner?: unknown): Promise<T> {
    return this.enqueue("change", run, owner);
  }

  /** Executes a change that must be possible on a full disk; resolves as `change`. */
  vital<T>(run: (lsn: Lsn) => T, owner?: unknown): Promise<T> {
    return this.enqueue("vital", run, owner);
  }

  /** Executes a change that nobody needs to survive a power cut; resolves as a question does. */
  lazy<T>(run: (lsn: Lsn) => T, owner?: unknown): Promise<T> {
    return this.enqueue("lazy", run, owner);
  }

  /** Executes a question, whose `run` is given the newest LSN and writes nothing. */
  question<T>(run: (lsn: Lsn) => T, owner?: unknown): Promise<T> {
    return this.enqueue("question", run, owner);
  }

  /** The owner has gone: what it has asked for and has not been begun is not done any more, and takes no memory. */
  forget(owner: unknown): void {
    for (const queue of [this.changes, this.questions]) {
      for (const work of queue.forget(owner)) work.reject(gone());
    }
    this.finishClose();
  }

  /** No transaction is begun until `resume`; questions go on. Counts: each pause needs its resume. */
  pause(): void {
    this.pauses++;
  }

  resume(): void {
    assert(this.pauses > 0, "group commit was resumed without a pause");
    this.pauses--;
    this.planTurn();
  }

  /** Refuses new work, finishes what it has, and resolves when all of it is durable and answered. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.closed = resolve;
      this.finishClose();
    });
  }

  private enqueue<T>(kind: Kind, run: (lsn: Lsn) => T, owner: unknown): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.fatal !== undefined || this.closed !== undefined) {
        reject(this.fatal ?? new DfsError("unreachable", "the metadata service is shutting down"));
        return;
      }
      if (kind === "change" && this.options.reserve?.refuses() === true) {
        reject(diskFull());
        return;
      }
      const work = { kind, run, owner, resolve: resolve as (value: unknown) => void, reject };
      (kind === "question" ? this.questions : this.changes).push(work);
      this.planTurn();
    });
  }

  private planTurn(): void {
    if (this.turnPlanned || this.fatal !== undefined) return;
    if (this.questions.size === 0 && (this.changes.size === 0 || this.pauses > 0)) return;
    this.turnPlanned = true;
    this.options.defer(() => {
      this.turnPlanned = false;
      this.turn();
    });
  }

  private turn(): void {
    if (this.fatal !== undefined) return;
    if (this.pauses === 0 && this.changes.size > 0) {
      this.runChanges(this.changes.turn(MAX_GROUP), this.changes.size === 1);
    }
    this.runQuestions();
    this.planTurn();
    this.finishClose();
  }

  /** Executes work in one transaction; when the engine itself fails, each piece in one of its own. */
  private runChanges(works: Iterable<Work>, isAlone: boolean): void {
    const group: Work[] = [];
    try {
      this.hold(this.transaction(works, isAlone, group));
    } catch (error) {
      if (group.length === 0) group.push(...works); // no transaction could be begun
      const failure = this.undo(error, group);
      if (!this.isAlive()) return;
      const isFull = failure.kind === "noSpace";
      if (isFull && this.options.reserve?.spend() === true) return this.runVital(group);
      if (group.length > 1) return this.runOneByOne(group);
      this.hold(group.map((work) => ({ work, result: { error: failure } })));
    }
  }

  /** The disk is full, and the reserve has just been spent: what is not vital is refused. */
  private runVital(group: readonly Work[]): void {
    const isVital = ({ kind }: Work): boolean => kind !== "change";
    const refused = group.filter((work) => !isVital(work));
    this.runOneByOne(group.filter(isVital));
    if (!this.isAlive()) for (const work of refused) work.reject(outcomeUnknown());
    else this.hold(refused.map((work) => ({ work, result: { error: diskFull() } })));
  }

  private runOneByOne(group: readonly Work[]): void {
    for (const work of group) {
      if (this.isAlive()) this.runChanges([work], true);
      else work.reject(outcomeUnknown());
    }
  }

  /**
   * Executes `works`, and puts those into `group` that it has begun.
   * @throws anything that is not the error of one piece of work; the transaction is then still to be undone.
   */
  private transaction(works: Iterable<Work>, isAlone: boolean, group: Work[]): Outcome[] {
    const { store } = this.options;
    const next = this.committedLsn + 1n;
    store.begin();
    const outcomes: Outcome[] = [];
    for (const work of works) {
      group.push(work);
      outcomes.push(this.execute(work, next, isAlone));
    }
    const changed = outcomes.some(hasChanged);
    if (changed) store.primitives["counter.put"](LSN_COUNTER, next);
    if (outcomes.some(hasSucceeded)) {
      store.commit();
      if (changed) this.committedLsn = next;
      this.options.onCommitted?.(this.options.mark.size());
    } else {
      store.rollback();
      this.options.onUndone();
    }
    return outcomes;
  }

  private execute(work: Work, next: bigint, isAlone: boolean): Outcome {
    const run = (): unknown => work.run(lsnOf(next));
    try {
      const value = isAlone ? run() : this.options.store.savepoint(run);
      return { work, result: { value } };
    } catch (error) {
      if (!isDfsError(error)) throw error;
      this.options.onUndone();
      return { work, result: { error } };
    }
  }

  /** Undoes the transaction that `error` stopped, and says what to tell the caller. */
  private undo(error: unknown, group: readonly Work[]): DfsError {
    this.options.store.rollback();
    this.options.onUndone();
    const failure = classifyEngineError(error);
    if (failure.fatal) this.fail(failure.error, group);
    return failure.error;
  }

  private runQuestions(): void {
    if (!this.isAlive()) return;
    const outcomes: Outcome[] = [];
    for (const work of this.questions.turn(MAX_GROUP)) {
      try {
        outcomes.push({ work, result: { value: work.run(lsnOf(this.committedLsn)) } });
      } catch (error) {
        const failure = isDfsError(error) ? { error, fatal: false } : classifyEngineError(error);
        if (failure.fatal) {
          return this.fail(failure.error, [...outcomes.map((each) => each.work), work]);
        }
        outcomes.push({ work, result: { error: failure.error } });
      }
    }
    this.hold(outcomes);
  }

  /** Answers at once when nothing is pending, else when all that is committed now is durable. */
  private hold(outcomes: readonly Outcome[]): void {
    if (this.committedLsn === this.durableLsn) {
      for (const outcome of outcomes) settle(outcome);
      return;
    }
    this.held.push({ lsn: this.committedLsn, outcomes });
    this.sync();
  }

  private sync(): void {
    if (this.syncing || this.committedLsn === this.durableLsn || !this.isAlive()) return;
    this.syncing = true;
    const target = this.committedLsn;
    this.options.mark.run((error) => {
      this.syncing = false;
      if (error !== undefined) return this.fail(syncFailure(error));
      this.durableLsn = target;
      this.release();
      this.sync();
      this.finishClose();
    });
  }

  private release(): void {
    const waiting = this.held.findIndex((held) => held.lsn > this.durableLsn);
    const due = this.held.splice(0, waiting < 0 ? this.held.length : waiting);
    for (const { outcomes } of due) for (const outcome of outcomes) settle(outcome);
  }

  private isAlive(): boolean {
    return this.fatal === undefined;
  }

  private finishClose(): void {
    if (this.closed === undefined || this.syncing) return;
    const idle = this.changes.size + this.questions.size + this.held.length === 0;
    if (idle || this.fatal !== undefined) this.closed();
  }

  /**
   * Ends all work. Whoever waits, `running` among them, is not told success: what was committed may or may not be there
   * after the next start.
   */
  fail(error: DfsError, running: readonly Work[] = []): void {
    if (this.fatal !== undefined) return;
    this.fatal = error;
    this.options.onFatal(error);
    const held = this.held.flatMap((each) => each.outcomes.map((outcome) => outcome.work));
    const waiting = [...held, ...running, ...this.changes.clear(), ...this.questions.clear()];
    this.held = [];
    for (const work of waiting) work.reject(outcomeUnknown());
    this.finishClose();
  }
}

function hasSucceeded(outcome: Outcome): boolean {
  return "value" in outcome.result;
}

function hasChanged(outcome: Outcome): boolean {
  const { kind } = outcome.work;
  return (kind === "change" || kind === "vital") && hasSucceeded(outcome);
}

function settle({ work, result }: Outcome): void {
  if ("error" in result) work.reject(result.error);
  else work.resolve(result.value);
}

function outcomeUnknown(): DfsError {
  return new DfsError(
    "outcomeUnknown",
    "the metadata service ended before it could say whether the operation was done",
  );
}

function gone(): DfsError {
  return new DfsError("unreachable", "who asked for this has gone before it was begun");
}

function syncFailure(error: Error): DfsError {
  return new DfsError(
    "io",
    `the database's write-ahead log could not be made durable: ${messageOf(error)}`,
    { cause: error },
  );
}
