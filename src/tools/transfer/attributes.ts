/**
 * Attributes of local files and of files in the cluster, and which of them a copy takes over.
 *
 * Without -p a copy belongs to the user who makes it, has the source's permission bits less the umask, and the present
 * time. With -p it has the source's mode, times and user.* extended attributes, and, for the superuser, its owner.
 */
import type { BigIntStats } from "node:fs";
import type { DfsClient, FileOwner } from "../../client/api.ts";
import type { Attributes, FileType } from "../../protocol/messages/common.ts";
import { isSuperuser, ownOwner, withUmask } from "../shared/ownership.ts";
import { getAttribute, listAttributes, setAttribute, type FileTimes } from "./native.ts";

const ALL_PERMISSIONS = 0o777;
const ALL_MODE_BITS = 0o7777;
const TYPE_MASK = 0o170000; // S_IFMT, stat.h

/** Type bits of a mode, as in stat.h. */
export const TYPE_BITS: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  characterDevice: 0o020000,
  directory: 0o040000,
  blockDevice: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

/** Only these extended attributes are copied: others mean something to one machine, or grant rights on it. */
const USER_PREFIX = "user.";

/** The type of a local file. */
export function typeOf(stats: BigIntStats): FileType {
  const bits = Number(stats.mode) & TYPE_MASK;
  for (const [type, its] of Object.entries(TYPE_BITS)) {
    if (its === bits) return type as FileType;
  }
  return "file";
}

export function timesOf(stats: BigIntStats): FileTimes {
  return { atimeNs: stats.atimeNs, mtimeNs: stats.mtimeNs };
}

/** Mode and owner of the copy of a local file in the cluster. */
export function remoteOwner(stats: BigIntStats, preserve: boolean): FileOwner {
  const mode = Number(stats.mode);
  const own = ownOwner(mode & ALL_PERMISSIONS);
  if (!preserve) return own;
  const kept = { ...own, mode: mode & ALL_MODE_BITS };
  return isSuperuser() ? { ...kept, uid: Number(stats.uid), gid: Number(stats.gid) } : kept;
}

/** Permission bits of the local copy of a file in the cluster. */
export function localMode(attributes: Attributes, preserve: boolean): number {
  return preserve ? attributes.mode : withUmask(attributes.mode & ALL_PERMISSIONS);
}

/** Copies the user's extended attributes of a local file to the cluster. */
export async function sendAttributes(
  client: DfsClient,
  from: Uint8Array,
  to: Uint8Array,
): Promise<void> {
  for (const name of listAttributes(from)) {
    if (name.toString("latin1").startsWith(USER_PREFIX)) {
      await client.xattrSet(to, name, getAttribute(from, name));
    }
  }
}

/** Copies the user's extended attributes of a file in the cluster to a local one. */
export async function fetchAttributes(
  client: DfsClient,
  from: Uint8Array,
  to: Uint8Array,
): Promise<void> {
  for (const name of await client.xattrList(from)) {
    if (Buffer.from(name).toString("latin1").startsWith(USER_PREFIX)) {
      setAttribute(to, name, await client.xattrGet(from, name));
    }
  }
}
