/**
 * Fields and records that several messages share.
 */
import type {
  BlockId,
  ClusterId,
  IncarnationId,
  InodeId,
  InstanceId,
  ReignId,
  ServerId,
  SessionId,
} from "../../base/ids.ts";
import {
  MAX_BLOCK_BYTES,
  MAX_PATH_BYTES,
  MAX_REPLICAS,
  MAX_XATTR_NAME_BYTES,
} from "../../base/limits.ts";
import {
  bytes,
  choice,
  id,
  int64,
  list,
  optional,
  record,
  smallId,
  text,
  uint,
  uint53,
  uint64,
  type Infer,
} from "../schema.ts";

export const inodeField = id<InodeId>("inode");
export const blockField = id<BlockId>("block");
export const sessionField = id<SessionId>("session");
export const serverField = smallId<ServerId>("server");
export const reignField = id<ReignId>("reign");
export const instanceField = id<InstanceId>("instance");
export const incarnationField = id<IncarnationId>("incarnation");

/** A name in a directory: 1 to 255 bytes; the service refuses `/`, NUL, `.` and `..`. Longer ones are ENAMETOOLONG there. */
export const nameField = bytes(MAX_PATH_BYTES + 1, 0);

/** A path: bytes, components separated by `/`. One byte over the limit is let through so that the service can refuse it by name. */
export const pathField = bytes(MAX_PATH_BYTES + 1);

export const xattrNameField = bytes(MAX_XATTR_NAME_BYTES + 1);

/** A listening address, `host:port`. */
export const addressField = text(300);

/** File types, with the numbers of `d_type` in dirent.h. */
export const fileType = choice({
  fifo: 1,
  characterDevice: 2,
  directory: 4,
  blockDevice: 6,
  file: 8,
  symlink: 10,
  socket: 12,
});
export type FileType = Infer<typeof fileType>;

/** What stat(2) tells, and what caches compare. */
export const attributes = record({
  inode: inodeField,
  type: fileType,
  /** The twelve permission bits, 0o7777. */
  mode: uint(0o7777),
  uid: uint(),
  gid: uint(),
  nlink: uint(),
  /** Length in bytes. */
  size: uint53,
  /** Bytes that extents cover; what `st_blocks` counts in units of 512. */
  allocated: uint53,
  /** Device number of a device node, as makedev(3) packs it; 0 otherwise. */
  rdev: uint(),
  atimeNs: int64,
  mtimeNs: int64,
  ctimeNs: int64,
  /** Rises with every change of content. */
  version: uint64,
  /** Hash of the path at creation; decides the placement groups. */
  base: uint(),
});
export type Attributes = Infer<typeof attributes>;

/** A block that a commit makes live. */
export const newBlock = record({
  block: blockField,
  /** Bytes in the block. */
  length: uint(MAX_BLOCK_BYTES),
  checksum: uint64,
  /** Placement group that the block belongs to. */
  group: uint(),
  /** The servers that have acknowledged it as durable. */
  servers: list(serverField, MAX_REPLICAS),
  /**
   * The incarnations of these servers that have, in the same order: one that lost its disk since has another one. Null: not
   * known.
   */
  incarnations: optional(list(incarnationField, MAX_REPLICAS)),
});
export type NewBlock = Infer<typeof newBlock>;

/** A part of a file that lies in a block. */
export const newExtent = record({
  /** Offset in the file. */
  offset: uint53,
  length: uint(MAX_BLOCK_BYTES),
  block: blockField,
  /** Where the extent's bytes begin in the block. */
  blockOffset: uint(MAX_BLOCK_BYTES),
});
export type NewExtent = Infer<typeof newExtent>;

/** An extent with everything that a reader needs to fetch and verify it. */
export const mappedExtent = record({
  offset: uint53,
  length: uint(MAX_BLOCK_BYTES),
  block: blockField,
  blockOffset: uint(MAX_BLOCK_BYTES),
  blockLength: uint(MAX_BLOCK_BYTES),
  checksum: uint64,
  /** Servers with a present replica, in placement order; those that are out last. */
  servers: list(serverField, MAX_REPLICAS),
});
export type MappedExtent = Infer<typeof mappedExtent>;

/** What was decided when the cluster was formatted, and the quorums in force. */
export const clusterSettings = record({
  cluster: bytes(16, 16),
  blockSize: uint(MAX_BLOCK_BYTES),
  replicas: uint(MAX_REPLICAS),
  writeQuorum: uint(MAX_REPLICAS),
  readQuorum: uint(MAX_REPLICAS),
});
export type ClusterSettings = Infer<typeof clusterSettings>;

/** The cluster id of its 16 bytes, and back. */
export function clusterIdOf(bytes16: Uint8Array): ClusterId {
  return bytes16.toHex() as ClusterId;
}
export function clusterIdBytes(cluster: ClusterId): Uint8Array {
  return Uint8Array.fromHex(cluster);
}
