/**
 * File content: block reservation, commits of extents, and files that appear whole. Client to metadata service,
 * codes 0x04xx.
 *
 * A writer reserves block ids, sends the blocks to data servers, and commits. What it commits must have been reserved
 * by its own, still living session (`stale` otherwise), each id once.
 */
import { MAX_EXTENTS_PER_MESSAGE, MAX_RESERVED_BLOCKS } from "../../base/limits.ts";
import { mutationHead, mutationReplyHead, request } from "../message.ts";
import { bool, int64, list, optional, record, uint, uint53, uint64 } from "../schema.ts";
import { attributes, blockField, inodeField, nameField, newBlock, newExtent } from "./common.ts";

/** Reserves `count` block ids in a row, to be written in this session. */
export const reserve = request(
  0x0401,
  "content.reserve",
  record({ ...mutationHead, count: uint(MAX_RESERVED_BLOCKS) }),
  record({
    ...mutationReplyHead,
    first: blockField,
    count: uint(MAX_RESERVED_BLOCKS),
    /** Version of the placement table in force; a client with an older one fetches it again. */
    placementVersion: uint64,
  }),
);

const content = {
  blocks: list(newBlock, MAX_EXTENTS_PER_MESSAGE),
  extents: list(newExtent, MAX_EXTENTS_PER_MESSAGE),
};

/**
 * Makes `blocks` live and puts `extents` into the file, trimming and splitting what they cover; all or nothing. The
 * length becomes `size` if given (which may cut the file), else it grows to the end of the last extent.
 */
export const commit = request(
  0x0402,
  "content.commit",
  record({
    ...mutationHead,
    inode: inodeField,
    ...content,
    size: optional(uint53),
    mtimeNs: optional(int64),
    /** Refuse (`conflict`) unless the file has this length before. */
    expectedSize: optional(uint53),
  }),
  record({ ...mutationReplyHead, attributes }),
);

/** What a new file has besides its content; used by `nameless` and `put`. */
const birth = {
  mode: uint(0o7777),
  uid: uint(),
  gid: uint(),
  base: uint(),
};

/** Creates a regular file without a name, opened by this session; it vanishes with the session unless it is placed. */
export const nameless = request(
  0x0403,
  "content.nameless",
  record({ ...mutationHead, ...birth }),
  record({ ...mutationReplyHead, attributes }),
);

/** How a new file takes over a name. */
const takeover = {
  parent: inodeField,
  name: nameField,
  /** Refuse (`exists`) when the name is taken. */
  exclusive: bool,
  /** When a file is replaced, keep its mode, owner and extended attributes instead of the new file's. */
  keepReplaced: bool,
  /** Null: the service's now. */
  atimeNs: optional(int64),
  mtimeNs: optional(int64),
};

/**
 * Gives a nameless file its name, atomically replacing a regular file or symbolic link that has it (a directory is
 * refused with `isDirectory`). Sessions that have the replaced file open keep it.
 */
export const place = request(
  0x0404,
  "content.place",
  record({ ...mutationHead, inode: inodeField, ...takeover }),
  record({ ...mutationReplyHead, attributes, replaced: bool }),
);

/** `nameless`, one `commit` and `place` in one transaction: the whole of a small file in one round trip. */
export const put = request(
  0x0405,
  "content.put",
  record({ ...mutationHead, ...birth, ...content, size: uint53, ...takeover }),
  record({ ...mutationReplyHead, attributes, replaced: bool }),
);

/**
 * Makes a range of a regular file a hole. The length stays, or grows to `minSize`. When many extents are in the range only a
 * part of it is done; the client goes on behind it.
 */
export const punch = request(
  0x0406,
  "content.punch",
  record({
    ...mutationHead,
    inode: inodeField,
    offset: uint53,
    length: uint53,
    /** The file has at least this length afterwards. */
    minSize: uint53,
  }),
  record({
    ...mutationReplyHead,
    attributes,
    /** Bytes of the range that have been dealt with, from its start. */
    done: uint53,
  }),
);

/**
 * Makes a range of a regular file show what a range of another one, or of the same, shows: the blocks are named by both. Holes
 * become holes. Ends with the source; when many extents are in a range only a part is done.
 */
export const clone = request(
  0x0407,
  "content.clone",
  record({
    ...mutationHead,
    source: inodeField,
    sourceOffset: uint53,
    inode: inodeField,
    offset: uint53,
    length: uint53,
  }),
  record({
    ...mutationReplyHead,
    /** Of the file that was changed. */
    attributes,
    /** Bytes that have been dealt with, from the start; 0 at the end of the source. */
    done: uint53,
  }),
);
