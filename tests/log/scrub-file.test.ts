// The bytes of the file in which a scrub remembers its place: frozen, and not believed when they are damaged.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeScrubState, encodeScrubState, type ScrubState } from "../../src/log/scrub-file.ts";

const GOLDEN = join(import.meta.dir, "../golden/log/scrub-version-1.hex");

const underWay: ScrubState = {
  paused: true,
  bytesPerSecond: 0x0102_0304,
  rottenEver: 5,
  lastPassNs: 6n,
  nextNs: 7n,
  found: { records: 8, damage: 9, rotten: 10 },
  pass: {
    hurried: true,
    startedNs: 11n,
    deadlineNs: 12n,
    lastSegment: 13,
    segment: 14,
    position: 15,
    doneBytes: 2 ** 40,
  },
};
const atRest: ScrubState = { ...underWay, paused: false, pass: undefined };

/** 16 bytes a line. */
function hexOf(state: ScrubState): string {
  return `${encodeScrubState(state)
    .toHex()
    .match(/.{1,32}/g)!
    .join("\n")}\n`;
}

describe("the file of a scrub", () => {
  test("has the bytes that version 1 has", () => {
    const golden = existsSync(GOLDEN) ? readFileSync(GOLDEN, "utf8") : "no such file";
    expect(`${hexOf(underWay)}\n${hexOf(atRest)}`).toBe(golden);
  });

  test("says what was written", () => {
    for (const state of [underWay, atRest]) {
      expect(decodeScrubState(encodeScrubState(state))).toEqual(state);
    }
  });

  test("with a flipped bit anywhere, or cut off anywhere, says nothing", () => {
    const bytes = encodeScrubState(underWay);
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.with(at, bytes[at]! ^ (1 << (at % 8)));
      expect(decodeScrubState(flipped)).toBeString();
      expect(decodeScrubState(bytes.subarray(0, at))).toBeString();
    }
  });
});
