/**
 * Work on ranges of open files.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import { DfsError } from "../../base/errors.ts";
import type { OpenFile } from "../../client/api.ts";
import type { Allocation } from "../file-system.ts";

/** Bytes copied at a time. */
const STEP_BYTES = 1024 * 1024;

export interface FilePosition {
  readonly file: OpenFile;
  readonly offset: number;
}

/** Below this a copy of the bytes is cheaper than a change of metadata, and does not keep a whole block for a few of its bytes. */
const MIN_SHARED_BYTES = 64 * 1024;

/**
 * Copies within the cluster; returns how many bytes, 0 at the end of the source.
 * @throws DfsError as `OpenFile.cloneFrom`, or as reading and writing.
 */
export async function copyWithin(
  from: FilePosition,
  to: FilePosition,
  length: number,
  signal?: CancelSignal,
): Promise<number> {
  // The end counts as it is now: a copy within one file may move it.
  const there = Math.max(0, Math.min(length, from.file.attributes.size - from.offset));
  if (there < MIN_SHARED_BYTES) return copyBytes(from, to, there, signal);
  return to.file.cloneFrom(from.file, from.offset, to.offset, there, { signal });
}

/** fallocate(2) on a file. @throws DfsError `notSupported` for what moves content to other offsets. */
export async function allocateIn(
  file: OpenFile,
  allocation: Allocation,
  signal?: CancelSignal,
): Promise<void> {
  const { how, keepSize, offset, length } = allocation;
  const end = offset + length;
  const minSize = keepSize ? 0 : end;
  switch (how) {
    case "allocate":
      if (!keepSize) await file.punch(end, 0, minSize, { signal });
      break;
    case "punchHole":
      await file.punch(offset, length, 0, { signal });
      break;
    case "zeroRange":
      await file.punch(offset, length, minSize, { signal });
      break;
    default:
      throw new DfsError("notSupported", `content cannot be moved to other offsets (${how})`);
  }
}

/** Copies by reading and writing; returns how many bytes, fewer than asked for at the end of the source. */
async function copyBytes(
  from: FilePosition,
  to: FilePosition,
  length: number,
  signal: CancelSignal | undefined,
): Promise<number> {
  for (let at = 0; at < length;) {
    const step = Math.min(STEP_BYTES, length - at);
    const bytes = await from.file.read(from.offset + at, step, { signal });
    if (bytes.length === 0) return at;
    await to.file.write(to.offset + at, bytes, { signal });
    at += bytes.length;
  }
  return length;
}
