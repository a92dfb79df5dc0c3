/**
 * Attributes of local files and of files in the cluster, and which of them a copy takes over.
 *
 * Without -p a copy belongs to the user who makes it, has the source's permission bits less the umask, and the present
 * time. With -p it has the source's mode, times and user.* extended attributes, and, for the superuser, its owner. Set-id bits are not
 * kept without the owner.
 */
import type { BigIntStats } from "node:fs";
import { systemCodeOf } from "../../base/errors.ts";
import type { DfsClient, FileOwner } from "../../client/api.ts";
import type { Attributes, FileType } from "../../protocol/messages/common.ts";
import { isSuperuser, ownOwner, withUmask } from "../shared/ownership.ts";
import {
  getAttribute,
  listAttributes,
  removeAttribute,
  setAttribute,
  type FileTimes,
} from "./native.ts";

const ALL_PERMISSIONS = 0o777;
const ALL_MODE_BITS = 0o7777;
const STICKY_BIT = 0o1000; // S_ISVTX
const SET_ID_BITS = 0o6000; // S_ISUID, S_ISGID
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
  const own = ownOwner(copiedMode(mode, typeOf(stats)));
  if (!preserve) return own;
  const [uid, gid] = [Number(stats.uid), Number(stats.gid)];
  if (isSuperuser()) return { mode: mode & ALL_MODE_BITS, uid, gid };
  return { ...own, mode: keptMode(mode & ALL_MODE_BITS, uid, gid) };
}

/** Permission bits of the local copy of a file in the cluster. */
export function localMode({ type, mode, uid, gid }: Attributes, preserve: boolean): number {
  return preserve ? keptMode(mode, uid, gid) : withUmask(copiedMode(mode, type));
}

/** What of a mode a copy gets without -p, less the umask: as with cp -r, a directory that all may write to stays sticky. */
export function copiedMode(mode: number, type: FileType): number {
  return mode & (type === "directory" ? ALL_PERMISSIONS | STICKY_BIT : ALL_PERMISSIONS);
}

/** What is to run as its owner or group does not run as somebody else because the owner could not be kept, as with cp -p. */
export function keptMode(mode: number, uid: number, gid: number): number {
  const own = ownOwner(0);
  const isKept = isSuperuser() || (uid === own.uid && gid === own.gid);
  return isKept ? mode : mode & ~SET_ID_BITS;
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

/**
 * Copies the user's extended attributes of a file in the cluster to a local one. Returns false when there are some and the local
 * file system has no such thing, as NFS.
 */
export async function fetchAttributes(
  client: DfsClient,
  from: Uint8Array,
  to: Uint8Array,
  follow = false,
): Promise<boolean> {
  for (const [, name] of usersOf(await client.xattrList(from))) {
    try {
      setAttribute(to, name, await client.xattrGet(from, name), follow);
    } catch (error) {
      if (systemCodeOf(error) !== "ENOTSUP") throw error;
      return false;
    }
  }
  return true;
}

/** Removes those user's attributes of a file in the cluster that the local one has not. */
export async function removeOtherAttributes(
  client: DfsClient,
  from: Uint8Array,
  to: Uint8Array,
): Promise<void> {
  const kept = usersOf(listAttributes(from));
  for (const [text, name] of usersOf(await client.xattrList(to))) {
    if (!kept.has(text)) await client.xattrRemove(to, name);
  }
}

/** Removes those user's attributes of a local file that the one in the cluster has not. */
export async function removeOtherLocalAttributes(
  client: DfsClient,
  from: Uint8Array,
  to: Uint8Array,
): Promise<void> {
  const there = usersOf(listAttributes(to));
  if (there.size === 0) return;
  const kept = usersOf(await client.xattrList(from));
  for (const [text, name] of there) if (!kept.has(text)) removeAttribute(to, name);
}

/** The user's among the names of attributes, each as text that can be compared. */
function usersOf(names: readonly Uint8Array[]): Map<string, Uint8Array> {
  const texts = names.map((name) => [Buffer.from(name).toString("latin1"), name] as const);
  return new Map(texts.filter(([text]) => text.startsWith(USER_PREFIX)));
}
