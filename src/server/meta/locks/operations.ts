/**
 * Locks of files: asked for, granted in the order of the requests, given up.
 *
 * Invariants
 * - Locks of different owners on one file never exclude one another.
 * - A request waits on record only while a lock is in its way: whatever takes a lock away grants, in the same transaction, what
 *   that has made possible. Whose lock appears so is told by who drives the operation (changes.ts).
 */
import { DfsError } from "../../../base/errors.ts";
import type { InodeId, SessionId } from "../../../base/ids.ts";
import { MAX_LOCK_WAITS_PER_FILE, MAX_LOCKS_PER_FILE } from "../../../base/limits.ts";
import type * as messages from "../../../protocol/messages/locks.ts";
import type { FileLock, LockKind } from "../../../protocol/messages/locks.ts";
import type { Body, Done, Nothing, OperationContext } from "../namespace/context.ts";
import { liveInode } from "../namespace/inodes.ts";
import type { Lock, LockWait } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import { inTheWay, wouldDeadlock } from "./deadlock.ts";
import { ofLiveSessions } from "./live.ts";
import { changeOf, grantable, isSame, type Change } from "./granting.ts";
import { isRange } from "./ranges.ts";

/** Locks or waits of an ended session that are given up in one step. */
const PAGE = 256;

/** @throws DfsError `stale` when the inode is gone, `invalid` for a range that cannot be. */
export function* getLock(
  context: OperationContext,
  { inode, lock }: Body<typeof messages.lockGet>,
): Operation<Done<typeof messages.lockGet>> {
  yield* check(inode, lock);
  const [conflict] = yield* blocking(wantedLock(context.session, inode, lock), lock);
  return { conflict: conflict === undefined ? null : told(conflict) };
}

/**
 * @throws DfsError as `getLock`; `wouldDeadlock` when who is in the way waits for the one who asks;
 * `tooManyLocks`.
 */
export function* setLock(
  context: OperationContext,
  { inode, lock, wait }: Body<typeof messages.lockSet>,
): Operation<Done<typeof messages.lockSet>> {
  yield* check(inode, lock);
  const wanted = wantedLock(context.session, inode, lock);
  const waiting = yield* sameWait(wanted);
  if (wait === "giveUp") return yield* giveUp(wanted, waiting);
  const others = yield* blocking(wanted, lock);
  const [conflict] = others;
  if (conflict === undefined) {
    if (waiting !== undefined) yield* ask("lockWait.delete", waiting.number);
    yield* change(wanted, lock);
    if (lock.type !== "exclusive") yield* grantWaiting(inode, lock.kind);
    return { granted: true, conflict: null };
  }
  if (wait === "queue" && waiting === undefined) {
    if (lock.kind === "posix" && (yield* wouldDeadlock(wanted, others))) throw deadlock(inode);
    const waits = yield* ask("lockWait.list", inode, lock.kind);
    if (waits.length >= MAX_LOCK_WAITS_PER_FILE) {
      throw tooMany(inode, `${MAX_LOCK_WAITS_PER_FILE} wait for one`);
    }
    yield* ask("lockWait.insert", wanted);
  }
  return { granted: false, conflict: told(conflict) };
}

export function* releaseLocks(
  context: OperationContext,
  { inode, kind, owner }: Body<typeof messages.lockRelease>,
): Operation<Nothing> {
  const mine = { session: context.session, owner };
  for (const wait of yield* ask("lockWait.ofOwner", context.session, owner)) {
    if (wait.inode === inode && wait.kind === kind) yield* ask("lockWait.delete", wait.number);
  }
  const held = yield* ask("lock.list", inode, kind);
  for (const lock of held) if (isSame(lock, mine)) yield* ask("lock.delete", lock);
  yield* grantWaiting(inode, kind);
  return {};
}

/** The session has the file open no more: its locks of it go, as those of a process do. */
export function* dropLocksOf(session: SessionId, inode: InodeId): Operation<void> {
  if (!(yield* ask("lock.any", inode))) return; // and where nothing is locked nobody waits
  for (const kind of ["posix", "flock"] as const) {
    const waits = yield* ask("lockWait.list", inode, kind);
    for (const wait of waits) {
      if (wait.session === session) yield* ask("lockWait.delete", wait.number);
    }
    const mine = (yield* ask("lock.list", inode, kind)).filter((lock) => lock.session === session);
    for (const lock of mine) yield* ask("lock.delete", lock);
    if (mine.length > 0) yield* grantWaiting(inode, kind);
  }
}

