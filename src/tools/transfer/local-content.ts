/**
 * Content of local files as runs of bytes and holes.
 */
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { ContentRun } from "../../client/api.ts";
import { nextData } from "./native.ts";

/** Bytes read at once. The client cuts them into blocks. */
const CHUNK_BYTES = 1024 * 1024;
const STAT_UNIT_BYTES = 512n; // of st_blocks, stat(2)

/**
 * The content of an open file: of a regular one what it has up to the length in `stats`, with its holes; of anything
 * else (a pipe, a device, a file of /proc) all that comes. A file that changes meanwhile gives what is read.
 */
export function localContent(handle: FileHandle, stats: BigIntStats): AsyncIterable<ContentRun> {
  const size = Number(stats.size);
  if (!stats.isFile() || size === 0) return untilEnd(handle, stats.isFile() ? 0 : null);
  const mayHaveHoles = stats.blocks * STAT_UNIT_BYTES < stats.size;
  return mayHaveHoles ? withHoles(handle, size) : between(handle, 0, size);
}

async function* untilEnd(handle: FileHandle, start: number | null): AsyncGenerator<Uint8Array> {
  for (let at = start; ;) {
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    if (at !== null) at += bytesRead;
  }
}

async function* between(
  handle: FileHandle,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end;) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

async function* withHoles(handle: FileHandle, size: number): AsyncGenerator<ContentRun> {
  for (let at = 0; at < size;) {
    const data = nextData(handle.fd, at);
    const start = Math.min(data?.start ?? size, size);
    if (start > at) yield { holeBytes: start - at };
    const end = Math.min(data?.end ?? size, size);
    yield* between(handle, start, end);
    at = end;
  }
}
