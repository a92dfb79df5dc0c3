/**
 * What a data server is started with, and what it is to its owner.
 */
import type { DfsError } from "../../base/errors.ts";
import type { Clock } from "../../base/clock.ts";
import type { DirectoryLock } from "../../base/directory-lock.ts";
import type { Disk } from "../../base/disk.ts";
import type { ClusterId, InstanceId, ServerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import type { Transport } from "../../protocol/transport.ts";
import type { IdentityWish } from "./directory.ts";

export interface DataServerOptions {
  readonly dir: string;
  /** Addresses of the metadata service, `host:port`; as one text they are separated by commas. */
  readonly meta: string | readonly string[];
  /** Which server the directory is to hold; the one that is in it when left out. */
  readonly identity?: IdentityWish;
  /** `host:port`; left out: where it listened before, else a free port of 127.0.0.1. */
  readonly listen?: string | undefined;
  /** Failure domain. */
  readonly zone?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  /** The cluster key; needed when other machines can reach the address. */
  readonly key?: Uint8Array | undefined;
  /** Default 5 s. */
  readonly firstContactTimeoutMs?: number | undefined;
  /** Default 64 MiB. */
  readonly segmentBytes?: number | undefined;
  /** Bytes that puts leave free on the disk. Default: the larger of 5 % and 4 segments. */
  readonly reserveBytes?: number | undefined;
  /** Let callers damage copies and crash the process, for tests. */
  readonly allowFaults?: boolean | undefined;
  /** What a caller's wish to stop or crash this server comes to. Left out: only the server ends, and it cannot crash. */
  readonly ending?: Ending | undefined;
  /** At every attempt to join a metadata service whose database is older than what this server has served. */
  readonly onOlder?: ((error: DfsError) => void) | undefined;
  /** Gives the start up. */
  readonly signal?: AbortSignal | undefined;
  // Seams.
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly logger?: Logger | undefined;
  readonly transport?: Transport | undefined;
  readonly disk?: Disk | undefined;
  readonly lock?: ((dir: string) => DirectoryLock) | undefined;
}

/** How the process ends that a data server has to itself. */
export interface Ending {
  /** In good order, with `DataServer.stop` on the way. */
  stop(): void;
  /** At once; does not return. */
  crash(): void;
}

/** A running data server. */
export interface DataServer {
  readonly server: ServerId;
  readonly cluster: ClusterId;
  readonly instance: InstanceId;
  /** Where it listens. */
  readonly address: string;
  /** Finishes what was begun, closes all connections and gives the directory up. */
  stop(): Promise<void>;
}
