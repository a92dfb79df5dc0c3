/**
 * INIT: the first request, in which kernel and driver agree on a version and on what both can do.
 *
 * What is asked for, and why; docs/mount.md has the reasons at length:
 *   ASYNC_READ, ASYNC_DIO     several reads of one file at a time
 *   BIG_WRITES, MAX_PAGES     up to 1 MiB in one request
 *   ATOMIC_O_TRUNC            open and truncate in one request, so in one round trip
 *   DO_READDIRPLUS            attributes come with names
 *   PARALLEL_DIROPS           lookups and listings of one directory at the same time
 *   POSIX_LOCKS, FLOCK_LOCKS  locks are shared by all mounts, so they are asked for here and not kept by the kernel
 *   AUTO_INVAL_DATA           pages are dropped when size or mtime have changed: no stale bytes beyond the timeout;
 *   or EXPLICIT_INVAL_DATA    only notices and opens drop pages: what one has written oneself stays in memory
 *   HANDLE_KILLPRIV_V2        setuid bits are cleared by the server, and writes need no getxattr first
 *   CACHE_SYMLINKS            a target never changes while its inode lives
 *   ABORT_ERROR               tells an aborted connection from one that was unmounted
 *   DIRECT_IO_ALLOW_MMAP      shared mappings also where the kernel caches nothing
 *   HAS_EXPIRE_ONLY           a name is asked for again, and nobody who works below it is thrown out
 * Not asked for: READDIRPLUS_AUTO (with it the attributes come only for the first part of a directory and after lookups; find,
 * rm and rsync read a whole directory before they look, and would then cause one request per file), WRITEBACK_CACHE (the kernel would go by its own size and mtime while others write), DONT_MASK (the kernel
 * applies the umask), POSIX_ACL (there are none), EXPORT_SUPPORT (lookups of inodes that the kernel has forgotten).
 */
import { DfsError } from "../../../base/errors.ts";
import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  INIT_FLAG,
  MAX_TRANSFER_BYTES,
  OLDEST_MINOR_VERSION,
  PAGE_BYTES,
} from "./constants.ts";
import type { ReplyBody } from "./reply.ts";
import type { Request } from "./request.ts";

/** Without MAX_PAGES a request has at most 32 pages. */
const TRANSFER_BYTES_WITHOUT_MAX_PAGES = 32 * PAGE_BYTES;
/** Requests that nobody waits for (read-ahead, asynchronous I/O) that the kernel sends at a time. */
const MAX_BACKGROUND = 64;
/** From here on the kernel calls the device congested and holds read-ahead back. */
const CONGESTION_THRESHOLD = 48;

/**
 * What the kernel keeps of contents: nothing; pages, until it sees another size or mtime, or is told; or pages until it is told.
 */
export type CacheMode = "none" | "auto" | "always";

/** What the kernel offers. */
export interface Offer {
  readonly major: number;
  readonly minor: number;
  readonly maxReadAheadBytes: number;
  readonly flags: bigint;
}

/** What holds from now on. */
export interface Agreement {
  readonly minor: number;
  readonly maxReadAheadBytes: number;
  readonly maxWriteBytes: number;
  readonly flags: bigint;
}

export interface Wishes {
  readonly maxWriteBytes: number;
  readonly cache: CacheMode;
}

/** `fuse_init_in`. Kernels before INIT_EXT send 16 bytes, later ones 64. */
export function decodeOffer(request: Request): Offer {
  const major = request.uint32();
  const minor = request.uint32();
  const maxReadAheadBytes = request.uint32();
  let flags = BigInt(request.uint32());
  if ((flags & INIT_FLAG.INIT_EXT) !== 0n) flags |= BigInt(request.uint32()) << 32n;
  return { major, minor, maxReadAheadBytes, flags };
}

function wantedFlags(wishes: Wishes): bigint {
  let wanted = 0n;
  for (const flag of Object.values(INIT_FLAG)) wanted |= flag;
  const { AUTO_INVAL_DATA, EXPLICIT_INVAL_DATA } = INIT_FLAG;
  return wanted & ~(wishes.cache === "always" ? AUTO_INVAL_DATA : EXPLICIT_INVAL_DATA);
}

/** @throws DfsError `unsupported` when the kernel is too old. */
export function agree(offer: Offer, wishes: Wishes): Agreement {
  if (offer.major !== FUSE_KERNEL_VERSION || offer.minor < OLDEST_MINOR_VERSION) {
    throw new DfsError(
      "unsupported",
      `cannot serve a mount: this kernel speaks version ${offer.major}.${offer.minor} of the FUSE protocol, ` +
        `${FUSE_KERNEL_VERSION}.${OLDEST_MINOR_VERSION} (Linux 5.4) is the oldest that will do`,
    );
  }
  const flags = offer.flags & wantedFlags(wishes);
  const largest =
    (flags & INIT_FLAG.MAX_PAGES) === 0n ? TRANSFER_BYTES_WITHOUT_MAX_PAGES : MAX_TRANSFER_BYTES;
  return {
    minor: Math.min(offer.minor, FUSE_KERNEL_MINOR_VERSION),
    maxReadAheadBytes: offer.maxReadAheadBytes,
    maxWriteBytes: Math.max(PAGE_BYTES, Math.min(largest, wishes.maxWriteBytes)),
    flags,
  };
}

/** `fuse_init_out`, 64 bytes. */
export function encodeAgreement(body: ReplyBody, agreement: Agreement): void {
  body.uint32(FUSE_KERNEL_VERSION);
  body.uint32(agreement.minor);
  body.uint32(agreement.maxReadAheadBytes);
  body.uint32(Number(agreement.flags & 0xffff_ffffn));
  body.uint16(MAX_BACKGROUND);
  body.uint16(CONGESTION_THRESHOLD);
  body.uint32(agreement.maxWriteBytes);
  body.uint32(1); // time_gran: nanoseconds
  body.uint16(Math.ceil(agreement.maxWriteBytes / PAGE_BYTES)); // max_pages
  body.uint16(0); // map_alignment
  body.uint32(Number(agreement.flags >> 32n));
  body.zeros(28);
}

/** The reply to a kernel with a later major version: it then sends INIT again, in ours. */
export function encodeVersionOnly(body: ReplyBody): void {
  body.uint32(FUSE_KERNEL_VERSION);
  body.uint32(FUSE_KERNEL_MINOR_VERSION);
  body.zeros(56);
}
