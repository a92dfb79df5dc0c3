/**
 * The metadata store as operations see it, whatever engine is behind it.
 *
 * An operation is a generator. It yields primitive store requests (`{name, args}`) and is given their results; it never
 * sees SQL, never waits by itself, and keeps nothing in memory between two operations. So the same operation runs
 *
 *     - synchronously inside one transaction of an engine whose primitives are plain functions (`runSync`), and
 *     - asynchronously over an engine whose primitives return promises (`runAsync`).
 *
 * Invariants: an operation that throws has failed as a whole, and whoever drives it undoes what it wrote (a savepoint
 * or a transaction). Primitives are dumb: one statement each, no rule of the file system inside.
 */
import type { ClusterPrimitives } from "./primitives/cluster.ts";
import type { ContentPrimitives } from "./primitives/content.ts";
import type { LockPrimitives } from "./primitives/locks.ts";
import type { RefillPrimitives } from "./primitives/refills.ts";
import type { SessionPrimitives } from "./primitives/sessions.ts";
import type { TreePrimitives } from "./primitives/tree.ts";

/** Every primitive of the store. To add an area, write its interface in `primitives/` and extend this one. */
export interface Primitives
  extends
    TreePrimitives,
    ContentPrimitives,
    RefillPrimitives,
    SessionPrimitives,
    LockPrimitives,
    ClusterPrimitives {}

export type PrimitiveName = keyof Primitives;

/** The same primitives on an engine that answers later. */
export type AsyncPrimitives = {
  readonly [Name in PrimitiveName]: (
    ...args: Parameters<Primitives[Name]>
  ) => Promise<ReturnType<Primitives[Name]>>;
};

/** What an operation yields. */
export interface StoreRequest {
  readonly name: PrimitiveName;
  readonly args: readonly unknown[];
}

/** A piece of work against the store that ends with a `T` or throws. */
export type Operation<T> = Generator<StoreRequest, T, unknown>;

/** Asks the store for one primitive: `const inode = yield* ask("inode.get", id)`. */
export function* ask<Name extends PrimitiveName>(
  name: Name,
  ...args: Parameters<Primitives[Name]>
): Operation<ReturnType<Primitives[Name]>> {
  return (yield { name, args }) as ReturnType<Primitives[Name]>;
}

/** An engine whose primitives are synchronous, with its transactions. */
export interface SyncStore {
  readonly primitives: Primitives;
  /** Begins a transaction that may write. There is one at a time. */
  begin(): void;
  commit(): void;
  /** Gives up the transaction; harmless when the engine has already ended it after an error. */
  rollback(): void;
  /** Runs `work` inside the open transaction; when it throws, what it wrote is undone and the error goes on. */
  savepoint<T>(work: () => T): T;
  /** `begin`, `work`, and `commit`, or `rollback` when it throws. */
  transaction<T>(work: () => T): T;
  close(): void;
}

type AnyPrimitive<Result> = (...args: readonly unknown[]) => Result;

/** Drives an operation on synchronous primitives. Errors of primitives are thrown inside the operation. */
export function runSync<T>(primitives: Primitives, operation: Operation<T>): T {
  const table = primitives as unknown as Record<string, AnyPrimitive<unknown>>;
  let step = operation.next();
  while (!step.done) {
    const { name, args } = step.value;
    let result: unknown;
    try {
      result = call(table, name, args);
    } catch (error) {
      step = operation.throw(error);
      continue;
    }
    step = operation.next(result);
  }
  return step.value;
}

/** Drives an operation on asynchronous primitives, one request after the other. */
export async function runAsync<T>(
  primitives: AsyncPrimitives,
  operation: Operation<T>,
): Promise<T> {
  const table = primitives as unknown as Record<string, AnyPrimitive<Promise<unknown>>>;
  let step = operation.next();
  while (!step.done) {
    const { name, args } = step.value;
    let result: unknown;
    try {
      result = await call(table, name, args);
    } catch (error) {
      step = operation.throw(error);
      continue;
    }
    step = operation.next(result);
  }
  return step.value;
}

function call<Result>(
  table: Record<string, AnyPrimitive<Result>>,
  name: string,
  args: readonly unknown[],
): Result {
  const primitive = table[name];
  if (primitive === undefined) throw new Error(`the store has no primitive ${name}`);
  return primitive(...args);
}
