import { describe, expect, test } from "bun:test";
import { ByteBudget } from "../../src/client/budget.ts";
import { failureOf } from "../support/failure.ts";

/** Tells whether a promise has been settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const nothing = Symbol("nothing");
  await Promise.resolve();
  return (await Promise.race([promise, Promise.resolve(nothing)])) !== nothing;
}

describe("ByteBudget", () => {
  test("grants up to the limit, then waits for a release", async () => {
    const budget = new ByteBudget(100);
    const holder = budget.holder();
    await holder.acquire(60);
    await holder.acquire(40);
    const third = holder.acquire(1);
    expect(await isSettled(third)).toBe(false);
    holder.release(40);
    await third;
    expect(budget.used).toBe(61);
    expect(budget.peak).toBe(100);
  });

  test("a holder that holds nothing is granted at once, so that every transfer can move", async () => {
    const budget = new ByteBudget(100);
    const reader = budget.holder();
    await reader.acquire(100);
    const writer = budget.holder();
    await writer.acquire(50);
    expect(budget.used).toBe(150);
    const second = writer.acquire(1);
    expect(await isSettled(second)).toBe(false);
    writer.release(50);
    await second;
  });

  test("grants in the order of asking; a large grant is not overtaken by small ones", async () => {
    const budget = new ByteBudget(100);
    const holder = budget.holder();
    await holder.acquire(90);
    const order: string[] = [];
    const large = holder.acquire(80).then(() => order.push("large"));
    const small = holder.acquire(5).then(() => order.push("small"));
    expect(holder.tryAcquire(5)).toBe(false);
    holder.release(75);
    await Promise.all([large, small]);
    expect(order).toEqual(["large", "small"]);
  });

  test("a grant beyond the limit is made when its holder holds nothing", async () => {
    const budget = new ByteBudget(10);
    const holder = budget.holder();
    await holder.acquire(16);
    expect(budget.used).toBe(16);
  });

  test("a cancelled wait frees its place in the queue", async () => {
    const budget = new ByteBudget(100);
    const holder = budget.holder();
    await holder.acquire(90);
    const gaveUp = new AbortController();
    const large = holder.acquire(50, gaveUp.signal);
    const small = holder.acquire(10);
    gaveUp.abort();
    expect(await failureOf(large)).toMatchObject({ kind: "cancelled" });
    await small;
    expect(budget.used).toBe(100);
    expect(await failureOf(holder.acquire(1, gaveUp.signal))).toMatchObject({ kind: "cancelled" });
  });

  test("who can do without memory is asked for it before anybody waits", async () => {
    const budget = new ByteBudget(100);
    const cache = budget.holder();
    await cache.acquire(80);
    const end = budget.addReclaimer(() => cache.release(cache.held));
    const holder = budget.holder();
    await holder.acquire(10);
    await holder.acquire(50);
    expect(budget.used).toBe(60);
    end();
  });

  test("releasing more than is held is an error", () => {
    const holder = new ByteBudget(10).holder();
    expect(() => holder.release(1)).toThrow("released more memory");
  });
});
