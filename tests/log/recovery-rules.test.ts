// The decision tables of docs/log-format.md: every combination of their conditions, read from the document itself.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { damageRow, segmentRow, type SegmentFacts } from "../../src/log/recovery-rules.ts";

describe("the decision tables", () => {
  const document = readFileSync(join(import.meta.dir, "../../docs/log-format.md"), "utf8");

  /** Cells of the table rows of docs/log-format.md whose first cell is one of these letters. */
  function rowsOf(letters: string): string[][] {
    return document
      .split("\n")
      .filter((line) => new RegExp(`^\\| [${letters}] \\|`).test(line))
      .map((line) =>
        line
          .split("|")
          .map((cell) => cell.trim())
          .slice(1, -1),
      );
  }

  test("every combination of what a segment can be has exactly one row, and the code takes that one", () => {
    const rows = rowsOf("A-I");
    expect(rows.map(([letter]) => letter).join("")).toBe("ABCDEFGHI");
    let combinations = 0;
    for (const header of ["whole", "damaged", "foreign", "newer"] as const)
      for (const place of ["tail", "inner"] as const)
        for (const content of ["none", "some"] as const)
          for (const seal of ["own", "suspect", "none"] as const) {
            const facts: SegmentFacts = { header, place, content, seal };
            const matching = rows.filter(([, ...conditions]) =>
              Object.values(facts).every((value, index) => {
                const wanted = conditions[index]!;
                return wanted === "any" || wanted.split(" or ").includes(value);
              }),
            );
            expect(matching.map(([letter]) => letter!)).toEqual([segmentRow(facts)]);
            combinations++;
          }
    expect(combinations).toBe(48);
  });

  test("every place that damage can have has its row", () => {
    expect(
      rowsOf("P-S")
        .map(([letter]) => letter)
        .join(""),
    ).toBe("PQRS");
    const row = (place: "tail" | "inner", from: number, to: number, synced: number) =>
      damageRow({ place, from, to, synced });
    for (const [from, to] of [
      [100, 200],
      [300, 400],
      [100, 400],
    ] as const) {
      expect(row("inner", from, to, 250)).toBe("P");
    }
    expect(row("tail", 100, 200, 250)).toBe("Q");
    expect(row("tail", 100, 250, 250)).toBe("Q");
    expect(row("tail", 100, 400, 250)).toBe("R");
    expect(row("tail", 250, 400, 250)).toBe("S");
    expect(row("tail", 300, 400, 250)).toBe("S");
  });
});
