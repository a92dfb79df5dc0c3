/**
 * The namespace: names, inodes and attributes. Client to metadata service, codes 0x02xx (questions) and 0x03xx (changes).
 *
 * Times are set by the service unless given. Permissions are not checked here: a client acts for a user whom it has
 * checked itself, as the kernel does for a mount (docs/consistency.md).
 */
import {
  MAX_ENTRIES_PER_PAGE,
  MAX_EXTENTS_PER_MESSAGE,
  MAX_SYMLINK_BYTES,
  MAX_XATTR_LIST_BYTES,
  MAX_XATTR_VALUE_BYTES,
} from "../../base/limits.ts";
import { mutationHead, mutationReplyHead, nothing, request } from "../message.ts";
import {
  bool,
  bytes,
  choice,
  int64,
  list,
  optional,
  record,
  uint,
  uint53,
  uint64,
} from "../schema.ts";
import {
  attributes,
  fileType,
  inodeField,
  mappedExtent,
  nameField,
  pathField,
  xattrNameField,
} from "./common.ts";

// ---- Questions -----------------------------------------------------------------------------------------------------

/**
 * Walks a path from a directory, following symbolic links on the way and, when asked, at its end. `.` and `..` are
 * walked too; `..` of the root is the root; a leading `/` starts at the root.
 */
export const resolve = request(
  0x0201,
  "namespace.resolve",
  record({ start: inodeField, path: pathField, followLast: bool }),
  record({ attributes }),
);

/** Finds one name in a directory. `.` and `..` are names of the directory itself and of its parent. */
export const lookup = request(
  0x0202,
  "namespace.lookup",
  record({ parent: inodeField, name: nameField }),
  record({ attributes }),
);

export const getattr = request(
  0x0203,
  "namespace.getattr",
  record({ inode: inodeField }),
  record({ attributes }),
);

/** A page of a directory, in the byte order of the names, starting behind the name `after`. */
export const readdir = request(
  0x0204,
  "namespace.readdir",
  record({
    directory: inodeField,
    after: optional(nameField),
    limit: uint(MAX_ENTRIES_PER_PAGE),
    withAttributes: bool,
  }),
  record({
    entries: list(
      record({
        name: nameField,
        inode: inodeField,
        type: fileType,
        attributes: optional(attributes),
        /** Whether it has extended attributes; null unless attributes are asked for, and from an older service. */
        hasXattrs: optional(bool),
      }),
      MAX_ENTRIES_PER_PAGE,
    ),
    /** True when names may follow behind the last one. */
    more: bool,
  }),
);

export const readlink = request(
  0x0205,
  "namespace.readlink",
  record({ inode: inodeField }),
  record({ target: bytes(MAX_SYMLINK_BYTES) }),
);

export const xattrGet = request(
  0x0206,
  "namespace.xattrGet",
  record({ inode: inodeField, name: xattrNameField }),
  record({ value: bytes(MAX_XATTR_VALUE_BYTES) }),
);

export const xattrList = request(
  0x0207,
  "namespace.xattrList",
  record({ inode: inodeField }),
  record({ names: list(xattrNameField, MAX_XATTR_LIST_BYTES) }),
);

export const statfs = request(
  0x0208,
  "namespace.statfs",
  nothing,
  record({
    /** Sum over the usable servers, divided by the number of copies. */
    capacityBytes: uint53,
    availableBytes: uint53,
    inodes: uint53,
  }),
);

/** The extents that overlap a range of a file, in order of offset; what lies between them is a hole. */
export const map = request(
  0x0209,
  "namespace.map",
  record({
    inode: inodeField,
    offset: uint53,
    length: uint53,
    limit: uint(MAX_EXTENTS_PER_MESSAGE),
  }),
  record({
    version: uint64,
    size: uint53,
    extents: list(mappedExtent, MAX_EXTENTS_PER_MESSAGE),
    /** True when extents of the range may follow behind the last one. */
    more: bool,
  }),
);

/**
 * Resolves `path` from `start` (an empty path is `start` itself), following symbolic links, and registers that this
 * session has the inode open: it and its content stay until the session releases it, even when its last name goes.
 * The reply brings the first extents of a file, so that a small file costs one round trip.
 */
export const open = request(
  0x020a,
  "namespace.open",
  record({ start: inodeField, path: pathField, limit: uint(MAX_EXTENTS_PER_MESSAGE) }),
  record({ attributes, extents: list(mappedExtent, MAX_EXTENTS_PER_MESSAGE), more: bool }),
);

