/**
 * Numbers of the Linux FUSE kernel protocol, under the names of `linux/fuse.h` and `asm-generic/fcntl.h`.
 */

/** The protocol that is spoken here. The kernel goes down to the smaller of the two minor versions. */
export const FUSE_KERNEL_VERSION = 7;
/** What is implemented; a higher one would promise messages and fields that are not. */
export const FUSE_KERNEL_MINOR_VERSION = 38;
/** Linux 5.4. Older ones have shorter structures, which are not implemented. */
export const OLDEST_MINOR_VERSION = 31;

export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
} as const;

/** Flags of INIT: what kernel and server agree on. Those from 2^32 on travel in a second word, `flags2`. */
export const INIT_FLAG = {
  ASYNC_READ: 1n << 0n,
  POSIX_LOCKS: 1n << 1n,
  ATOMIC_O_TRUNC: 1n << 3n,
  BIG_WRITES: 1n << 5n,
  FLOCK_LOCKS: 1n << 10n,
  AUTO_INVAL_DATA: 1n << 12n,
  DO_READDIRPLUS: 1n << 13n,
  ASYNC_DIO: 1n << 15n,
  PARALLEL_DIROPS: 1n << 18n,
  ABORT_ERROR: 1n << 21n,
  MAX_PAGES: 1n << 22n,
  CACHE_SYMLINKS: 1n << 23n,
  EXPLICIT_INVAL_DATA: 1n << 25n,
  HANDLE_KILLPRIV_V2: 1n << 28n,
  INIT_EXT: 1n << 30n,
  HAS_EXPIRE_ONLY: 1n << 35n,
  DIRECT_IO_ALLOW_MMAP: 1n << 36n,
} as const;

/** Which fields of SETATTR are set. */
export const FATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  KILL_SUIDGID: 1 << 11,
} as const;

/** What the reply to an OPEN tells the kernel to do with this open file. */
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;

export const FUSE_GETATTR_FH = 1 << 0;
export const FUSE_OPEN_KILL_SUIDGID = 1 << 0;
export const FUSE_WRITE_CACHE = 1 << 0;
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2;
export const FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1;
export const FUSE_LK_FLOCK = 1 << 0;

export const NOTIFY = { INVAL_INODE: 2, INVAL_ENTRY: 3, INC_EPOCH: 8 } as const;
/** In INVAL_ENTRY: the name is asked for again before it is used; nobody who stands in it is thrown out. */
export const FUSE_EXPIRE_ONLY = 1 << 0;

// open(2). O_DIRECT is the one whose number differs between x86-64 and arm64.
export const O_ACCMODE = 0o3;
export const O_RDONLY = 0o0;
export const O_WRONLY = 0o1;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
/** O_SYNC has this bit and one more. */
export const O_DSYNC = 0o10000;
export const O_DIRECT = process.arch === "arm64" ? 0o200000 : 0o40000;

// stat(2)
export const S_IFMT = 0o170000;

// fallocate(2)
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_COLLAPSE_RANGE = 0x08;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const FALLOC_FL_INSERT_RANGE = 0x20;

// rename(2), xattr(7), lseek(2), fcntl(2)
export const RENAME_NOREPLACE = 1 << 0;
export const RENAME_EXCHANGE = 1 << 1;
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

/** Sizes of structures, in bytes. */
export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
/** `fuse_in_header` and `fuse_write_in`, with room to spare, as the kernel wants it before the largest write. */
export const REQUEST_HEADROOM_BYTES = 4096;
/** Smallest buffer that the kernel reads into. */
export const FUSE_MIN_READ_BUFFER = 8192;

/** Largest write, and largest read of O_DIRECT: 256 pages of 4 KiB, the kernel's own default limit. */
export const MAX_TRANSFER_BYTES = 1024 * 1024;
export const PAGE_BYTES = 4096;
