// What a mount knows of directories without asking: for how long, and what ends it.

import { beforeEach, describe, expect, test } from "bun:test";
import { inodeId } from "../../../src/base/ids.ts";
import { KnownDirectories } from "../../../src/mount/cluster/known-directories.ts";
import type { Attributes } from "../../../src/protocol/messages/common.ts";
import { bytesOf } from "../../support/cluster.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const TIMEOUTS = { attributesMs: 5_000, entryMs: 5_000, negativeMs: 5_000 };
const DIRECTORY = inodeId(7n);
const NAME = bytesOf("name");
const OTHER = bytesOf("other");

let clock: ManualClock;
let known: KnownDirectories;
beforeEach(() => {
  clock = new ManualClock();
  known = new KnownDirectories(clock, TIMEOUTS);
});

function attributes(version: bigint, nlink = 2): Attributes {
  const times = { atimeNs: 1n, mtimeNs: version, ctimeNs: version };
  const rest = { uid: 0, gid: 0, size: 0, allocated: 0, rdev: 0, base: 0 };
  return { inode: DIRECTORY, type: "directory", mode: 0o755, nlink, version, ...times, ...rest };
}

function make(): void {
  known.made(attributes(1n), known.moment());
}

function add(version: bigint, name = NAME): void {
  known.changed(attributes(version), { added: name }, known.moment());
}

test("of a directory that was made here all names are known, and what comes and goes", () => {
  expect(known.lacks(DIRECTORY, NAME)).toBeUndefined();
  make();
  expect(known.lacks(DIRECTORY, NAME)).toBe(0);
  add(2n);
  expect(known.lacks(DIRECTORY, NAME)).toBeUndefined();
  expect(known.lacks(DIRECTORY, OTHER)).toBe(0);
  expect(known.attributes(DIRECTORY)).toEqual({ attributes: attributes(2n), ageMs: 0 });
  known.changed(attributes(3n), { removed: NAME }, known.moment());
  expect(known.lacks(DIRECTORY, NAME)).toBe(0);
  for (const dots of [".", ".."]) expect(known.lacks(DIRECTORY, bytesOf(dots))).toBeUndefined();
});

test("of any other one the attributes are known after a change, and not the names", () => {
  add(9n);
  expect(known.attributes(DIRECTORY)?.attributes.version).toBe(9n);
  expect(known.lacks(DIRECTORY, OTHER)).toBeUndefined();
});

describe("knowledge ends", () => {
  beforeEach(make);

  test("after a second since it was asked for, and its age is told until then", () => {
    const moment = known.moment();
    clock.holdUp(300);
    known.changed(attributes(2n), { added: NAME }, moment);
    expect([known.attributes(DIRECTORY)?.ageMs, known.lacks(DIRECTORY, OTHER)]).toEqual([300, 300]);
    clock.holdUp(700);
    expect([known.attributes(DIRECTORY), known.lacks(DIRECTORY, OTHER)]).toEqual([
      undefined,
      undefined,
    ]);
  });

  test("but all names are known again with the next change, when nobody else has changed any", () => {
    clock.holdUp(60_000);
    add(2n);
    expect(known.lacks(DIRECTORY, OTHER)).toBe(0);
    clock.holdUp(60_000);
    add(4n, bytesOf("third"));
    expect(known.lacks(DIRECTORY, OTHER)).toBeUndefined();
    expect(known.attributes(DIRECTORY)?.attributes.version).toBe(4n);
  });

  test("with a notice, and what is under way then is not remembered", () => {
    const moment = known.moment();
    known.forget(DIRECTORY);
    known.changed(attributes(2n), { added: NAME }, moment);
    known.made(attributes(1n), moment);
    expect([known.attributes(DIRECTORY), known.lacks(DIRECTORY, OTHER)]).toEqual([
      undefined,
      undefined,
    ]);
    make();
    known.forgetAll();
    expect(known.lacks(DIRECTORY, OTHER)).toBeUndefined();
  });

  test("of attributes alone when they are changed without the names", () => {
    known.forgetAttributes(DIRECTORY);
    expect(known.attributes(DIRECTORY)).toBeUndefined();
    expect(known.lacks(DIRECTORY, NAME)).toBe(0);
    make();
    known.forgetAllAttributes();
    expect(known.attributes(DIRECTORY)).toBeUndefined();
  });
});

test("a kernel that is to keep nothing is told nothing of before", () => {
  known = new KnownDirectories(clock, { attributesMs: 0, entryMs: 0, negativeMs: 0 });
  make();
  add(2n);
  expect([known.attributes(DIRECTORY), known.lacks(DIRECTORY, OTHER)]).toEqual([
    undefined,
    undefined,
  ]);
});

test("memory is bounded: the directories that were changed longest ago go first, and no more names than fit", () => {
  for (let number = 1n; number <= 1_001n; number++) {
    known.made({ ...attributes(1n), inode: inodeId(number) }, known.moment());
  }
  expect(known.lacks(inodeId(1n), NAME)).toBeUndefined();
  expect(known.lacks(inodeId(1_001n), NAME)).toBe(0);
  make();
  for (let number = 0n; number <= 100_000n; number++) {
    add(number + 2n, bytesOf(`name-${number}`));
  }
  expect(known.lacks(DIRECTORY, OTHER)).toBeUndefined();
  known.made({ ...attributes(1n), inode: inodeId(2_000n) }, known.moment());
  known.changed({ ...attributes(2n), inode: inodeId(2_000n) }, { added: NAME }, known.moment());
  expect(known.lacks(inodeId(2_000n), OTHER)).toBe(0);
});
