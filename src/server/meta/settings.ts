/**
 * The settings of a cluster: decided when it is formatted, kept in the database, told to everybody who connects.
 */
import { DfsError } from "../../base/errors.ts";
import { clusterId } from "../../base/ids.ts";
import {
  DEFAULT_BLOCK_BYTES,
  MAX_BLOCK_BYTES,
  MAX_REPLICAS,
  MIN_BLOCK_BYTES,
} from "../../base/limits.ts";
import type { Random } from "../../base/random.ts";
import {
  clusterIdBytes,
  clusterIdOf,
  type ClusterSettings,
} from "../../protocol/messages/common.ts";
import { ask, type Operation } from "./store/store.ts";

/** What an operator may ask for; what is left out is the default, or whatever the cluster has. */
export interface SettingsWish {
  /** Bytes of a block. */
  readonly blockSize?: number;
  /** Copies of each block. */
  readonly replicas?: number;
  /** Copies that a write needs at least, when fewer servers than `replicas` are usable. */
  readonly writeQuorum?: number;
  /** Copies that a read reads and compares. */
  readonly readQuorum?: number;
}

type SettingName = keyof SettingsWish & keyof ClusterSettings;

const CLUSTER_ID_BYTES = 16;

const DEFAULTS: Readonly<Record<SettingName, number>> = {
  blockSize: DEFAULT_BLOCK_BYTES,
  replicas: 3,
  writeQuorum: 2,
  readQuorum: 1,
};

/** How settings are called on the command line, for messages. */
const FLAGS: Readonly<Record<SettingName, string>> = {
  blockSize: "--block-size",
  replicas: "--replicas",
  writeQuorum: "--write-quorum",
  readQuorum: "--read-quorum",
};

const NAMES = Object.keys(DEFAULTS) as SettingName[];

/** Key of the cluster id in the store's `meta` table; settings are under their own names. */
const CLUSTER_KEY = "cluster";

/**
 * Settings of a new cluster, with a random id.
 * @throws DfsError `usage` for a value out of its bounds, naming the flag.
 */
export function newSettings(wish: SettingsWish, random: Random): ClusterSettings {
  const replicas = wish.replicas ?? DEFAULTS.replicas;
  const settings: ClusterSettings = {
    cluster: random.bytes(CLUSTER_ID_BYTES),
    blockSize: wish.blockSize ?? DEFAULTS.blockSize,
    replicas,
    writeQuorum: wish.writeQuorum ?? Math.min(DEFAULTS.writeQuorum, replicas),
    readQuorum: wish.readQuorum ?? DEFAULTS.readQuorum,
  };
  checkBounds("blockSize", settings.blockSize, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES, "bytes");
  checkBounds("replicas", replicas, 1, MAX_REPLICAS, "copies");
  checkBounds("writeQuorum", settings.writeQuorum, 1, replicas, "copies, the number of replicas");
  checkBounds("readQuorum", settings.readQuorum, 1, replicas, "copies, the number of replicas");
  return settings;
}

/**
 * @throws DfsError `usage` when the operator asks for other settings than the cluster was formatted with, naming both.
 */
export function checkWish(wish: SettingsWish, settings: ClusterSettings, dir: string): void {
  for (const name of NAMES) {
    const wished = wish[name];
    if (wished === undefined || wished === settings[name]) continue;
    throw new DfsError(
      "usage",
      `cannot start with ${FLAGS[name]} ${wished}: the cluster in ${dir} was formatted with ${settings[name]}\n` +
        "leave the flag out, or start a new cluster in another directory",
      { details: { setting: name, wished, formatted: settings[name] } },
    );
  }
}

export function* storeSettings(settings: ClusterSettings): Operation<void> {
  yield* ask("meta.put", CLUSTER_KEY, clusterIdOf(settings.cluster));
  for (const name of NAMES) yield* ask("meta.put", name, String(settings[name]));
}

/** @throws DfsError `invalid` when one is missing or not a number. */
export function* loadSettings(): Operation<ClusterSettings> {
  const cluster = (yield* ask("meta.get", CLUSTER_KEY)) ?? "";
  const blockSize = yield* loadNumber("blockSize");
  const replicas = yield* loadNumber("replicas");
  const writeQuorum = yield* loadNumber("writeQuorum");
  const readQuorum = yield* loadNumber("readQuorum");
  if (!/^[0-9a-f]{32}$/.test(cluster)) throw incomplete();
  return {
    cluster: clusterIdBytes(clusterId(cluster)),
    blockSize,
    replicas,
    writeQuorum,
    readQuorum,
  };
}

function* loadNumber(name: SettingName): Operation<number> {
  const text = (yield* ask("meta.get", name)) ?? "";
  if (!/^[0-9]+$/.test(text)) throw incomplete();
  return Number(text);
}

function incomplete(): DfsError {
  return new DfsError("invalid", "the metadata database is damaged: its settings are incomplete");
}

function checkBounds(
  name: SettingName,
  value: number,
  least: number,
  most: number,
  unit: string,
): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new DfsError(
    "usage",
    `${FLAGS[name]} ${value} is not possible: it must be from ${least} to ${most} ${unit}`,
    { details: { setting: name, value } },
  );
}
