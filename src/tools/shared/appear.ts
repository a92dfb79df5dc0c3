/**
 * Making something under a name in the cluster that may be taken.
 */
import { isDfsError } from "../../base/errors.ts";
import type { DfsClient } from "../../client/api.ts";
import { Reason } from "./errors.ts";
import { joined, parentPath } from "./paths.ts";

const TEMPORARY_PREFIX = ".dfs-put.";

/**
 * Makes something under the name `to`; when that is taken, under another one that is then renamed over it, so that nobody
 * sees the name missing.
 * @throws DfsError `isDirectory` when a directory has the name, and whatever `make` throws.
 */
export async function appear(
  client: DfsClient,
  to: Uint8Array,
  make: (name: Uint8Array) => Promise<unknown>,
): Promise<void> {
  try {
    await make(to);
    return;
  } catch (error) {
    if (!isDfsError(error, "exists")) throw error;
  }
  const present = await client.stat(to, { follow: false });
  if (present.type === "directory") throw new Reason("isDirectory", "a directory is there");
  const unique = Buffer.from(`${TEMPORARY_PREFIX}${crypto.randomUUID()}`);
  const temporary = joined(parentPath(to), unique);
  await make(temporary);
  try {
    await client.rename(temporary, to);
  } finally {
    // Left over when the rename failed, or when both are names of one file: then it does nothing.
    await client.unlink(temporary).catch((error: unknown) => {
      if (!isDfsError(error, "notFound")) throw error;
    });
  }
}
