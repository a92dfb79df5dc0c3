// Eight processes write, append, overwrite, replace, rename and remove files in one directory at once, through two mounts, and each
// verifies its own all the time. In the end both mounts show the same. Seconds with the suite; the long run:
//
//     DFS_BUSY_SECONDS=300 bin/test tests/mount/many-processes.test.ts
//
// The seed is printed; DFS_TEST_SEED repeats what each process does.

import { expect, test } from "bun:test";
import { differences } from "../support/local-cluster.ts";
import { Busy, busySeed } from "./support/busy.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";

const SECONDS = Number(process.env["DFS_BUSY_SECONDS"] ?? 5);
const PROCESSES = 8;
/** However slow the machine is, each has done so much. */
const LEAST_ROUNDS = 5;

test.skipIf(cannotMount !== undefined)(
  "eight processes at once: each finds its files right, and both mounts show the same",
  async () => {
    const mounted = await Mounted.up({ mounts: 2, flags: ["--block-size", "64K"] });
    try {
      const seed = busySeed();
      await mounted.ok("mkdir shared");
      const all = Array.from(
        { length: PROCESSES },
        (_, index) =>
          new Busy(
            mounted,
            `${mounted.at(index % 2).path}/shared`,
            seed + index,
            `process-${index}`,
          ),
      );
      const end = performance.now() + SECONDS * 1000;
      do await Promise.all(all.map((each) => each.more(LEAST_ROUNDS)));
      while (performance.now() < end);
      await Promise.all(all.map((each) => each.end()));
      const rounds = all.reduce((sum, each) => sum + each.rounds, 0);
      console.log(`${rounds} rounds of ${PROCESSES} processes in ${SECONDS} s`);
      const [one, two] = mounted.mounts.map(({ path }) => `${path}/shared`);
      expect(await differences(one!, two!)).toBe("");
      for (const mount of mounted.mounts) expect(mount.logged()).not.toContain("an error");
      const fsck = await mounted.cluster.run(["fsck"]);
      expect([fsck.code, fsck.stderr]).toEqual([0, expect.any(String)]);
    } finally {
      await mounted.stop();
    }
  },
  240_000 + SECONDS * 3_000,
);
