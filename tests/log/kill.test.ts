// A real process with a log, killed in the middle of its work again and again: everything that it acknowledged is there,
// and nothing is there that it did not write.

import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { blockId } from "../../src/base/ids.ts";
import { seededRandom } from "../../src/base/random.ts";
import { killedBlock, KILL_SEGMENT_BYTES } from "./blocks.ts";
import {
  cleanUp,
  close,
  expectHeld,
  expectNotHeld,
  idsOf,
  openTestLog,
  temporaryFolder,
} from "./support.ts";

afterEach(cleanUp);

const KILLS = Number(process.env["DFS_TEST_KILLS"] ?? 10);

/** What the process said about each block, over all its lives. */
class Word {
  readonly put = new Set<number>();
  readonly deleting = new Set<number>();
  readonly deleted = new Set<number>();

  take(line: string): void {
    const [what, id] = line.split(" ");
    if (what !== "put" && what !== "deleting" && what !== "deleted") throw new Error(line);
    this[what].add(Number(id));
  }
}

/** Runs a process on the directory until it has said `lines` lines, kills it, and takes what it said. */
async function liveAndDie(
  directory: string,
  firstId: number,
  lines: number,
  word: Word,
): Promise<void> {
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "kill-child.ts"), directory, `${firstId}`, `${lines}`],
    { stdout: "pipe", stderr: "inherit" },
  );
  let text = "";
  let seen = 0;
  const decoder = new TextDecoder();
  try {
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      seen += chunk.reduce((count, byte) => count + (byte === 10 ? 1 : 0), 0);
      if (seen >= lines) child.kill("SIGKILL");
    }
  } finally {
    child.kill("SIGKILL");
  }
  expect(await child.exited).toBe(137);
  for (const line of text.split("\n").slice(0, -1)) word.take(line);
}

test(
  `killed ${KILLS} times under load, a log holds everything that it acknowledged`,
  async () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
    );
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    const directory = temporaryFolder();
    const word = new Word();
    for (let round = 0; round < KILLS; round++) {
      const firstId = Math.max(0, ...word.put, ...word.deleting) + 1000; // ids are never used again
      await liveAndDie(directory, firstId, 20 + random.below(1200), word);
      const opened = await openTestLog(directory, { segmentBytes: KILL_SEGMENT_BYTES });
      expect(opened.corruptions).toEqual([]);
      const held = new Set(idsOf(opened.log));
      for (const id of held) await expectHeld(opened.log, killedBlock(id));
      for (const id of word.put) if (!word.deleting.has(id)) expect(held.has(id)).toBe(true);
      for (const id of word.deleted) await expectNotHeld(opened.log, id);
      if (round % 3 === 0) await opened.log.put(killedBlock(firstId - 500));
      if (round % 3 === 0) await opened.log.delete([blockId(BigInt(firstId - 500))]);
      await close(opened);
    }
    console.log(`${word.put.size} puts and ${word.deleted.size} deletions were acknowledged`);
  },
  30_000 + KILLS * 5_000,
);
