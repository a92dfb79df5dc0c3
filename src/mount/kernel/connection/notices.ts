/**
 * Notices to the kernel: what it holds of an inode or of a name is out of date. They look like replies to request 0, with the
 * kind of notice in place of the error:
 *
 *     INVAL_INODE  u64 ino, i64 off, i64 len     off -1: the attributes only; off 0, len 0: all pages too
 *     INVAL_ENTRY  u64 parent, u32 namelen, u32 flags, name, NUL
 *     INC_EPOCH    nothing; every name that the kernel holds is asked for again (Linux 6.16)
 */
import type { InodeId } from "../../../base/ids.ts";
import { FUSE_EXPIRE_ONLY, NOTIFY, OUT_HEADER_BYTES } from "../protocol/constants.ts";

export interface NotifyOrder {
  readonly fd: number;
  readonly notices: readonly Uint8Array[];
}

export interface NotifyReport {
  readonly results: readonly number[];
}

function notice(kind: number, bodyBytes: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(OUT_HEADER_BYTES + bodyBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setInt32(4, kind, true);
  return { bytes, view };
}

export function inodeNotice(inode: InodeId, content: boolean): Uint8Array {
  const { bytes, view } = notice(NOTIFY.INVAL_INODE, 24);
  view.setBigUint64(16, inode, true);
  view.setBigInt64(24, content ? 0n : -1n, true);
  return bytes;
}

export function entryNotice(parent: InodeId, name: Uint8Array, expireOnly: boolean): Uint8Array {
  const { bytes, view } = notice(NOTIFY.INVAL_ENTRY, 16 + name.length + 1);
  view.setBigUint64(16, parent, true);
  view.setUint32(24, name.length, true);
  view.setUint32(28, expireOnly ? FUSE_EXPIRE_ONLY : 0, true);
  bytes.set(name, 32);
  return bytes;
}

export function epochNotice(): Uint8Array {
  return notice(NOTIFY.INC_EPOCH, 0).bytes;
}
