/**
 * Open directories: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.
 */
import { DfsError } from "../../../base/errors.ts";
import type { ListedEntry } from "../../file-system.ts";
import { encodeOpened } from "../protocol/attributes.ts";
import { encodeEntries, encodeEntriesPlus, entriesThatFit } from "../protocol/directory.ts";
import type { Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { Context } from "./context.ts";

export async function opendir(context: Context, request: Request): Promise<Reply> {
  const handle = await context.fileSystem.openDirectory(request.inode);
  return (body) => encodeOpened(body, handle, 0);
}

/** The next entries, as many as fit into the kernel's buffer. `fuse_read_in`, whose offset is the cookie. */
async function nextEntries(
  context: Context,
  request: Request,
  withAttributes: boolean,
): Promise<readonly ListedEntry[]> {
  const handle = request.handle();
  const cookie = request.uint64();
  const size = Math.min(request.uint32(), context.largestReplyBytes);
  const { fileSystem } = context;
  const entries = await fileSystem.list(request.inode, handle, cookie, request.signal);
  const count = entriesThatFit(entries, size, withAttributes);
  if (count === 0 && entries.length > 0) {
    throw new DfsError(
      "invalid",
      `cannot list a directory into ${size} bytes: one entry is longer`,
    );
  }
  return entries.slice(0, count);
}

export async function readdir(context: Context, request: Request): Promise<Reply> {
  const entries = await nextEntries(context, request, false);
  return (body) => encodeEntries(body, entries);
}

export async function readdirplus(context: Context, request: Request): Promise<Reply> {
  const entries = await nextEntries(context, request, true);
  const taken = entries.filter((entry) => entry.attributes !== undefined);
  for (const { attributes } of taken) if (attributes !== undefined) context.known.add(attributes);
  context.fileSystem.took(taken);
  return (body) => encodeEntriesPlus(body, entries, context.presentation);
}

/** `fuse_release_in`: u64 fh, and what only files need. */
export async function releasedir(context: Context, request: Request): Promise<Reply> {
  context.fileSystem.releaseDirectory(request.inode, request.handle());
  return undefined;
}

export async function fsyncdir(context: Context, request: Request): Promise<Reply> {
  await context.fileSystem.fsyncDirectory(request.inode);
  return undefined;
}