/** The session has ended: its locks and waits go. Returns true when they are many, and some are left. */
export function* dropSomeLocks(session: SessionId): Operation<boolean> {
  const waits = yield* ask("lockWait.ofSession", session, PAGE);
  for (const wait of waits) yield* ask("lockWait.delete", wait.number);
  // Waits go before locks: none of them is to be granted when a lock goes.
  if (waits.length === PAGE) return true;
  const locks = yield* ask("lock.ofSession", session, PAGE);
  // All locks of a file go together: who waits for them is looked for once.
  for (const inode of new Set(locks.map((lock) => lock.inode))) yield* dropLocksOf(session, inode);
  return locks.length === PAGE;
}

/** Grants what nothing is in the way of any more, in the order in which it was asked for. */
function* grantWaiting(inode: InodeId, kind: LockKind): Operation<void> {
  const waits = yield* ofLiveSessions(yield* ask("lockWait.list", inode, kind));
  if (waits.length === 0) return;
  for (const grant of grantable(yield* ask("lock.list", inode, kind), waits)) {
    yield* ask("lockWait.delete", grant.wait.number);
    yield* write(grant);
  }
}

/** The owner gives the wait up, unless it has come to an end. */
function* giveUp(
  wanted: Lock,
  waiting: LockWait | undefined,
): Operation<Done<typeof messages.lockSet>> {
  if (waiting !== undefined) {
    yield* ask("lockWait.delete", waiting.number);
    return { granted: false, conflict: null };
  }
  const held = (yield* ask("lock.list", wanted.inode, wanted.kind)).filter((lock) =>
    isSame(lock, wanted),
  );
  const granted = held.some(
    ({ type, start, end }) => type === wanted.type && start <= wanted.start && wanted.end <= end,
  );
  return { granted, conflict: null };
}

/** What is in the way; nothing is when a lock is to be given up. */
function* blocking(wanted: Lock, lock: FileLock): Operation<Lock[]> {
  return lock.type === "none" ? [] : yield* inTheWay(wanted);
}

function* sameWait(wanted: Lock): Operation<LockWait | undefined> {
  const waits = yield* ask("lockWait.ofOwner", wanted.session, wanted.owner);
  return waits.find(
    ({ inode, kind, type, start, end }) =>
      inode === wanted.inode &&
      kind === wanted.kind &&
      type === wanted.type &&
      start === wanted.start &&
      end === wanted.end,
  );
}

/**
 * Changes a range of the owner's.
 * @throws DfsError `tooManyLocks` when there are too many of this kind on the file, unless fewer or as many are left.
 */
function* change(wanted: Lock, range: FileLock): Operation<void> {
  const all = yield* ask("lock.list", wanted.inode, wanted.kind);
  const own = all.filter((lock) => isSame(lock, wanted));
  const made = changeOf(wanted, own, range);
  const more = made.added.length - made.gone.length;
  if (more > 0 && all.length + more > MAX_LOCKS_PER_FILE) {
    throw tooMany(wanted.inode, `${MAX_LOCKS_PER_FILE} ranges of it are locked`);
  }
  yield* write(made);
}

function* write({ gone, added }: Change): Operation<void> {
  for (const lock of gone) yield* ask("lock.delete", lock);
  for (const lock of added) yield* ask("lock.put", lock);
}

function* check(inode: InodeId, lock: FileLock): Operation<void> {
  if (!isRange(lock)) {
    throw new DfsError("invalid", `bytes ${lock.start} to ${lock.end} cannot be locked`);
  }
  if (lock.type !== "none") yield* liveInode(inode);
}

function wantedLock(session: SessionId, inode: InodeId, lock: FileLock): Lock {
  const { kind, type, owner, pid, start, end } = lock;
  return { inode, kind, session, owner, type: type === "none" ? "shared" : type, pid, start, end };
}

function told({ kind, type, owner, pid, start, end }: Lock): FileLock {
  return { kind, type, owner, pid, start, end };
}

function tooMany(inode: InodeId, why: string): DfsError {
  return new DfsError("tooManyLocks", `cannot lock inode ${inode}: ${why} already`);
}

function deadlock(inode: InodeId): DfsError {
  return new DfsError(
    "wouldDeadlock",
    `cannot wait for a lock on inode ${inode}: its holder waits for a lock of the one who asks`,
  );
}
