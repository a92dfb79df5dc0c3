/**
 * Content of local files as runs of bytes and holes.
 */
import { read, readSync, type BigIntStats } from "node:fs";
import { promisify } from "node:util";
import type { ContentRun } from "../../client/api.ts";
import { nextData } from "./native.ts";

/** Bytes read at once. The client cuts them into blocks. */
const CHUNK_BYTES = 1024 * 1024;
/** Up to this length a read is made at once: a turn through the thread pool would take longer. */
const AT_ONCE_BYTES = 128 * 1024;
const STAT_UNIT_BYTES = 512n; // of st_blocks, stat(2)

const readInPool = promisify(read);

/**
 * The content of an open file: of a regular one what it has up to the length in `stats`, with its holes; of anything
 * else (a pipe, a device, a file of /proc) all that comes. A file that changes meanwhile gives what is read.
 */
export function localContent(descriptor: number, stats: BigIntStats): AsyncIterable<ContentRun> {
  const size = Number(stats.size);
  if (!stats.isFile() || size === 0) return untilEnd(descriptor, stats.isFile() ? 0 : null);
  const mayHaveHoles = stats.blocks * STAT_UNIT_BYTES < stats.size;
  return mayHaveHoles ? withHoles(descriptor, size) : between(descriptor, 0, size);
}

async function* untilEnd(descriptor: number, start: number | null): AsyncGenerator<Uint8Array> {
  for (let at = start; ;) {
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const { bytesRead } = await readInPool(descriptor, buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    if (at !== null) at += bytesRead;
  }
}

async function* between(
  descriptor: number,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end;) {
    const length = Math.min(CHUNK_BYTES, end - at);
    const buffer = Buffer.allocUnsafeSlow(length);
    const bytesRead =
      length <= AT_ONCE_BYTES
        ? readSync(descriptor, buffer, 0, length, at)
        : (await readInPool(descriptor, buffer, 0, length, at)).bytesRead;
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

async function* withHoles(descriptor: number, size: number): AsyncGenerator<ContentRun> {
  for (let at = 0; at < size;) {
    const data = nextData(descriptor, at);
    const start = Math.min(data?.start ?? size, size);
    if (start > at) yield { holeBytes: start - at };
    const end = Math.min(data?.end ?? size, size);
    yield* between(descriptor, start, end);
    at = end;
  }
}
