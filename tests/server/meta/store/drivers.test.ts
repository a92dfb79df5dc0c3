// The two drivers of operations: what they hand in, what they hand back, and how errors travel.

import { describe, expect, test } from "bun:test";
import {
  ask,
  runAsync,
  runSync,
  type AsyncPrimitives,
  type Operation,
  type Primitives,
} from "../../../../src/server/meta/store/store.ts";

const failure = new Error("the disk is full");

/** Counters in a map, as primitives; `counter.get` of "broken" fails. */
function counters(): Primitives {
  const values = new Map<string, bigint>();
  return {
    "counter.get": (name: string) => {
      if (name === "broken") throw failure;
      return values.get(name) ?? 0n;
    },
    "counter.put": (name: string, value: bigint) => void values.set(name, value),
  } as unknown as Primitives;
}

function later(primitives: Primitives): AsyncPrimitives {
  return {
    "counter.get": async (name: string) => primitives["counter.get"](name),
    "counter.put": async (name: string, value: bigint) => primitives["counter.put"](name, value),
  } as unknown as AsyncPrimitives;
}

function* increment(name: string): Operation<bigint> {
  const next = (yield* ask("counter.get", name)) + 1n;
  yield* ask("counter.put", name, next);
  return next;
}

function* incrementTwice(name: string): Operation<bigint[]> {
  return [yield* increment(name), yield* increment(name)];
}

/** Recovers from a failing primitive and tells what it saw. */
function* recovering(): Operation<unknown> {
  try {
    return yield* increment("broken");
  } catch (error) {
    yield* increment("recovered");
    return error;
  }
}

type Drive = <T>(primitives: Primitives, operation: Operation<T>) => Promise<T>;

const drivers: readonly (readonly [string, Drive])[] = [
  ["runSync", async (primitives, operation) => runSync(primitives, operation)],
  ["runAsync", (primitives, operation) => runAsync(later(primitives), operation)],
];

describe.each(drivers)("%s", (_name, drive) => {
  test("returns what the operation returns, nested ones too", async () => {
    const primitives = counters();
    expect(await drive(primitives, incrementTwice("a"))).toEqual([1n, 2n]);
    expect(primitives["counter.get"]("a")).toBe(2n);
  });

  test("throws a primitive's error inside the operation", async () => {
    const primitives = counters();
    expect(await drive(primitives, recovering())).toBe(failure);
    expect(primitives["counter.get"]("recovered")).toBe(1n);
  });

  test("fails with an error that the operation does not catch", async () => {
    const outcome = drive(counters(), increment("broken")).catch((error: unknown) => error);
    expect(await outcome).toBe(failure);
  });

  test("fails with what the operation itself throws", async () => {
    const own = new Error("mine");
    // oxlint-disable-next-line require-yield -- it fails before it asks for anything
    function* failing(): Operation<never> {
      throw own;
    }
    expect(await drive(counters(), failing()).catch((error: unknown) => error)).toBe(own);
  });

  test("names a primitive that the engine lacks", async () => {
    const outcome = drive(counters(), ask("meta.get", "x")).catch((error: unknown) => error);
    expect(String(await outcome)).toContain("meta.get");
  });
});
