import { describe, expect, test } from "bun:test";
import { ERRNO, errnoOf } from "../../src/base/errno.ts";
import {
  assert,
  DfsError,
  ERROR_KINDS,
  errorKindOf,
  isDfsError,
  messageOf,
  systemCodeOf,
  type ErrorKind,
} from "../../src/base/errors.ts";

const kinds = Object.keys(ERROR_KINDS) as ErrorKind[];

describe("error kinds", () => {
  test("every kind has its own number and comes back from it", () => {
    expect(new Set(Object.values(ERROR_KINDS)).size).toBe(kinds.length);
    for (const kind of kinds) expect(errorKindOf(ERROR_KINDS[kind])).toBe(kind);
  });

  test("numbers are frozen: they are on the wire", () => {
    expect<number[]>(kinds.map((kind) => ERROR_KINDS[kind])).toEqual(
      kinds.map((_, index) => index + 1),
    );
    expect(ERROR_KINDS.io).toBe(23);
    expect(ERROR_KINDS.usage).toBe(36);
  });

  test("a number from a newer peer reads as internal", () => {
    expect(errorKindOf(9999)).toBe("internal");
  });

  test("every kind maps to an errno that exists", () => {
    for (const kind of kinds) expect(ERRNO[errnoOf(kind)]).toBeGreaterThan(0);
    expect(errnoOf("notFound")).toBe("ENOENT");
    expect(errnoOf("io")).toBe("EIO");
  });
});

describe("DfsError", () => {
  test("carries kind, message, details and cause", () => {
    const cause = new Error("disk");
    const error = new DfsError("io", "cannot read /a", { details: { offset: 5n }, cause });
    expect([error.kind, error.message, error.details, error.cause]).toEqual([
      "io",
      "cannot read /a",
      { offset: 5n },
      cause,
    ]);
    expect(isDfsError(error, "io")).toBe(true);
    expect(isDfsError(error, "stale")).toBe(false);
    expect(isDfsError(cause)).toBe(false);
  });

  test("assert throws internal", () => {
    expect(() => assert(false, "never")).toThrow("internal error: never");
  });

  test("messageOf and systemCodeOf read anything that was thrown", () => {
    expect(messageOf("text")).toBe("text");
    expect(messageOf(new Error("text"))).toBe("text");
    expect(systemCodeOf(Object.assign(new Error("x"), { code: "ENOENT" }))).toBe("ENOENT");
    expect(systemCodeOf(Object.assign(new Error("x"), { code: 5 }))).toBeUndefined();
    expect(systemCodeOf(null)).toBeUndefined();
  });
});
