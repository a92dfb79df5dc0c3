// The last lines of dfs fsck.

import { expect, test } from "bun:test";
import type { FsckFinding } from "../../src/protocol/messages/fsck.ts";
import { summary, Tally } from "../../src/tools/fsck.ts";

// It said "10,484 errors, 10484 left".
test("numbers are written in one way", () => {
  const tally = new Tally();
  const found = (count: number, finding: Pick<FsckFinding, "kind" | "outcome">): void => {
    for (let index = 0; index < count; index++) tally.add(finding as FsckFinding);
  };
  found(1234, { kind: "missingCopies", outcome: "left" });
  found(5678, { kind: "rottenCopy", outcome: "corrected" });
  found(1000, { kind: "surplus", outcome: "note" });
  const end = { level: "meta", dryRun: false, last: undefined, elapsedMs: 1000 } as const;
  const lines = summary(tally, end);
  expect(lines[0]).toEndWith(": 6,912 errors, 1,234 left.");
  expect(lines.slice(1)).toEqual([
    "  blocks that lack copies: 1,234 left",
    "  rotten copies: 5,678 corrected",
    "  surplus copies: 1,000 notes",
  ]);
});
