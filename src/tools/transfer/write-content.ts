/**
 * Writing what the cluster holds into a local file.
 */
import type { FileHandle } from "node:fs/promises";
import type { ContentRun } from "../../client/api.ts";

/**
 * Writes runs one after the other from the beginning of an empty regular file. Holes are left out, so that the file is
 * as sparse as it was. `onBytes` is told how far each run brought us.
 */
export async function writeContent(
  runs: AsyncIterable<ContentRun>,
  handle: FileHandle,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let at = 0;
  let endsInHole = false;
  for await (const run of runs) {
    const length = run instanceof Uint8Array ? run.length : run.holeBytes;
    if (run instanceof Uint8Array) await writeAt(handle, run, at);
    endsInHole = !(run instanceof Uint8Array);
    at += length;
    onBytes(length);
  }
  if (endsInHole) await handle.truncate(at);
}

/** Writes all of `bytes`; a device or pipe is written in order, so `position` is null for those. */
export async function writeAt(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number | null,
): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const at = position === null ? null : position + done;
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at);
    done += bytesWritten;
  }
}
