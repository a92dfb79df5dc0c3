/**
 * Directory entries in the replies to READDIR and READDIRPLUS.
 *
 *     fuse_direntplus:  fuse_entry_out (128), then a fuse_dirent
 *     fuse_dirent:      u64 ino, u64 off, u32 namelen, u32 type, name, zeros up to a multiple of 8
 */
import { DfsError } from "../../../base/errors.ts";
import type { Attributes } from "../../../protocol/messages/common.ts";
import type { ListedEntry } from "../../file-system.ts";
import { direntType, encodeEntry, type Presentation } from "./attributes.ts";
import type { ReplyBody } from "./reply.ts";

const DIRENT_HEAD_BYTES = 24;
const ENTRY_OUT_BYTES = 128;

function direntBytes(entry: ListedEntry): number {
  return (DIRENT_HEAD_BYTES + entry.name.length + 7) & ~7;
}

function encodeDirent(body: ReplyBody, entry: ListedEntry): void {
  body.uint64(entry.inode);
  body.uint64(entry.cookie);
  body.uint32(entry.name.length);
  body.uint32(direntType(entry.type));
  body.bytes(entry.name);
  body.zeros(direntBytes(entry) - DIRENT_HEAD_BYTES - entry.name.length);
}

/** Encodes as many entries as fit into `size` bytes. @throws DfsError `invalid` when the first one does not. */
export function encodeEntries(body: ReplyBody, entries: Iterable<ListedEntry>, size: number): void {
  const room = new Room(body, size);
  for (const entry of entries) {
    if (!room.has(direntBytes(entry))) return;
    encodeDirent(body, entry);
  }
}

/**
 * As `encodeEntries`; `took` is told of each entry with attributes. One without them has inode 0 in front: the kernel then takes it
 * for the name alone.
 */
export function encodeEntriesPlus(
  body: ReplyBody,
  entries: Iterable<ListedEntry>,
  size: number,
  presentation: Presentation,
  took: (entry: ListedEntry, attributes: Attributes) => void,
): void {
  const room = new Room(body, size);
  for (const entry of entries) {
    if (!room.has(ENTRY_OUT_BYTES + direntBytes(entry))) return;
    const { attributes } = entry;
    if (attributes === undefined) body.zeros(ENTRY_OUT_BYTES);
    else {
      encodeEntry(body, attributes, presentation);
      took(entry, attributes);
    }
    encodeDirent(body, entry);
  }
}

/** The kernel's buffer for entries. */
class Room {
  private readonly body: ReplyBody;
  private readonly start: number;
  private readonly size: number;

  constructor(body: ReplyBody, size: number) {
    this.body = body;
    this.start = body.length;
    this.size = size;
  }

  /** True when so many more bytes fit; @throws DfsError `invalid` when nothing would have fitted. */
  has(bytes: number): boolean {
    const used = this.body.length - this.start;
    if (used + bytes <= this.size) return true;
    if (used > 0) return false;
    throw new DfsError(
      "invalid",
      `cannot list a directory into ${this.size} bytes: one entry is longer`,
    );
  }
}
