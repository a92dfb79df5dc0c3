/**
 * Writing what the cluster holds into local files.
 */
import { ftruncateSync, write, writeSync } from "node:fs";
import { promisify } from "node:util";
import type { ContentRun } from "../../client/api.ts";

/** Up to this length a write is made at once: a turn through the thread pool would take longer. */
const AT_ONCE_BYTES = 128 * 1024;

const writeInPool = promisify(write);

/**
 * Writes runs one after the other from the beginning of an empty regular file. Holes are left out, so that the file is
 * as sparse as it was. `onBytes` is told how far each run brought us.
 */
export async function writeContent(
  runs: AsyncIterable<ContentRun>,
  descriptor: number,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let at = 0;
  let endsInHole = false;
  for await (const run of runs) {
    const length = run instanceof Uint8Array ? run.length : run.holeBytes;
    if (run instanceof Uint8Array) await writeAt(descriptor, run, at);
    endsInHole = !(run instanceof Uint8Array);
    at += length;
    onBytes(length);
  }
  if (endsInHole) ftruncateSync(descriptor, at);
}

async function writeAt(descriptor: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const left = bytes.length - done;
    if (left <= AT_ONCE_BYTES) done += writeSync(descriptor, bytes, done, left, position + done);
    else done += (await writeInPool(descriptor, bytes, done, left, position + done)).bytesWritten;
  }
}

/** Writes all of `bytes` to a pipe or device, in order, as fast as it takes them. */
export async function writeNext(descriptor: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await writeInPool(descriptor, bytes, done, bytes.length - done, null)).bytesWritten;
  }
}
