// A short run of each fuzzing target, from the kept corpus on. tests/fuzz/run.ts goes on for as long as one likes.

import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { randomFor } from "../protocol/support.ts";
import { corpusOf, fuzz, newProgress, TARGETS } from "./fuzz.ts";

const INPUTS = Number(process.env["DFS_TEST_FUZZ_INPUTS"] ?? 500);

describe("what others may have written", () => {
  test.each([
    ["segments", "put put put tombstone seal"],
    ["checkpoints", "whole"],
    ["segment-headers", "taken"],
    ["manifests", "taken"],
    ["scrub-files", "taken"],
    ["identities", "taken"],
    ["backup-manifests", "taken"],
    ["cluster-files", "taken 1"],
  ])("%s are taken when they are as they were written", (name, wanted) => {
    const target = TARGETS.find((each) => each.name === name)!;
    expect(target.read(target.generate(seededRandom(1)))).toBe(wanted);
  });

  for (const target of TARGETS) {
    test(`${target.name} are read without harm`, () => {
      expect(corpusOf(target).length).toBeGreaterThan(0);
      const progress = newProgress();
      fuzz(target, randomFor(`fuzzing ${target.name}`), progress, () => progress.inputs < INPUTS);
      expect(progress.behaviours.size).toBeGreaterThan(1);
    });
  }
});
