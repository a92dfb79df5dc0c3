/**
 * Reading everything as a user would, block by block, and judging what came: the bytes that were written, or, where every
 * copy is out of reach, an error that names file and offset. Anything else is not as expected, wrong bytes above all.
 */
import { isDfsError, messageOf } from "../../base/errors.ts";
import type { DfsClient, ExplainRow, OpenFile } from "../../client/api.ts";
import { counted } from "../shared/format.ts";
import { escaped } from "../shared/text.ts";
import { contentOf, type DrillFile } from "./files.ts";
import { inParallel } from "./parallel.ts";

/** Files read, and blocks of one file, at a time. */
const FILES_AT_ONCE = 4;
const BLOCKS_AT_ONCE = 8;

/** A file with its blocks, as they were on record before the fault. */
export interface Laid {
  readonly file: DrillFile;
  readonly rows: readonly ExplainRow[];
}

/** What came of reading one block, or a whole file (of which no block is known, or that could not be opened). */
export interface Reading {
  /** Name of the file in the drill's directory. */
  readonly name: string;
  /** Its path, for people. */
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  readonly outcome:
    | "right"
    | "wrong"
    /** An error that names this file and this offset. */
    | "refused"
    | "failed";
  /** Of an error, the message; of wrong bytes, where they begin. */
  readonly detail: string;
}

/** What all readings together come to. */
export interface Verdict {
  readonly right: number;
  /** Blocks that could not be read and were not expected to be. */
  readonly refused: number;
  /** Everything that is not as expected, for people. */
  readonly problems: readonly string[];
}

/** The blocks of files that are stored. @throws DfsError when the metadata service cannot tell. */
export function layoutOf(client: DfsClient, files: readonly DrillFile[]): Promise<Laid[]> {
  return inParallel(files, FILES_AT_ONCE, async (file) => {
    const rows = file.size === 0 ? [] : await Array.fromAsync(client.explain(file.path));
    return { file, rows };
  });
}

/** Reads all files whole, each block by itself. */
export async function readAll(client: DfsClient, laid: readonly Laid[]): Promise<Reading[]> {
  return (await inParallel(laid, FILES_AT_ONCE, (each) => readFile(client, each))).flat();
}

/** Judges readings. `unreadable` tells of each block whether every copy is out of reach; keys as `blockKey`. */
export function judge(readings: readonly Reading[], unreadable: ReadonlySet<string>): Verdict {
  const problems: string[] = [];
  let right = 0;
  let refused = 0;
  for (const reading of readings) {
    const { outcome, name, offset, detail } = reading;
    const isLost = unreadable.has(blockKey({ name }, offset));
    if (outcome === "right" && !isLost) right++;
    else if (outcome === "refused" && isLost) refused++;
    else problems.push(problemOf(reading, isLost, detail));
  }
  return { right, refused, problems };
}

/** What tells a block of a drill from all others: its file, and where it begins there. */
export function blockKey({ name }: Pick<DrillFile, "name">, offset: number): string {
  return `${name} ${offset}`;
}

/** "24 blocks right, 3 refused with EIO". */
export function verdictText({ right, refused }: Verdict): string {
  const refusals = refused === 0 ? "" : `, ${refused} refused with EIO`;
  return `${counted(right, "read")} right${refusals}`;
}

function problemOf({ path, offset, outcome }: Reading, isLost: boolean, detail: string): string {
  const where = `${path} at offset ${offset}`;
  if (outcome === "wrong") return `WRONG BYTES: ${where}: ${detail}`;
  if (outcome === "right") return `${where} was read although every copy should be out of reach`;
  const expected = isLost ? "an error that names file and offset" : "the bytes that were written";
  return `${where}: instead of ${expected}: ${detail}`;
}

async function readFile(client: DfsClient, { file, rows }: Laid): Promise<Reading[]> {
  const content = contentOf(file);
  const { name } = file;
  const path = pathText(file);
  const whole = { name, path, offset: 0, length: file.size };
  let open: OpenFile;
  try {
    open = await client.open(file.path);
  } catch (error) {
    return [failure(whole, error)];
  }
  try {
    const { size } = open.attributes;
    if (size !== file.size) {
      const detail = `it has ${size} bytes instead of ${file.size}`;
      return [{ ...whole, outcome: "wrong", detail }];
    }
    if (rows.length === 0) return [await readPart(open, whole, content)];
    return await inParallel(rows, BLOCKS_AT_ONCE, ({ offset, length }) =>
      readPart(open, { ...whole, offset, length }, content),
    );
  } finally {
    await open.close();
  }
}

type Part = Pick<Reading, "name" | "path" | "offset" | "length">;

async function readPart(open: OpenFile, part: Part, content: Uint8Array): Promise<Reading> {
  const { offset, length } = part;
  try {
    const bytes = await open.read(offset, length);
    const wanted = content.subarray(offset, offset + length);
    if (Buffer.compare(bytes, wanted) === 0) return { ...part, outcome: "right", detail: "" };
    return { ...part, outcome: "wrong", detail: differenceOf(bytes, wanted) };
  } catch (error) {
    return failure(part, error);
  }
}

function differenceOf(bytes: Uint8Array, wanted: Uint8Array): string {
  if (bytes.length !== wanted.length) {
    return `${counted(bytes.length, "byte")} came instead of ${wanted.length}`;
  }
  const at = bytes.findIndex((byte, index) => byte !== wanted[index]);
  return `from byte ${at} of the block on they are not what was written`;
}

function failure(part: Part, error: unknown): Reading {
  const isNamed =
    isDfsError(error, "io") &&
    String(error.details["path"]).endsWith(`/${part.name}`) &&
    error.details["offset"] === part.offset &&
    error.message.includes(`/${part.name} at offset ${part.offset}`);
  return { ...part, outcome: isNamed ? "refused" : "failed", detail: messageOf(error) };
}

/** The path of a file, for people. */
export function pathText({ path }: Pick<DrillFile, "path">): string {
  return escaped(path);
}
