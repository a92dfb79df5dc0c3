/** Runs every conformance case against one kind of tree, each case in a fresh one. */
import { describe, test } from "bun:test";
import { TOPICS } from "./cases/all.ts";
import type { Case, Tree } from "./tree.ts";

/** For a case on a machine that has much else to do. */
const TIMEOUT_MS = 30_000;

/** A fresh tree for one case, and what is to be done after it. */
export interface Lease {
  readonly tree: Tree;
  /** Called when the case has passed: may check what must hold whatever the case did. */
  readonly verify?: () => Promise<void>;
  /** Called in the end, whether it passed or not. */
  readonly dispose: () => Promise<void>;
}

export function runConformance(
  kind: string,
  lease: () => Promise<Lease>,
  timeoutMs = TIMEOUT_MS,
): void {
  for (const { topic, cases } of TOPICS) {
    describe(`${kind}: ${topic}`, () => {
      for (const each of cases) test(each.name, () => runCase(each, lease), timeoutMs);
    });
  }
}

async function runCase(each: Case, lease: () => Promise<Lease>): Promise<void> {
  const { tree, verify, dispose } = await lease();
  try {
    if (each.needs?.some((feature) => !tree.features.has(feature))) return;
    await each.run(tree);
    await verify?.();
  } finally {
    await dispose();
  }
}
