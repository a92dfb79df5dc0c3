/**
 * What is done on each target, and how it is timed.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SMALL_BYTES } from "./file-tool.ts";
import { run, type Target } from "./targets.ts";

const TOOL = join(import.meta.dir, "file-tool.ts");

/** How much is done. */
export interface Scale {
  /** Length of the file of fio. */
  readonly mib: number;
  /** Longest time for a case, where it goes by time. */
  readonly seconds: number;
  /** Small files of a round. */
  readonly files: number;
  /** Names in the directory that is listed. */
  readonly names: number;
  /** Files in the archive that is unpacked. */
  readonly archived: number;
}

/** How often something was done, and in which time. */
export interface Timed {
  readonly count: number;
  readonly seconds: number;
}

export interface Case {
  readonly name: string;
  /** What is counted. */
  readonly unit: "MB" | "calls" | "files" | "names";
  readonly needs?: "fio" | "tar";
  /** What has to be there before; `cases` of the same round may have made it. */
  readonly prepare?: (place: Place) => Promise<void>;
  readonly run: (place: Place) => Promise<Timed>;
}

/** Where a case works: a directory of a target, of which `folder` is the name there. */
export interface Place {
  readonly target: Target;
  readonly folder: string;
  readonly scale: Scale;
  /** An archive of `scale.archived` files. */
  readonly archive: string;
}

export const CASES: readonly Case[] = [
  { name: "write 1 MiB", unit: "MB", needs: "fio", run: (place) => writeLarge(place) },
  {
    name: "read 1 MiB, cold",
    unit: "MB",
    needs: "fio",
    prepare: coldLarge,
    run: (place) => fio(place, "read", "--rw=read", "--bs=1M"),
  },
  ...[1, 4].map((jobs): Case => ({
    name: `random read 4 KiB, ${jobs === 1 ? "1 job" : `${jobs} jobs`}`,
    unit: "calls",
    needs: "fio",
    prepare: coldLarge,
    run: (place) => fio(place, "read", "--rw=randread", "--bs=4k", ...atMost(place, jobs)),
  })),
  {
    name: "random write 4 KiB",
    unit: "calls",
    needs: "fio",
    prepare: large,
    run: (place) =>
      fio(place, "write", "--rw=randwrite", "--bs=4k", "--end_fsync=1", ...atMost(place, 1)),
  },
  { name: "append 4 KiB", unit: "calls", run: (place) => tool(place, "append", "", 100_000) },
  { name: "write 4 KiB + fsync", unit: "calls", run: (place) => tool(place, "fsync", "", 100_000) },
  {
    name: "create + write 4 KiB + close",
    unit: "files",
    prepare: async (place) => {
      mkdirSync(at(place, "created"));
    },
    run: (place) => tool(place, "create", "created"),
  },
  { name: "stat", unit: "files", prepare: small, run: (place) => tool(place, "stat", "small") },
  {
    name: "ls -l",
    unit: "names",
    prepare: ({ target, folder, scale }) => target.fill(`${folder}/many`, scale.names, 0),
    run: async (place) => ({
      count: place.scale.names,
      seconds: timed(() => void run("ls", "-l", at(place, "many"))),
    }),
  },
  {
    name: "open + read",
    unit: "files",
    prepare: small,
    run: (place) => tool(place, "read", "small"),
  },
  { name: "rename", unit: "files", prepare: named, run: (place) => tool(place, "rename", "named") },
  { name: "unlink", unit: "files", prepare: small, run: (place) => tool(place, "unlink", "small") },
  { name: "tar x", unit: "files", needs: "tar", run: unpack },
];

/** Work that is not timed: who has just started is slow. */
export async function warmUp(target: Target): Promise<void> {
  const scale = { mib: 16, seconds: 2, files: 150, names: 100, archived: 1 };
  const place = { target, folder: "warm-up", scale, archive: "" };
  mkdirSync(at(place, ""));
  for (const each of CASES) {
    if (each.needs !== undefined && (each.needs !== "fio" || Bun.which("fio") === null)) continue;
    await each.prepare?.(place);
    await each.run(place);
  }
}

