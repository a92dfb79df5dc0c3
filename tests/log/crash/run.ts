// Runs of the crash test: the shapes of logs and the profiles of work that are tried with each seed.

import { CutMaker, type CutCounters, type CutOptions } from "./cuts.ts";
import type { LogShape } from "./examine.ts";
import { Workload, type Profile } from "./workload.ts";

const SHAPE: LogShape = { segmentBytes: 4096, reserveBytes: 0 };
const NONE = { puts: 0, deletes: 0, reopenings: 0, crashes: 0, failures: 0, rot: 0, images: 0 };

/** Work by name. */
export const PROFILES: Readonly<Record<string, Profile & { readonly shape?: LogShape }>> = {
  puts: { ...NONE, puts: 8, deletes: 1, reopenings: 1, maxBlockBytes: 5000 },
  deletions: { ...NONE, puts: 5, deletes: 4, reopenings: 1, maxBlockBytes: 1000 },
  ends: { ...NONE, puts: 5, deletes: 2, reopenings: 1, crashes: 4, maxBlockBytes: 2000 },
  failures: { ...NONE, puts: 3, deletes: 2, crashes: 2, failures: 6, maxBlockBytes: 2000 },
  rot: { ...NONE, puts: 4, deletes: 2, reopenings: 1, crashes: 1, rot: 5, maxBlockBytes: 1000 },
  images: { ...NONE, puts: 3, deletes: 1, crashes: 2, images: 4, maxBlockBytes: 3000 },
  "full disk": {
    ...NONE,
    puts: 6,
    deletes: 3,
    crashes: 2,
    failures: 1,
    maxBlockBytes: 2000,
    diskBytes: 40_000,
    shape: { segmentBytes: 4096, reserveBytes: 8192 },
  },
  "writes during syncs": {
    ...NONE,
    puts: 10,
    deletes: 2,
    crashes: 2,
    failures: 3,
    maxBlockBytes: 3000,
    shape: { segmentBytes: 32_768, reserveBytes: 0, aheadBytes: 1 },
  },
  all: {
    puts: 5,
    deletes: 3,
    reopenings: 1,
    crashes: 2,
    failures: 3,
    rot: 1,
    images: 1,
    maxBlockBytes: 6000,
  },
};

export interface RunOptions {
  readonly seed: number;
  readonly steps: number;
  readonly cuts: Omit<CutOptions, "seed" | "shape">;
}

/** Runs one profile with one seed. @throws Error that names both when something is wrong. */
export async function runProfile(
  name: string,
  { seed, steps, cuts }: RunOptions,
  counters: CutCounters,
): Promise<void> {
  const profile = PROFILES[name];
  if (profile === undefined) throw new Error(`there is no profile ${name}`);
  // With every other seed nearly every segment that is sealed brings a checkpoint.
  const shape = { ...(profile.shape ?? SHAPE), checkpointBytes: seed % 2 === 0 ? 1 : undefined };
  const maker = new CutMaker({ ...cuts, seed, shape }, counters);
  try {
    await new Workload(seed, shape, profile, maker).run(steps);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`profile ${name}, seed ${seed}: ${text}`, { cause: error });
  }
}
