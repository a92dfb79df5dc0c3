// The memory of the process that serves a mount, and of the cluster's processes: bounded however much goes through, and it does
// not grow with what has gone.
//
// Little goes through with the suite. The long runs, of which docs/mount.md has the figures:
//
//     DFS_MEMORY_MIB=10240 DFS_MEMORY_FILES=100000 bin/test tests/mount/memory.test.ts -t bounded
//     DFS_LEAK_MINUTES=60 DFS_LEAK_ROUNDS=2000 nice -n 19 bin/test tests/mount/memory.test.ts -t grow

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT_INODE } from "../../src/base/ids.ts";
import { connectClient } from "../../src/client/client.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";

const THROUGH_MIB = Number(process.env["DFS_MEMORY_MIB"] ?? 128);
const FILES = Number(process.env["DFS_MEMORY_FILES"] ?? 20_000);
const ROUNDS = Number(process.env["DFS_LEAK_ROUNDS"] ?? 300);
/** The rounds are made again and again for as long as this. */
const MINUTES = Number(process.env["DFS_LEAK_MINUTES"] ?? 0);

/** The most that any of the processes may ever have taken. */
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
/** A long run tells the memory so often. */
const SAMPLE_MS = 60_000;

let mounted: Mounted;

/**
 * Memory of a process, by default of the one that serves the mount, in MiB: `VmRSS` now, `VmHWM` the most that it ever was.
 */
function memory(what: "VmRSS" | "VmHWM", pid = mounted.at(0).pid): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
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

/** The processes of the mount, of the metadata service and of the data servers. */
function pids(): number[] {
  const { metaPid, servers } = mounted.cluster.describe();
  return [mounted.at(0).pid, metaPid, ...servers.map(({ pid }) => pid)];
}

/** Prints what every process takes now, and the most that it ever took. */
function tellMemory(when: string): void {
  const [mount, meta, ...data] = pids().map(
    (pid) => `${Math.round(memory("VmRSS", pid))} (${Math.round(memory("VmHWM", pid))})`,
  );
  console.log(
    `${when}: MiB now (most): mount ${mount}, metadata service ${meta}, data servers ${data.join(", ")}`,
  );
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
      const content = mounted.cluster.path("content");
      for (let done = 0; done < THROUGH_MIB; done += FILE_MIB) {
        const file = `file-${(done / FILE_MIB) % REUSED_FILES}`;
        // Not by cp or cat: they have the mount share blocks (copy_file_range), and nothing passes through it.
        await mounted.ok(
          `dd if=/dev/urandom of=${content} bs=1M count=${FILE_MIB} 2> ${content}.log
           dd if=${content} of=${file} bs=1M 2> ${content}.log
           cmp ${content} ${file}`,
        );
      }
      const { liveBytes } = (await mounted.cluster.rows<{ liveBytes: number }>("status"))[0]!;
      expect(liveBytes).toBe(Math.min(REUSED_FILES, THROUGH_MIB / FILE_MIB) * FILE_MIB * 2 ** 20);
      tellMemory(`${THROUGH_MIB} MiB written and read`);
      await makeFiles("many", FILES);
      for (const list of ["ls -f", "ls -l", "find . -type f -size -1"]) {
        const lines = Number(await mounted.ok(`cd many; ${list} | wc -l`));
        expect(lines).toBeGreaterThanOrEqual(FILES);
      }
      tellMemory(`${FILES} files listed`);
      for (const pid of pids()) expect(memory("VmHWM", pid)).toBeLessThan(MOST_MIB);
    },
    120_000 + THROUGH_MIB * 400 + FILES * 50,
  );

  test(
    "does not grow with what it has served",
    async () => {
      const churn = async (rounds: number): Promise<void> => {
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
      };
      const half = async (): Promise<number> => {
        const end = performance.now() + (MINUTES * 60_000) / 2;
        do {
          await churn(Math.ceil(ROUNDS / 2));
          rounds += Math.ceil(ROUNDS / 2);
        } while (performance.now() < end);
        return settledMib();
      };
      let rounds = Math.ceil(ROUNDS / 4);
      await mounted.ok("mkdir churn");
      await churn(rounds);
      const warm = await settledMib();
      const sampling = setInterval(() => tellMemory(`round ${rounds}`), SAMPLE_MS);
      try {
        const first = await half();
        const roundsOfFirst = rounds;
        const second = await half();
        tellMemory(`round ${rounds}`);
        console.log(
          `${Math.round(warm)} MiB after the first ${Math.ceil(ROUNDS / 4)} rounds, ` +
            `${Math.round(first)} MiB after ${roundsOfFirst}, ${Math.round(second)} MiB after ${rounds}`,
        );
        expect(second - first).toBeLessThan(BREATH_MIB);
      } finally {
        clearInterval(sampling);
      }
      expect(await mounted.ok("ls churn")).toBe("");
    },
    120_000 + ROUNDS * 300 + MINUTES * 90_000,
  );
});
