/**
 * Directory entries in the replies to READDIR and READDIRPLUS.
 *
 *     fuse_direntplus:  fuse_entry_out (128), then a fuse_dirent
 *     fuse_dirent:      u64 ino, u64 off, u32 namelen, u32 type, name, zeros up to a multiple of 8
 */
import type { ListedEntry } from "../../file-system.ts";
import { direntType, encodeEntry, type Presentation } from "./attributes.ts";
import type { ReplyBody } from "./reply.ts";

const DIRENT_HEAD_BYTES = 24;
const ENTRY_OUT_BYTES = 128;

function direntBytes(entry: ListedEntry): number {
  return (DIRENT_HEAD_BYTES + entry.name.length + 7) & ~7;
}

/** How many of the entries, from the first on, fit into `size` bytes. */
export function entriesThatFit(
  entries: readonly ListedEntry[],
  size: number,
  withAttributes: boolean,
): number {
  const extra = withAttributes ? ENTRY_OUT_BYTES : 0;
  let used = 0;
  for (const [index, entry] of entries.entries()) {
    used += extra + direntBytes(entry);
    if (used > size) return index;
  }
  return entries.length;
}

function encodeDirent(body: ReplyBody, entry: ListedEntry): void {
  body.uint64(entry.inode);
  body.uint64(entry.cookie);
  body.uint32(entry.name.length);
  body.uint32(direntType(entry.type));
  body.bytes(entry.name);
  body.zeros(direntBytes(entry) - DIRENT_HEAD_BYTES - entry.name.length);
}

export function encodeEntries(body: ReplyBody, entries: readonly ListedEntry[]): void {
  for (const entry of entries) encodeDirent(body, entry);
}

/** An entry without attributes has inode 0 in front: the kernel then takes it for the name alone. */
export function encodeEntriesPlus(
  body: ReplyBody,
  entries: readonly ListedEntry[],
  presentation: Presentation,
): void {
  for (const entry of entries) {
    if (entry.attributes === undefined) body.zeros(ENTRY_OUT_BYTES);
    else encodeEntry(body, entry.attributes, presentation);
    encodeDirent(body, entry);
  }
}
