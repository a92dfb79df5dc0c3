import { describe, expect, test } from "bun:test";
import { serverId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { ClientWarning } from "../../src/client/api.ts";
import { OperationNumbers } from "../../src/client/operations.ts";
import { checkPath, normalisedPath, shownPath, splitPath } from "../../src/client/paths.ts";
import { backoffDelayMs } from "../../src/client/retry.ts";
import { Warnings } from "../../src/client/warnings.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const string = (path: Uint8Array): string => new TextDecoder().decode(path);

describe("OperationNumbers", () => {
  test("the mark covers only what is settled without a gap", () => {
    const numbers = new OperationNumbers();
    const [first, second, third] = [numbers.next(), numbers.next(), numbers.next()];
    expect([first, second, third]).toEqual([1n, 2n, 3n]);
    numbers.settle(third);
    numbers.settle(second);
    expect(numbers.acknowledged).toBe(0n);
    numbers.settle(first);
    expect(numbers.acknowledged).toBe(3n);
    numbers.settle(numbers.next());
    expect(numbers.acknowledged).toBe(4n);
  });
});

describe("backoffDelayMs", () => {
  test("doubles up to the longest delay, between half of it and all of it", () => {
    const random = seededRandom(3);
    const backoff = { firstMs: 100, maxMs: 1_000 };
    for (let round = 0; round < 100; round++) {
      for (const [attempt, full] of [100, 200, 400, 800, 1_000, 1_000].entries()) {
        const delayMs = backoffDelayMs(backoff, attempt, random);
        expect(delayMs).toBeGreaterThanOrEqual(full / 2);
        expect(delayMs).toBeLessThanOrEqual(full);
      }
    }
    expect(backoffDelayMs(backoff, 5_000, random)).toBeLessThanOrEqual(1_000);
  });
});

describe("Warnings", () => {
  test("tells each kind once for each server, and again when it was armed again", () => {
    const told: ClientWarning[] = [];
    const warnings = new Warnings((warning) => told.push(warning), silentLogger);
    const about = (kind: ClientWarning["kind"], server?: number): void =>
      warnings.warn({
        kind,
        message: "m",
        ...(server === undefined ? {} : { server: serverId(server) }),
      });
    about("serverUnreachable", 1);
    about("serverUnreachable", 1);
    about("serverUnreachable", 2);
    about("badReplica", 1);
    about("missingCopies");
    about("missingCopies");
    expect(told.map(({ kind, server }) => `${kind} ${server}`)).toEqual([
      "serverUnreachable 1",
      "serverUnreachable 2",
      "badReplica 1",
      "missingCopies undefined",
    ]);
    warnings.rearm("missingCopies");
    about("missingCopies");
    expect(told.length).toBe(5);
  });
});

describe("paths", () => {
  test("splitPath finds parent and name", () => {
    const split = (path: string) => {
      const { parent, name, mustBeDirectory } = splitPath(bytes(path));
      return [string(parent), string(name), mustBeDirectory];
    };
    expect(split("/a")).toEqual(["/", "a", false]);
    expect(split("/a/b")).toEqual(["/a", "b", false]);
    expect(split("/a/b//")).toEqual(["/a", "b", true]);
    expect(split("//a")).toEqual(["/", "a", false]);
    expect(split("/a//b")).toEqual(["/a/", "b", false]);
    expect(split("/")).toEqual(["/", ".", true]);
  });

  test("normalisedPath has one form for one place", () => {
    const cases: [string, string][] = [
      ["/", "/"],
      ["//", "/"],
      ["/a//b/", "/a/b"],
      ["/a/./b/../c", "/a/c"],
      ["/../..", "/"],
      ["/a/..", "/"],
      ["/...", "/..."],
    ];
    for (const [path, normal] of cases) expect(string(normalisedPath(bytes(path)))).toBe(normal);
  });

  test("checkPath refuses what cannot be a path", () => {
    expect(() => checkPath(bytes(`/${"x/".repeat(2047)}y`))).not.toThrow();
    for (const [path, kind] of [
      ["", "invalid"],
      ["a/b", "invalid"],
      ["/a\0b", "invalid"],
      [`/${"x".repeat(4096)}`, "nameTooLong"],
    ] as const) {
      expect(() => checkPath(bytes(path))).toThrow(expect.objectContaining({ kind }));
    }
  });

  test("shownPath shows any bytes on one line", () => {
    expect(shownPath(bytes("/grün/ü"))).toBe("/grün/ü");
    expect(shownPath(Uint8Array.of(0x2f, 0xff, 0x0a, 0x61))).toBe("/\\xff\\x0aa");
  });
});
