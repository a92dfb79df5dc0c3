// A database that reads its file through a shared mapping while it writes by write(2), from two processes: on a mount whose kernel
// keeps pages, and on one whose kernel keeps none.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cannotMount, Mounted } from "./support/mounted.ts";

setDefaultTimeout(240_000); // thousands of system calls, on a busy machine

const ROUNDS = 12;
/** Rows of some KiB in each round: the file grows beyond what was mapped before. */
const ROWS = 20;
const MAP_BYTES = 256 * 1024 * 1024;

const missing = cannotMount ?? (Bun.which("sqlite3") === null ? "sqlite3 is missing" : undefined);
if (missing !== undefined) console.log(`skipped: a database with a mapping: ${missing}`);

let mounted: Mounted;

describe.skipIf(missing !== undefined)("sqlite3 with a mapping, from two processes", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"] });
    await mounted.mount("cache=none");
  });
  afterAll(() => mounted.stop());

  const cases = [
    ["cache=auto", 0, "delete"],
    ["cache=auto", 0, "wal"],
    ["cache=none", 1, "delete"],
    ["cache=none", 1, "wal"],
  ] as const;
  for (const [cache, index, mode] of cases) {
    test(`${cache}, journal mode ${mode}: each finds what the other has written`, async () => {
      const database = `${mounted.at(index).path}/${cache}-${mode}`;
      const sql = (text: string) => {
        const pragmas = ["-cmd", ".timeout 60000", "-cmd", `PRAGMA mmap_size=${MAP_BYTES}`];
        return mounted.program(["sqlite3", ...pragmas, database, text]);
      };
      const run = async (text: string): Promise<string[]> => {
        const child = sql(text);
        const [out, stderr, code] = [
          await child.stdout.text(),
          await child.stderr.text(),
          await child.exited,
        ];
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
        const [mapped, ...lines] = out.trimEnd().split("\n");
        expect(mapped).toBe(String(MAP_BYTES)); // sqlite3 was not built without mappings
        return lines;
      };
      await run(
        `PRAGMA journal_mode=${mode}; CREATE TABLE t (who TEXT, round INTEGER, filling BLOB);
         CREATE INDEX by_round ON t (round, who)`,
      );
      // In one process: a round of rows, a look at everybody's through the index, and some rows changed in the middle of the file.
      const work = (who: string): string =>
        Array.from(
          { length: ROUNDS },
          (_, round) => `
            BEGIN IMMEDIATE;
            INSERT INTO t SELECT '${who}', ${round}, randomblob(4000) FROM generate_series(1, ${ROWS});
            UPDATE t SET filling = randomblob(3000) WHERE who = '${who}' AND round = ${Math.floor(round / 2)};
            SELECT CASE WHEN count(*) % ${ROWS} = 0 THEN 'whole' ELSE 'torn' END FROM t;
            COMMIT;`,
        ).join("\n");
      const answers = await Promise.all([run(work("a")), run(work("b"))]);
      for (const lines of answers)
        expect(lines).toEqual(Array.from({ length: ROUNDS }, () => "whole"));
      const check = await run(
        "VACUUM; PRAGMA integrity_check; SELECT who, count(*), count(DISTINCT round) FROM t GROUP BY who ORDER BY who",
      );
      expect(check).toEqual(["ok", `a|${ROUNDS * ROWS}|${ROUNDS}`, `b|${ROUNDS * ROWS}|${ROUNDS}`]);
    });
  }
});
