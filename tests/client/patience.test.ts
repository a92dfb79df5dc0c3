import { describe, expect, test } from "bun:test";
import { serverId } from "../../src/base/ids.ts";
import {
  FIRST_PATIENCE_MS,
  MAX_PATIENCE_MS,
  MIN_PATIENCE_MS,
  MOST_TOKENS,
  PatienceBook,
} from "../../src/client/patience.ts";

const ONE = serverId(1);
const OTHER = serverId(2);

function bookWith(...times: number[]): PatienceBook {
  const book = new PatienceBook();
  for (const tookMs of times) book.answered(ONE, tookMs);
  return book;
}

describe("PatienceBook", () => {
  test("each server is judged by its own answers", () => {
    const book = bookWith(200, 200);
    expect(book.of(ONE).delayMs).toBeGreaterThan(200);
    expect(book.of(OTHER)).toEqual({ delayMs: FIRST_PATIENCE_MS, isUsual: false });
  });

  test("a fast server is given the least time, a slow one the most, and its silence is usual", () => {
    const fast = bookWith(...Array.from({ length: 20 }, () => 2));
    expect(fast.of(ONE)).toEqual({ delayMs: MIN_PATIENCE_MS, isUsual: false });
    const slow = bookWith(...Array.from({ length: 20 }, () => 2 * MAX_PATIENCE_MS));
    expect(slow.of(ONE)).toEqual({ delayMs: MAX_PATIENCE_MS, isUsual: true });
  });

  test("in between it follows what the server takes, and how much that varies", () => {
    const steady = bookWith(...Array.from({ length: 40 }, () => 200)).of(ONE).delayMs;
    const varying = bookWith(...Array.from({ length: 40 }, (_, at) => 150 + 100 * (at % 2)));
    expect(steady).toBeGreaterThanOrEqual(200);
    expect(steady).toBeLessThan(250);
    expect(varying.of(ONE).delayMs).toBeGreaterThan(steady + 50);
  });

  test("a server that has become slow is given more after a few races, and less again when it is fast", () => {
    const book = bookWith(...Array.from({ length: 20 }, () => 2));
    for (let race = 0; race < 5; race++) book.exceeded(ONE, book.of(ONE).delayMs);
    expect(book.of(ONE)).toEqual({ delayMs: MAX_PATIENCE_MS, isUsual: true });
    for (let answer = 0; answer < 60; answer++) book.answered(ONE, 2);
    expect(book.of(ONE)).toEqual({ delayMs: MIN_PATIENCE_MS, isUsual: false });
  });

  test("tokens run out, and ten answers bring one back", () => {
    const book = new PatienceBook();
    for (let token = 0; token < MOST_TOKENS; token++) expect(book.takeToken()).toBe(true);
    expect(book.takeToken()).toBe(false);
    for (let answer = 0; answer < 9; answer++) book.answered(ONE, 2);
    expect(book.takeToken()).toBe(false);
    for (let answer = 0; answer < 2; answer++) book.answered(ONE, 2);
    expect(book.takeToken()).toBe(true);
    expect(book.takeToken()).toBe(false);
  });
});
