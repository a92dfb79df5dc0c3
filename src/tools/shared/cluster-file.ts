/**
 * `cluster.json`: what `dfs up` leaves in the directory of a local cluster, for other commands and for scripts.
 *
 *     {
 *       "meta": "127.0.0.1:40001",          address of the metadata server, while or since it ran
 *       "metaPid": 4711,                    its process; null when it was stopped
 *       "servers": [                        the data servers
 *         { "id": 1, "address": "127.0.0.1:40002", "pid": 4712, "dir": "/.../data-1" }
 *       ],
 *       "keyFile": "/.../cluster.key",      the file with the cluster key, when it has one
 *       "service": { "outDelaySeconds": ... },   how the metadata server judges silence and so on, as it said last
 *       "settings": { "blockSize": ..., "replicas": ..., "writeQuorum": ..., "readQuorum": ... }
 *     }
 *
 * It is replaced by rename, so a reader sees a whole one. Its presence marks a directory as a local cluster's. `id` and
 * `address` are missing until a server has started for the first time, `meta` likewise.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { DfsError, messageOf, systemCodeOf } from "../../base/errors.ts";
import type { ServiceRow } from "./service-options.ts";

const SERVICE_KEYS: readonly (keyof ServiceRow)[] = [
  "leaseTimeoutSeconds",
  "downDelaySeconds",
  "outDelaySeconds",
  "repairBytesPerSecond",
  "backupIntervalSeconds",
];

const FILE = "cluster.json";

export interface ClusterSettings {
  readonly blockSize?: number;
  readonly replicas?: number;
  readonly writeQuorum?: number;
  readonly readQuorum?: number;
}

export interface ClusterServer {
  readonly id?: number;
  readonly address?: string;
  readonly pid: number | null;
  readonly dir: string;
}

export interface ClusterFile {
  readonly meta?: string;
  readonly metaPid: number | null;
  readonly servers: readonly ClusterServer[];
  readonly settings: ClusterSettings;
  readonly service?: ServiceRow;
  /** Absolute path of the file with the cluster key. */
  readonly keyFile?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The directory of the local cluster when nobody names one. */
export function defaultDirectory(environment: Environment): string {
  const data = environment["XDG_DATA_HOME"];
  // The XDG base directory specification says that a relative path there must be ignored.
  const base = data?.startsWith("/")
    ? data
    : join(environment["HOME"] || homedir(), ".local", "share");
  return join(base, "dfs");
}

/** Path of the cluster file of directory `dir`. */
export function clusterFilePath(dir: string): string {
  return join(dir, FILE);
}

/**
 * The cluster file of `dir`, or undefined when there is none.
 * @throws DfsError `invalid` when there is one that cannot be understood.
 */
export function readClusterFile(dir: string): ClusterFile | undefined {
  const path = clusterFilePath(dir);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
  try {
    return checked(JSON.parse(text));
  } catch (error) {
    throw new DfsError(
      "invalid",
      `cannot understand ${path}: ${messageOf(error)}\n` +
        `the servers' own directories are not touched by this: write {"servers": []} into the file,\n` +
        "and dfs up finds them again",
      { cause: error },
    );
  }
}

/** Replaces the cluster file of `dir`. */
export function writeClusterFile(dir: string, file: ClusterFile): void {
  const path = clusterFilePath(dir);
  const temporary = `${path}.new`; // one writer at a time: the directory's lock
  const { meta, metaPid, servers, settings, service, keyFile } = file;
  // Not the last one: its line may be taken out by hand (docs/operations.md), and JSON minds the comma before.
  const fields = { meta, metaPid, keyFile, servers, settings, service };
  writeFileSync(temporary, `${JSON.stringify(fields, undefined, 2)}\n`);
  renameSync(temporary, path);
}

function checked(value: unknown): ClusterFile {
  const file = fields(value, "the file");
  const servers = file["servers"];
  if (!Array.isArray(servers)) throw new Error('"servers" is not a list');
  const meta = optionalText(file["meta"], '"meta"');
  const keyFile = optionalText(file["keyFile"], '"keyFile"');
  return {
    ...(meta === undefined ? {} : { meta }),
    ...(keyFile === undefined ? {} : { keyFile }),
    metaPid: optionalNumber(file["metaPid"], '"metaPid"') ?? null,
    servers: servers.map(checkedServer),
    settings: checkedSettings(file["settings"]),
    ...checkedService(file["service"]),
  };
}

function checkedServer(value: unknown): ClusterServer {
  const server = fields(value, "a server");
  const id = optionalNumber(server["id"], "a server's id");
  const address = optionalText(server["address"], "a server's address");
  const dir = optionalText(server["dir"], "a server's dir");
  if (dir === undefined) throw new Error("a server has no dir");
  return {
    ...(id === undefined ? {} : { id }),
    ...(address === undefined ? {} : { address }),
    pid: optionalNumber(server["pid"], "a server's pid") ?? null,
    dir,
  };
}

function checkedSettings(value: unknown): ClusterSettings {
  const from = value === undefined ? {} : fields(value, '"settings"');
  const settings: Record<string, number> = {};
  for (const key of ["blockSize", "replicas", "writeQuorum", "readQuorum"]) {
    const number = optionalNumber(from[key], `"${key}"`);
    if (number !== undefined) settings[key] = number;
  }
  return settings;
}

/** It only tells what was: one that cannot be understood is left out. */
function checkedService(value: unknown): { service?: ServiceRow } {
  const from = (value ?? {}) as Record<string, unknown>;
  const isWhole = SERVICE_KEYS.every((key) => Number.isFinite(from[key]));
  return isWhole ? { service: from as unknown as ServiceRow } : {};
}

function fields(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${what} is not an object`);
  }
  return value as Record<string, unknown>;
}

function optionalText(value: unknown, what: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new Error(`${what} is not a text`);
  return value;
}

function optionalNumber(value: unknown, what: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new Error(`${what} is not a whole number`);
  }
  return value;
}