/** Gives up `open`s of this session, one for each time that an inode is named. */
export const release = request(
  0x020b,
  "namespace.release",
  record({ inodes: list(inodeField, MAX_ENTRIES_PER_PAGE) }),
  nothing,
);

/**
 * Files that have been read: their access times, where these are later than what is on record. Nothing else of the inode changes,
 * and an access that gets lost is no harm.
 */
export const accessed = request(
  0x020c,
  "namespace.accessed",
  record({
    accesses: list(record({ inode: inodeField, atimeNs: int64 }), MAX_ENTRIES_PER_PAGE),
  }),
  nothing,
);

// ---- Changes -------------------------------------------------------------------------------------------------------

const owner = { mode: uint(0o7777), uid: uint(), gid: uint() };
const place = { parent: inodeField, name: nameField };
/**
 * The directory of the name, as the change has left it: its version is one more than before, so who knew it before knows whether
 * anybody else has changed names there. Null: nothing was changed, or an older service does not tell.
 */
const directory = optional(attributes);

/**
 * Creates an empty regular file, or finds the existing one when `exclusive` is false (O_CREAT without O_EXCL); an
 * existing name that is not a regular file is refused. With `open` the session has it open at once.
 */
export const create = request(
  0x0301,
  "namespace.create",
  record({ ...mutationHead, ...place, ...owner, base: uint(), exclusive: bool, open: bool }),
  record({ ...mutationReplyHead, attributes, created: bool, directory }),
);

export const mkdir = request(
  0x0302,
  "namespace.mkdir",
  record({ ...mutationHead, ...place, ...owner }),
  record({ ...mutationReplyHead, attributes, directory }),
);

export const symlink = request(
  0x0303,
  "namespace.symlink",
  record({
    ...mutationHead,
    ...place,
    uid: uint(),
    gid: uint(),
    target: bytes(MAX_SYMLINK_BYTES + 1),
  }),
  record({ ...mutationReplyHead, attributes, directory }),
);

/** Creates a fifo, socket or device node; `rdev` is that of makedev(3). */
export const mknod = request(
  0x0304,
  "namespace.mknod",
  record({ ...mutationHead, ...place, ...owner, type: fileType, rdev: uint() }),
  record({ ...mutationReplyHead, attributes, directory }),
);

export const link = request(
  0x0305,
  "namespace.link",
  record({ ...mutationHead, inode: inodeField, ...place }),
  record({ ...mutationReplyHead, attributes, directory }),
);

export const unlink = request(
  0x0306,
  "namespace.unlink",
  record({ ...mutationHead, ...place }),
  record({
    ...mutationReplyHead,
    /** The inode, when that was its last name and this session alone has it open: nobody else will ever read it. */
    orphan: optional(inodeField),
    directory,
  }),
);

export const rmdir = request(
  0x0307,
  "namespace.rmdir",
  record({ ...mutationHead, ...place }),
  record({ ...mutationReplyHead, directory }),
);

/** rename(2) and renameat2(2). */
export const rename = request(
  0x0308,
  "namespace.rename",
  record({
    ...mutationHead,
    ...place,
    newParent: inodeField,
    newName: nameField,
    how: choice({ replace: 0, noReplace: 1, exchange: 2 }),
  }),
  record({
    ...mutationReplyHead,
    /** The inode that was replaced, when that was its last name and this session alone has it open. */
    orphan: optional(inodeField),
  }),
);

/** Fields that are null stay as they are. A time may be set to the service's now. */
export const setattr = request(
  0x0309,
  "namespace.setattr",
  record({
    ...mutationHead,
    inode: inodeField,
    mode: optional(uint(0o7777)),
    uid: optional(uint()),
    gid: optional(uint()),
    /** Truncates or extends (with a hole) a regular file. */
    size: optional(uint53),
    atimeNs: optional(int64),
    mtimeNs: optional(int64),
    atimeNow: bool,
    mtimeNow: bool,
  }),
  record({ ...mutationReplyHead, attributes }),
);

export const xattrSet = request(
  0x030a,
  "namespace.xattrSet",
  record({
    ...mutationHead,
    inode: inodeField,
    name: xattrNameField,
    value: bytes(MAX_XATTR_VALUE_BYTES + 1),
    how: choice({ any: 0, create: 1, replace: 2 }),
  }),
  record({ ...mutationReplyHead }),
);

export const xattrRemove = request(
  0x030b,
  "namespace.xattrRemove",
  record({ ...mutationHead, inode: inodeField, name: xattrNameField }),
  record({ ...mutationReplyHead }),
);
