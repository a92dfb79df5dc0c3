// Tables, where there is room for them and where there is not.

import { expect, test } from "bun:test";
import { tableLines } from "../../src/tools/shared/table.ts";

const COLUMNS = [{ title: "ID" }, { title: "BYTES", align: "right" }, { title: "WHY" }] as const;
const ROWS = [
  ["1", "20", "as the group says"],
  ["12", "3", ""],
];

test("columns are as wide as what is in them", () => {
  const lines = ["ID  BYTES  WHY", "1      20  as the group says", "12      3"];
  expect(tableLines(COLUMNS, ROWS, undefined)).toEqual(lines);
  expect(tableLines(COLUMNS, ROWS, 28)).toEqual(lines);
});

test("on a terminal that is too narrow a row takes several lines, and none of them is broken", () => {
  expect(tableLines(COLUMNS, ROWS, 27)).toEqual([
    "ID 1",
    "  BYTES  20",
    "  WHY    as the group says",
    "ID 12",
    "  BYTES  3",
  ]);
});

test("a table of no rows is its head", () => {
  expect(tableLines(COLUMNS, [], 5)).toEqual(["ID  BYTES  WHY"]);
});
