/**
 * Symbolic links in the cluster, followed by hand where the last one may lead to something that is yet to be made.
 */
import { isDfsError } from "../../base/errors.ts";
import { MAX_SYMLINKS_FOLLOWED } from "../../base/limits.ts";
import type { DfsClient } from "../../client/api.ts";
import { Reason } from "./errors.ts";
import { joined, parentPath, withoutTrailingSlashes } from "./paths.ts";

const SLASH = 0x2f;

/**
 * The directory that `path` leads to, for things to go into; undefined when there is none. For several things it is the path
 * behind all links, as the first of them may take the place of a link on the way.
 */
export async function directoryAt(
  client: DfsClient,
  path: Uint8Array,
  things: number,
): Promise<Uint8Array | undefined> {
  try {
    if ((await client.stat(path, { follow: true })).type !== "directory") return undefined;
    return things === 1 ? path : await behindLinks(client, withoutTrailingSlashes(path));
  } catch (error) {
    if (leadsNowhere(error)) return undefined;
    throw error;
  }
}

/** True for what looking at a path fails with when nothing is there, or can be. */
export function leadsNowhere(error: unknown): boolean {
  const kinds = ["notFound", "notDirectory", "loop", "nameTooLong"] as const;
  return kinds.some((kind) => isDfsError(error, kind));
}

/**
 * The path that open(2) would create for `path`: itself, or what the symbolic links lead to that have its name, whether
 * that exists or not.
 * @throws DfsError `loop`.
 */
export async function behindLinks(client: DfsClient, path: Uint8Array): Promise<Uint8Array> {
  let at = path;
  for (let links = 0; links < MAX_SYMLINKS_FOLLOWED; links++) {
    try {
      if ((await client.stat(at, { follow: false })).type !== "symlink") return at;
    } catch (error) {
      if (isDfsError(error, "notFound")) return at;
      throw error;
    }
    const target = await client.readlink(at);
    at = target[0] === SLASH ? target : joined(parentPath(at), target);
  }
  throw new Reason("loop", "too many symbolic links");
}
