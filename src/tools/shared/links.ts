/**
 * Symbolic links in the cluster, followed by hand where the last one may lead to something that is yet to be made.
 */
import { isDfsError } from "../../base/errors.ts";
import { MAX_SYMLINKS_FOLLOWED } from "../../base/limits.ts";
import type { DfsClient } from "../../client/api.ts";
import { Reason } from "./errors.ts";
import { joined, parentPath } from "./paths.ts";

const SLASH = 0x2f;

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
