/**
 * How much there is in trees of the cluster, for the progress of what goes through them. It is counted while the work goes
 * on, many names a question, which is many times faster than the work.
 */
import { isDfsError } from "../../base/errors.ts";
import type { DfsClient } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import { joined } from "./paths.ts";
import type { Total } from "./progress.ts";

/** What is counted, and how. */
export interface Counting {
  readonly signal: AbortSignal;
  /** Whether links that are named are followed. Those inside directories never are. */
  readonly follow: boolean;
  /** Directories count as things as well. */
  readonly countsDirectories: boolean;
  /** What is left out, with all that is in it; paths are relative to what was named. */
  readonly excludes?: (inTree: Uint8Array, isDirectory: boolean) => boolean;
  /** Called before a directory is listed. @throws anything, to give up. */
  readonly onDirectory?: (path: Uint8Array) => void;
  /** The work removes what is counted: what is not there any more is none. */
  readonly isVanishing?: boolean;
}

/**
 * Counts what is at `paths` and below: things, and bytes of files. Undefined when interrupted: half of it is no total.
 * @throws DfsError for what cannot be looked at.
 */
export async function treeTotal(
  client: Pick<DfsClient, "readdir" | "stat">,
  paths: readonly Uint8Array[],
  counting: Counting,
): Promise<Total | undefined> {
  const { signal, follow, countsDirectories, excludes, onDirectory } = counting;
  const stack: { readonly path: Uint8Array; readonly inTree: Uint8Array }[] = [];
  let things = 0;
  let bytes = 0;
  const count = (path: Uint8Array, inTree: Uint8Array, { type, size }: Attributes): void => {
    if (type === "directory") stack.push({ path, inTree });
    if (type !== "directory" || countsDirectories) things++;
    if (type === "file") bytes += size;
  };
  const look = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const isGone = isDfsError(error, "notFound") || isDfsError(error, "stale");
      if (counting.isVanishing !== true || !isGone) throw error;
    }
  };
  for (const path of paths) {
    await look(async () => count(path, new Uint8Array(), await client.stat(path, { follow })));
  }
  for (let next = stack.pop(); next !== undefined && !signal.aborted; next = stack.pop()) {
    const { path, inTree } = next;
    onDirectory?.(path);
    await look(async () => {
      for await (const { name, attributes } of client.readdir(path)) {
        if (signal.aborted) return;
        const below = joined(inTree, name);
        if (excludes?.(below, attributes.type === "directory")) continue;
        count(joined(path, name), below, attributes);
      }
    });
  }
  return signal.aborted ? undefined : { things, bytes };
}
