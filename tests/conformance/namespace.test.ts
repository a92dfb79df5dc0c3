// The conformance cases against the namespace logic: on the synchronous engine in memory and in a file, and through the
// asynchronous driver. After each case the sessions end, the reclaim queue is worked off, and the tables are checked.

import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Harness, type HarnessOptions } from "../server/meta/namespace/harness.ts";
import { brokenInvariants } from "../server/meta/namespace/invariants.ts";
import { TOPICS } from "./cases/all.ts";
import { NamespaceTree } from "./namespace-tree.ts";
import { runConformance, type Lease } from "./runner.ts";

async function leaseOf(options: HarnessOptions, dispose?: () => Promise<void>): Promise<Lease> {
  const harness = new Harness(options);
  const tree = await NamespaceTree.over(harness);
  const check = (): void =>
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
  return {
    tree,
    verify: async () => {
      check();
      await tree.close();
      check();
      await harness.reclaimAll();
      check();
      expect(harness.primitives["reclaim.list"](1)).toEqual([]);
    },
    dispose: async () => {
      harness.close();
      await dispose?.();
    },
  };
}

runConformance("namespace, in memory", () => leaseOf({}));

runConformance("namespace, asynchronous", () => leaseOf({ async: true, blockSize: 16 }));

runConformance("namespace, in a file", async () => {
  const directory = await mkdtemp(join(tmpdir(), "dfs-conformance-"));
  return leaseOf({ path: join(directory, "meta.db"), blockSize: 64 }, () =>
    rm(directory, { recursive: true }),
  );
});

test("every case has a name of its own within its topic", () => {
  for (const { topic, cases } of TOPICS) {
    const names = cases.map((each) => each.name);
    expect([topic, new Set(names).size]).toEqual([topic, names.length]);
  }
});
