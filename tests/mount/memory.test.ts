// The memory of the process that serves a mount: bounded however much goes through, and it does not grow with what has gone.
//
// Little goes through with the suite. The long runs, of which docs/mount.md has the figures:
//
//     DFS_MEMORY_MIB=10240 DFS_MEMORY_FILES=100000 bin/test tests/mount/memory.test.ts -t bounded
//     DFS_LEAK_ROUNDS=40000 bin/test tests/mount/memory.test.ts -t grow

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT_INODE } from "../../src/base/ids.ts";
import { connectClient } from "../../src/client/client.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";

const THROUGH_MIB = Number(process.env["DFS_MEMORY_MIB"] ?? 128);
const FILES = Number(process.env["DFS_MEMORY_FILES"] ?? 20_000);
const ROUNDS = Number(process.env["DFS_LEAK_ROUNDS"] ?? 300);

/** The most that the process may ever have taken. */
const MOST_MIB = 300;
/** By so much it may be larger after the second half of the rounds than after the first: its heap breathes. */
const BREATH_MIB = 24;
/** The content goes through this many files, again and again, so that the disk does not fill. */
const REUSED_FILES = 4;
const FILE_MIB = 64;
/** Files that are asked for at the same time. */
const MADE_AT_ONCE = 64;
/** The collector gives memory back when there is nothing to do. */
const SETTLE_MS = 3000;

let mounted: Mounted;

/** Memory of the process that serves the mount, in MiB: `VmRSS` now, `VmHWM` the most that it ever was. */
function memory(what: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${mounted.at(0).pid}/status`, "latin1");
  return Number(new RegExp(`^${what}:\\s*(\\d+) kB`, "m").exec(status)?.[1]) / 1024;
}

/** The least within a while. */
async function settledMib(): Promise<number> {
  let least = Infinity;
  for (const end = performance.now() + SETTLE_MS; performance.now() < end;) {
    least = Math.min(least, memory("VmRSS"));
    await Bun.sleep(100);
  }
  return least;
}

/** Makes a directory of files by another client, many at a time: what is to be looked at is their listing. */
async function makeFiles(directory: string, count: number): Promise<void> {
  const owner = { mode: 0o755, uid: 0, gid: 0 };
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const client = await connectClient({
    metaAddress: mounted.cluster.describe().meta,
    label: "test",
  });
  const { inode: parent } = await client.inodes.mkdir(
    { parent: ROOT_INODE, name: bytes(directory) },
    owner,
  );
  let next = 0;
  const maker = async (): Promise<void> => {
    while (next < count) {
      const name = bytes(`a-file-with-a-longer-name-${next++}`);
      await (await client.inodes.create({ parent, name }, owner, true)).file.close();
    }
  };
  await Promise.all(Array.from({ length: MADE_AT_ONCE }, maker));
  await client.close();
}

describe.skipIf(cannotMount !== undefined)("the process that serves a mount", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"] });
  });
  afterAll(() => mounted.stop());

  test(
    "takes bounded memory, whatever goes through it and however many files it lists",
    async () => {
      for (let done = 0; done < THROUGH_MIB; done += FILE_MIB) {
        const file = `file-${(done / FILE_MIB) % REUSED_FILES}`;
        await mounted.ok(
          `dd if=/dev/urandom of=piece bs=1M count=1 2> /dev/null
           for n in $(seq ${FILE_MIB}); do cat piece; done > ${file}; cat ${file} | tail -c 1 > /dev/null`,
        );
      }
      const afterContent = memory("VmHWM");
      await makeFiles("many", FILES);
      for (const list of ["ls -f", "ls -l", "find . -type f -size -1"]) {
        const lines = Number(await mounted.ok(`cd many; ${list} | wc -l`));
        expect(lines).toBeGreaterThanOrEqual(FILES);
      }
      console.log(
        `most memory: ${Math.round(afterContent)} MiB after ${THROUGH_MIB} MiB written and read, ` +
          `${Math.round(memory("VmHWM"))} MiB after ${FILES} files listed; now ${Math.round(memory("VmRSS"))} MiB`,
      );
      expect(memory("VmHWM")).toBeLessThan(MOST_MIB);
    },
    120_000 + THROUGH_MIB * 400 + FILES * 50,
  );

  test(
    "does not grow with what it has served",
    async () => {
      const churn = async (rounds: number): Promise<number> => {
        const script = join(import.meta.dir, "support/churn.ts");
        const program = mounted.program([
          process.execPath,
          script,
          `${mounted.path}/churn`,
          String(rounds),
        ]);
        expect({ code: await program.exited, stderr: await program.stderr.text() }).toEqual({
          code: 0,
          stderr: "",
        });
        return settledMib();
      };
      await mounted.ok("mkdir churn");
      const warm = await churn(Math.ceil(ROUNDS / 4));
      const half = await churn(Math.ceil(ROUNDS / 2));
      const whole = await churn(Math.ceil(ROUNDS / 2));
      console.log(
        `${Math.round(warm)} MiB after ${ROUNDS / 4} rounds, ${Math.round(half)} MiB after ${ROUNDS / 2} more, ` +
          `${Math.round(whole)} MiB after as many again`,
      );
      expect(whole - half).toBeLessThan(BREATH_MIB);
      expect(await mounted.ok("ls churn")).toBe("");
    },
    120_000 + ROUNDS * 300,
  );
});
