// "Did you mean ...?"

import { expect, test } from "bun:test";
import { editDistance, nearest } from "../../src/tools/shared/suggest.ts";

const COMMANDS = ["up", "down", "put", "get", "ls", "stat", "status", "mkdir", "explain"];

test.each([
  ["sl", "ls"],
  ["lss", "ls"],
  ["pu", "put"],
  ["gte", "get"],
  ["statsu", "status"],
  ["mkdri", "mkdir"],
  ["explian", "explain"],
  ["exp", "explain"],
  ["xyzzy", undefined],
  ["q", undefined],
])("nearest to %j is %p", (typed, meant) => {
  expect(nearest(typed, COMMANDS)).toBe(meant);
});

test.each([
  ["", "", 0],
  ["abc", "abc", 0],
  ["abc", "", 3],
  ["abc", "abd", 1],
  ["abc", "acb", 1],
  ["kitten", "sitting", 3],
])("editDistance of %j and %j is %d", (from, to, distance) => {
  expect(editDistance(from, to)).toBe(distance);
  expect(editDistance(to, from)).toBe(distance);
});
