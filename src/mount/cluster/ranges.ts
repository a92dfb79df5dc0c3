/**
 * Work on ranges of open files.
 */
import type { OpenFile } from "../../client/api.ts";

/** Bytes copied at a time. */
const STEP_BYTES = 1024 * 1024;

export interface FilePosition {
  readonly file: OpenFile;
  readonly offset: number;
}

/** Copies by reading and writing; returns how many bytes, fewer than asked for at the end of the source. */
export async function copyBytes(
  from: FilePosition,
  to: FilePosition,
  length: number,
): Promise<number> {
  for (let at = 0; at < length;) {
    const bytes = await from.file.read(from.offset + at, Math.min(STEP_BYTES, length - at));
    if (bytes.length === 0) return at;
    await to.file.write(to.offset + at, bytes);
    at += bytes.length;
  }
  return length;
}
