/**
 * Finds data and holes in a file: what its map names, and what was written and is not committed yet.
 */
import { DfsError } from "../base/errors.ts";
import type { Extent } from "./dirty.ts";
import type { FileMap } from "./file-map.ts";

export interface SeekableContent {
  readonly size: number;
  readonly map: FileMap;
  /** What is not committed, in any order; it may overlap. */
  readonly unstored: readonly Extent[];
}

/**
 * The first place at or behind `offset` that is data, or a hole; the end of the file is one.
 * @throws DfsError `noData` when `offset` is at or behind the end, or when no data follows.
 */
export async function seek(
  content: SeekableContent,
  offset: number,
  what: "data" | "hole",
  path: string,
): Promise<number> {
  const found =
    offset >= content.size
      ? undefined
      : what === "hole"
        ? await nextHole(content, offset)
        : await nextData(content, offset);
  if (found !== undefined) return found;
  throw new DfsError(
    "noData",
    `${path} has no ${what} from offset ${offset} on: it has ${content.size} bytes`,
    { details: { path, offset } },
  );
}

async function nextHole({ size, map, unstored }: SeekableContent, offset: number): Promise<number> {
  for (let at = offset; at < size;) {
    const over = unstored.find((range) => range.offset <= at && at < range.offset + range.length);
    if (over !== undefined) {
      at = over.offset + over.length;
      continue;
    }
    const [segment] = await map.segments(at, size - at);
    if (segment!.extent === undefined) return at;
    at = segment!.offset + segment!.length;
  }
  return size;
}

async function nextData(
  { size, map, unstored }: SeekableContent,
  offset: number,
): Promise<number | undefined> {
  const written = unstored
    .filter((range) => range.offset + range.length > offset)
    .reduce((first, range) => Math.min(first, Math.max(offset, range.offset)), size);
  for (let at = offset; at < written;) {
    const segments = await map.segments(at, written - at);
    const data = segments.find((segment) => segment.extent !== undefined);
    if (data !== undefined) return data.offset;
    const last = segments.at(-1)!;
    at = last.offset + last.length;
  }
  return written < size ? written : undefined;
}
