/**
 * Open directories: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.
 */
import type { Attributes } from "../../../protocol/messages/common.ts";
import type { ListedEntry } from "../../file-system.ts";
import { encodeOpened } from "../protocol/attributes.ts";
import { encodeEntries, encodeEntriesPlus } from "../protocol/directory.ts";
import type { Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import type { Context } from "./context.ts";

export async function opendir(context: Context, request: Request): Promise<Reply> {
  const handle = await context.fileSystem.openDirectory(request.inode);
  return (body) => encodeOpened(body, handle, 0);
}

/** What is asked for: `fuse_read_in`, whose offset is the cookie. */
async function nextEntries(
  { fileSystem, largestReplyBytes }: Context,
  request: Request,
): Promise<{ readonly entries: Iterable<ListedEntry>; readonly size: number }> {
  const handle = request.handle();
  const cookie = request.uint64();
  const size = Math.min(request.uint32(), largestReplyBytes);
  const entries = await fileSystem.list(request.inode, handle, cookie, request.signal);
  return { entries, size };
}

export async function readdir(context: Context, request: Request): Promise<Reply> {
  const { entries, size } = await nextEntries(context, request);
  return (body) => encodeEntries(body, entries, size);
}

export async function readdirplus(context: Context, request: Request): Promise<Reply> {
  const { entries, size } = await nextEntries(context, request);
  const took = (entry: ListedEntry, attributes: Attributes): void => {
    context.known.add(attributes);
    context.fileSystem.took(entry);
  };
  return (body) => encodeEntriesPlus(body, entries, size, context.presentation, took);
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
