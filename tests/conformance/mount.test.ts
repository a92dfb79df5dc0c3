// The conformance cases on mounts: a local cluster and three processes that mount it, and system calls of this process.
// The kernel keeps no names and attributes here, so that what one mount does is seen by the others at once, as the cases
// demand; what is seen when it does keep them is tested in tests/mount/two-mounts.test.ts.

import { afterAll, beforeAll, describe } from "bun:test";
import { mkdirSync } from "node:fs";
import { cannotMount, Mounted } from "../mount/support/mounted.ts";
import { MountTree } from "./mount-tree.ts";
import { runConformance } from "./runner.ts";

/** System calls of one thread wait for each other: a hundred links are two hundred waits for the disk. */
const TIMEOUT_MS = 180_000;
/** Small, so that files of a few bytes have several blocks. */
const BLOCK_SIZE = 16;

let mounted: Mounted;
let cases = 0;
let umask: number;

describe.skipIf(cannotMount !== undefined)("a mount", () => {
  beforeAll(async () => {
    umask = process.umask(0); // the modes that the cases ask for are what they want
    mounted = await Mounted.up({
      mounts: 3,
      flags: ["--block-size", String(BLOCK_SIZE)],
      options: "actimeo=0",
    });
  });

  afterAll(async () => {
    process.umask(umask);
    await mounted.stop();
  });

  const lease = async () => {
    const top = `/case-${++cases}`;
    mkdirSync(mounted.path + top);
    const paths = mounted.mounts.map((mount) => mount.path);
    const tree = new MountTree(paths, top, BLOCK_SIZE);
    return { tree, dispose: () => tree.close() };
  };
  runConformance("mount", lease, TIMEOUT_MS);
});
