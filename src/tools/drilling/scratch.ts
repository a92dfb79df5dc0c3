/**
 * The drill's directory in a cluster: a new one, so that nothing that was there before is touched.
 */
import { isDfsError } from "../../base/errors.ts";
import type { DfsClient } from "../../client/api.ts";
import { ownOwner } from "../shared/ownership.ts";
import { joined } from "../shared/paths.ts";

const DIRECTORY_MODE = 0o755;
const NAME_CHARACTERS = 8;

export interface ScratchDirectory {
  readonly path: Uint8Array;
  /** The directory that it is in, when that was made for the drill as well. */
  readonly parent: Uint8Array | undefined;
}

/** Makes a directory for a drill in `parent`, which is made when there is none. @throws DfsError as `DfsClient.mkdir`. */
export async function makeDirectory(
  client: DfsClient,
  parent: Uint8Array,
): Promise<ScratchDirectory> {
  const isNew = await madeUnlessThere(client, parent);
  const path = joined(
    parent,
    Buffer.from(`drill-${crypto.randomUUID().slice(0, NAME_CHARACTERS)}`),
  );
  await client.mkdir(path, ownOwner(DIRECTORY_MODE));
  return { path, parent: isNew ? parent : undefined };
}

/** Removes a drill's directory with all that is in it, and what was made for it. */
export async function clearDirectory(
  client: DfsClient,
  { path, parent }: ScratchDirectory,
): Promise<void> {
  for await (const { name } of client.readdir(path)) await client.unlink(joined(path, name));
  await client.rmdir(path);
  if (parent === undefined) return;
  await client.rmdir(parent).catch((error: unknown) => {
    if (!isDfsError(error, "notEmpty")) throw error; // somebody else uses it by now
  });
}

async function madeUnlessThere(client: DfsClient, path: Uint8Array): Promise<boolean> {
  try {
    await client.stat(path);
    return false;
  } catch (error) {
    if (!isDfsError(error, "notFound")) throw error;
    await client.mkdir(path, ownOwner(DIRECTORY_MODE));
    return true;
  }
}
