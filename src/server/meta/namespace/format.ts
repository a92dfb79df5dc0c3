/** A new cluster's metadata, and its settings. */
import { assert, DfsError } from "../../../base/errors.ts";
import { ROOT_INODE } from "../../../base/ids.ts";
import { MAX_BLOCK_BYTES, MAX_REPLICAS, MIN_BLOCK_BYTES } from "../../../base/limits.ts";
import {
  clusterIdBytes,
  clusterIdOf,
  type ClusterSettings,
} from "../../../protocol/messages/common.ts";
import type { ClusterId } from "../../../base/ids.ts";
import { ask, type Operation } from "../store/store.ts";
import type { Moment } from "./context.ts";
import { NEW_DIRECTORY_NLINK } from "./inodes.ts";

/** Owner of the root directory of a new cluster. */
export interface RootOwner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Fills an empty store: the settings and the root directory.
 * @throws DfsError `invalid` for settings out of their domain, `exists` when the store has been formatted.
 */
export function* format(
  moment: Moment,
  settings: ClusterSettings,
  owner: RootOwner,
): Operation<void> {
  checkSettings(settings);
  if ((yield* ask("meta.get", "cluster")) !== undefined) {
    throw new DfsError("exists", "the metadata store has been formatted before");
  }
  yield* ask("meta.put", "cluster", clusterIdOf(settings.cluster));
  yield* storeSettings(settings);
  yield* ask("inode.insert", {
    id: ROOT_INODE,
    type: "directory",
    mode: owner.mode,
    uid: owner.uid,
    gid: owner.gid,
    nlink: NEW_DIRECTORY_NLINK,
    size: 0,
    allocated: 0,
    rdev: 0,
    atimeNs: moment.nowNs,
    mtimeNs: moment.nowNs,
    ctimeNs: moment.nowNs,
    version: 1n,
    base: 0,
    parent: ROOT_INODE,
  });
}

/** Stores the settings of a formatted cluster, all but its id. @throws DfsError `invalid`. */
export function* storeSettings(settings: ClusterSettings): Operation<void> {
  checkSettings(settings);
  yield* ask("meta.put", "blockSize", String(settings.blockSize));
  yield* ask("meta.put", "replicas", String(settings.replicas));
  yield* ask("meta.put", "writeQuorum", String(settings.writeQuorum));
  yield* ask("meta.put", "readQuorum", String(settings.readQuorum));
}

/** The settings of a formatted cluster; undefined when the store is empty. */
export function* loadSettings(): Operation<ClusterSettings | undefined> {
  const cluster = yield* ask("meta.get", "cluster");
  if (cluster === undefined) return undefined;
  return {
    cluster: clusterIdBytes(cluster as ClusterId),
    blockSize: yield* setting("blockSize"),
    replicas: yield* setting("replicas"),
    writeQuorum: yield* setting("writeQuorum"),
    readQuorum: yield* setting("readQuorum"),
  };
}

/** @throws DfsError `invalid`, naming the setting and its limits. */
export function checkSettings(settings: ClusterSettings): void {
  checkRange("block size", settings.blockSize, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES);
  checkRange("number of replicas", settings.replicas, 1, MAX_REPLICAS);
  checkRange("write quorum", settings.writeQuorum, 1, settings.replicas);
  checkRange("read quorum", settings.readQuorum, 1, settings.replicas);
}

function checkRange(what: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new DfsError(
    "invalid",
    `the ${what} must be an integer from ${least} to ${most}, not ${value}`,
  );
}

function* setting(key: string): Operation<number> {
  const value = yield* ask("meta.get", key);
  assert(value !== undefined && /^\d+$/.test(value), `the setting ${key} is not a number`);
  return Number(value);
}