/** An archive of small files as a source tree has them: 50 to a directory, 0 to 16 KiB long. */
export function makeArchive(folder: string, files: number): string {
  const tree = join(folder, "tree");
  for (let index = 0; index < files; index++) {
    const directory = join(tree, `d${Math.floor(index / 500)}`, `e${Math.floor(index / 50) % 10}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(
      join(directory, `file-${index}`),
      new Uint8Array((index * 2_654_435_761) % 16_384),
    );
  }
  const archive = join(folder, "tree.tar");
  run("tar", "-cf", archive, "-C", folder, "tree");
  run("rm", "-r", tree);
  return archive;
}

function at({ target, folder }: Place, name: string): string {
  return join(target.path, folder, name);
}

async function large(place: Place): Promise<void> {
  if (!existsSync(at(place, "large"))) await writeLarge(place);
}

async function coldLarge(place: Place): Promise<void> {
  await large(place);
  place.target.cool(at(place, "large"));
}

async function small(place: Place): Promise<void> {
  const { target, folder, scale } = place;
  if (existsSync(at(place, "small"))) return;
  await target.fill(`${folder}/small`, scale.files, SMALL_BYTES);
}

async function named({ target, folder, scale }: Place): Promise<void> {
  await target.fill(`${folder}/named`, scale.files, 0);
}

function writeLarge(place: Place): Promise<Timed> {
  return fio(place, "write", "--rw=write", "--bs=1M", "--end_fsync=1");
}

function atMost({ scale }: Place, jobs: number): string[] {
  return [`--runtime=${scale.seconds}`, "--time_based", `--numjobs=${jobs}`, "--group_reporting"];
}

/** Runs fio on the large file. What it counts is calls of 4 KiB, or megabytes. */
async function fio(
  place: Place,
  direction: "read" | "write",
  ...words: readonly string[]
): Promise<Timed> {
  const size = `--size=${place.scale.mib}M`;
  const fixed = ["--name=bench", "--ioengine=psync", "--fallocate=none", "--output-format=json"];
  const told = await runBeside("fio", ...fixed, `--filename=${at(place, "large")}`, size, ...words);
  const { jobs } = JSON.parse(told.slice(told.indexOf("{"))) as FioReport;
  const { total_ios: calls, io_bytes: bytes, runtime } = jobs[0]![direction];
  const isLarge = words.includes("--bs=1M");
  return { count: isLarge ? bytes / 1e6 : calls, seconds: runtime / 1000 };
}

interface FioReport {
  readonly jobs: readonly Record<
    "read" | "write",
    { readonly total_ios: number; readonly io_bytes: number; readonly runtime: number }
  >[];
}

async function tool(place: Place, work: string, folder: string, most?: number): Promise<Timed> {
  const { files, seconds } = place.scale;
  const words = [work, at(place, folder), most ?? files, seconds].map(String);
  return JSON.parse(await runBeside(process.execPath, TOOL, ...words)) as Timed;
}

/** Unpacks for a while; what was unpacked by then is counted. */
async function unpack(place: Place): Promise<Timed> {
  const { archive, scale } = place;
  const directory = at(place, "unpacked");
  mkdirSync(directory);
  const beganMs = performance.now();
  const child = Bun.spawn(["tar", "-xf", archive, "-C", directory], {
    stdio: ["ignore", "ignore", "inherit"],
    timeout: scale.seconds * 8_000,
  });
  await child.exited;
  const seconds = (performance.now() - beganMs) / 1000;
  const all = readdirSync(directory, { recursive: true, withFileTypes: true });
  return { count: all.filter((each) => each.isFile()).length, seconds };
}

/** Runs a program while this process goes on. @throws Error when it fails. */
async function runBeside(...words: readonly string[]): Promise<string> {
  const child = Bun.spawn([...words], { stdio: ["ignore", "pipe", "inherit"] });
  const told = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`${words.join(" ")} failed`);
  return told;
}

function timed(work: () => void): number {
  const beganMs = performance.now();
  work();
  return (performance.now() - beganMs) / 1000;
}
