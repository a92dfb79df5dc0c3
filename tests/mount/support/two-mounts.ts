// Two mounts' file systems over one cluster, and what tests of both need.

import { ROOT_INODE, type InodeId } from "../../../src/base/ids.ts";
import { DfsFileSystem } from "../../../src/mount/dfs-file-system.ts";
import type { Handle, OpenFlags } from "../../../src/mount/file-system.ts";
import {
  bytesOf,
  KiB,
  startCluster,
  type Cluster,
  type ClusterOptions,
} from "../../support/cluster.ts";
import { recordedInvalidations, type RecordedInvalidations } from "./invalidations.ts";

export const BLOCK = 64 * KiB;
export const CALLER = { uid: 1000, gid: 1000, pid: 1 };
export const READ_WRITE: OpenFlags = {
  read: true,
  write: true,
  append: false,
  truncate: false,
  sync: false,
  direct: false,
};

export class TwoMounts {
  readonly cluster: Cluster;
  readonly here: DfsFileSystem;
  readonly there: DfsFileSystem;
  /** What `here` was told to have its kernel drop. */
  readonly told: RecordedInvalidations = recordedInvalidations();
  private number = 0;

  private constructor(cluster: Cluster, here: DfsFileSystem, there: DfsFileSystem) {
    this.cluster = cluster;
    this.here = here;
    this.there = there;
    here.start(this.told);
    there.start(recordedInvalidations());
  }

  static async start(options: ClusterOptions = {}): Promise<TwoMounts> {
    const cluster = await startCluster({
      servers: 4,
      settings: { blockSize: BLOCK },
      ...options,
    });
    const here = new DfsFileSystem(await cluster.client());
    return new TwoMounts(cluster, here, new DfsFileSystem(await cluster.client()));
  }

  async stop(): Promise<void> {
    await this.here.stop();
    await this.there.stop();
    await this.cluster.stop();
  }

  /** A new directory in the root; `lastName` is its name. */
  async freshDirectory(): Promise<InodeId> {
    this.number++;
    return (await this.here.mkdir(ROOT_INODE, this.lastName, 0o755, CALLER)).inode;
  }

  get lastName(): Uint8Array {
    return bytesOf(`directory-${this.number}`);
  }

  /** A new file, open here. */
  async freshFile(
    parent: InodeId,
    name = "f",
    flags = READ_WRITE,
  ): Promise<{ inode: InodeId; handle: Handle }> {
    const file = { mode: 0o644, exclusive: true, flags };
    const { handle, attributes } = await this.here.create(parent, bytesOf(name), file, CALLER);
    return { inode: attributes.inode, handle };
  }

  /** The file's content as the other mount reads it. */
  async wholeThere(inode: InodeId): Promise<Uint8Array> {
    const { handle, attributes } = await this.there.open(inode, READ_WRITE);
    const bytes = await this.there.read(inode, handle, 0, attributes.size);
    await this.there.release(inode, handle);
    return bytes;
  }
}
