/**
 * The client: connects, puts the parts together, and is the API's face of them.
 *
 *     const client = await connectClient({ metaAddress: "127.0.0.1:4000", label: "example" });
 *     await client.put(path, [bytes], { mode: 0o644, uid: 0, gid: 0, keepReplaced: true });
 *     for await (const chunk of (await client.open(path)).stream()) process.stdout.write(chunk);
 *     await client.close();
 *
 *     session.ts (meta-link, heartbeats, operations)   the metadata service
 *     servers.ts, placement-cache.ts                    the data servers and where blocks go
 *     put.ts, write-back.ts (layers) -> block-store.ts -> block-ids.ts, block-writer.ts (copy-round);
 *                                                       copy-mender.ts: copies lost before the commit
 *     clone.ts                                          a file under another name, sharing its blocks
 *     open-inode.ts -> file-reader.ts -> file-map.ts, block-reader.ts; read-ahead.ts, prefetch.ts
 *     names.ts (directories, paths) -> inode-requests.ts operations on paths; inode-operations.ts: on inodes
 */
import { systemClock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import {
  blockId,
  type BlockId,
  type ClusterId,
  type InodeId,
  type ServerId,
  type SessionId,
} from "../base/ids.ts";
import { silentLogger } from "../base/logger.ts";
import { pathBase } from "../base/placement.ts";
import { systemRandom } from "../base/random.ts";
import { clusterQuarantine, type QuarantinePage } from "../protocol/messages/backup.ts";
import * as cluster from "../protocol/messages/cluster.ts";
import { clusterIdOf, type Attributes, type FileType } from "../protocol/messages/common.ts";
import { blockCorrupt, dataScrub, dataStats, type ScrubAction } from "../protocol/messages/data.ts";
import { lookup, statfs } from "../protocol/messages/namespace.ts";
import { tcpTransport } from "../protocol/transports/tcp.ts";
import type {
  BackupOutcome,
  CallOptions,
  ClientOptions,
  CloneOptions,
  ClusterStatus,
  CopyVote,
  DataStats,
  DfsClient,
  DirectoryEntry,
  ExplainRow,
  FaultToInject,
  FileLocks,
  FileOwner,
  Holdings,
  Loss,
  InjectedFault,
  Inodes,
  OpenFile,
  PutOptions,
  QuarantinedBlock,
  ScrubStatus,
  ServerList,
  ServerPlan,
  SetAttributes,
} from "./api.ts";
import type { Content } from "./chunks.ts";
import { cloneFile } from "./clone.ts";
import { checkCopy, problemOf } from "./copy-check.ts";
import { runFsck, type FsckOptions, type FsckReport } from "./fsck.ts";
import { FileOpener } from "./file-opener.ts";
import { InodeOperations } from "./inode-operations.ts";
import { InodeRequests } from "./inode-requests.ts";
import { Machinery, type ClientSeams } from "./machinery.ts";
import { Names } from "./names.ts";
import { backUp } from "./metadata-backup.ts";
import { checkPath, normalisedPath, shownPath, splitPath } from "./paths.ts";
import { putFile, type PutParts } from "./put.ts";
import { stopServer } from "./stop-server.ts";

const EXPLAIN_PAGE = 512;

/** Below every block id. */
const NO_BLOCK = blockId(0n);

/** Figures are of little use when they are late. */
const STATS_TIMEOUT_MS = 2000;

/** A fault is a read, a write and a sync of a few bytes. */
const FAULT_TIMEOUT_MS = 10_000;

/** What a scrub is told is made durable before the answer. */
const SCRUB_TIMEOUT_MS = 5000;

/**
 * Opens a session with the metadata service. Seams that are left out are the machine's own, without a log.
 * @throws DfsError `unreachable` when there is none at the address; `wrongCluster`, `unauthorized`, `unsupported`.
 */
export async function connectClient(
  options: ClientOptions,
  seams: Partial<ClientSeams> = {},
): Promise<DfsClient> {
  const clock = seams.clock ?? systemClock;
  const machinery = new Machinery(options, {
    transport: seams.transport ?? tcpTransport(clock),
    clock,
    random: seams.random ?? systemRandom,
    logger: seams.logger ?? silentLogger,
  });
  await machinery.start();
  return new Client(machinery);
}

class Client implements DfsClient {
  readonly inodes: Inodes;
  readonly locks: FileLocks;
  private readonly machinery: Machinery;
  private readonly names: Names;
  private readonly opener: FileOpener;
  private readonly putParts: PutParts;

  constructor(machinery: Machinery) {
    this.machinery = machinery;
    const requests = new InodeRequests(machinery.session);
    this.names = new Names(machinery.session, requests);
    this.opener = new FileOpener(machinery, this.names, requests);
    this.locks = machinery.locks;
    this.inodes = new InodeOperations(requests, this.opener, machinery.watcher);
    this.putParts = {
      session: machinery.session,
      store: machinery.store,
      newHolder: () => machinery.budget.holder(),
      release: (inode, epoch) => machinery.releases.add(inode, 1, epoch),
      checkTarget: (parent, name, exclusive) => this.checkTarget(parent, name, exclusive),
    };
  }

  get session(): SessionId {
    return this.machinery.session.id;
  }

  get cluster(): ClusterId {
    return clusterIdOf(this.machinery.session.settings.cluster);
  }

  get blockSize(): number {
    return this.machinery.session.settings.blockSize;
  }

  get replicas(): number {
    return this.machinery.session.settings.replicas;
  }

  get writeQuorum(): number {
    return this.machinery.session.settings.writeQuorum;
  }

  get readQuorum(): number {
    return this.machinery.readQuorum;
  }

  get memory(): DfsClient["memory"] {
    const { used, peak } = this.machinery.budget;
    return { heldBytes: used, peakBytes: peak };
  }

  // ---- Names -------------------------------------------------------------------------------------------------------

  async stat(path: Uint8Array, options?: { readonly follow?: boolean }): Promise<Attributes> {
    return this.opener.heard(await this.names.resolve(path, options?.follow ?? true));
  }

  readlink(path: Uint8Array): Promise<Uint8Array> {
    return this.names.readlink(path);
  }

  async *readdir(path: Uint8Array): AsyncGenerator<DirectoryEntry, void> {
    for await (const entry of this.names.readdir(path)) {
      yield { ...entry, attributes: this.opener.heard(entry.attributes) };
    }
  }

  mkdir(path: Uint8Array, owner: FileOwner): Promise<Attributes> {
    return this.names.mkdir(path, owner);
  }

  symlink(
    target: Uint8Array,
    path: Uint8Array,
    owner: { readonly uid: number; readonly gid: number },
  ): Promise<Attributes> {
    return this.names.symlink(target, path, owner);
  }

  mknod(path: Uint8Array, type: FileType, rdev: number, owner: FileOwner): Promise<Attributes> {
    return this.names.mknod(path, type, rdev, owner);
  }

  link(existing: Uint8Array, path: Uint8Array): Promise<Attributes> {
    return this.names.link(existing, path);
  }

  unlink(path: Uint8Array): Promise<void> {
    return this.names.unlink(path);
  }

  rmdir(path: Uint8Array): Promise<void> {
    return this.names.rmdir(path);
  }

  rename(
    from: Uint8Array,
    to: Uint8Array,
    how: "replace" | "noReplace" | "exchange" = "replace",
  ): Promise<void> {
    return this.names.rename(from, to, how);
  }

  setattr(
    path: Uint8Array,
    change: SetAttributes,
    options?: { readonly follow?: boolean },
  ): Promise<Attributes> {
    return this.names.about(path, async () => {
      const { inode } = await this.names.resolve(path, options?.follow ?? true);
      return this.opener.setattr(inode, change);
    });
  }

  xattrGet(path: Uint8Array, name: Uint8Array): Promise<Uint8Array> {
    return this.names.xattrGet(path, name);
  }

  xattrSet(
    path: Uint8Array,
    name: Uint8Array,
    value: Uint8Array,
    how: "any" | "create" | "replace" = "any",
  ): Promise<void> {
    return this.names.xattrSet(path, name, value, how);
  }

  xattrList(path: Uint8Array): Promise<Uint8Array[]> {
    return this.names.xattrList(path);
  }

  xattrRemove(path: Uint8Array, name: Uint8Array): Promise<void> {
    return this.names.xattrRemove(path, name);
  }

  // ---- Content -----------------------------------------------------------------------------------------------------

  open(path: Uint8Array): Promise<OpenFile> {
    return this.opener.open(path);
  }

  create(
    path: Uint8Array,
    owner: FileOwner,
    options?: { readonly exclusive?: boolean },
  ): Promise<OpenFile> {
    return this.opener.create(path, owner, options?.exclusive ?? false);
  }

  put(path: Uint8Array, content: Content, options: PutOptions): Promise<Attributes> {
    return this.names.about(path, () => {
      const { name, mustBeDirectory } = splitPath(path);
      if (mustBeDirectory) {
        throw new DfsError("isDirectory", `${shownPath(path)} can only be a directory, not a file`);
      }
      const target = {
        path: shownPath(path),
        base: pathBase(normalisedPath(path)),
        parent: () => this.names.parent(path),
        name,
      };
      return putFile(this.putParts, target, content, options);
    });
  }

  clone(
    source: Pick<Attributes, "inode" | "size">,
    path: Uint8Array,
    options: CloneOptions,
  ): Promise<Attributes> {
    return this.names.atFile(path, (place) => {
      const base = pathBase(normalisedPath(path));
      return cloneFile(this.putParts, source, { place, base }, options);
    });
  }

  // ---- The cluster -------------------------------------------------------------------------------------------------

  statfs(options?: CallOptions): ReturnType<DfsClient["statfs"]> {
    return this.machinery.session.ask(statfs, {}, options);
  }

  async servers(): Promise<ServerList> {
    return (await this.machinery.session.ask(cluster.servers, {})).servers;
  }

  async dataStats(server: ServerId): Promise<DataStats> {
    const options = { timeoutMs: STATS_TIMEOUT_MS };
    return (await this.machinery.servers.request(server, dataStats, {}, options)).body;
  }

  async scrub(
    server: ServerId,
    action: ScrubAction,
    bytesPerSecond?: number,
  ): Promise<ScrubStatus> {
    const request = { action, bytesPerSecond: bytesPerSecond ?? null };
    const options = { timeoutMs: SCRUB_TIMEOUT_MS };
    return (await this.machinery.servers.request(server, dataScrub, request, options)).body;
  }

  planServer(server: ServerId, change: cluster.ServerChange): Promise<ServerPlan> {
    return this.machinery.session.ask(cluster.plan, { server, change });
  }

  async changeServer(server: ServerId, change: cluster.ServerChange): Promise<void> {
    await this.machinery.session.ask(cluster.setServer, { server, change });
  }

  holdings(server: ServerId): Promise<Holdings> {
    return this.machinery.session.ask(cluster.holdings, { server });
  }

  async *losses(server?: ServerId): AsyncGenerator<Loss, void> {
    const { session } = this.machinery;
    let after: BlockId | null = null;
    do {
      const page: cluster.LossPage = await session.ask(cluster.losses, {
        server: server ?? null,
        after,
      });
      yield* page.losses;
      after = page.next;
    } while (after !== null);
  }

  status(): Promise<ClusterStatus> {
    return this.machinery.session.ask(cluster.status, {});
  }

  backUpMetadata(onProgress?: (outcome: BackupOutcome) => void): Promise<BackupOutcome> {
    const { session, seams } = this.machinery;
    return backUp(session, seams.clock, onProgress);
  }

  async *quarantined(server: ServerId): AsyncGenerator<QuarantinedBlock, void> {
    for (let after: BlockId | null = NO_BLOCK; after !== null;) {
      const page: QuarantinePage = await this.machinery.session.ask(clusterQuarantine, {
        server,
        after,
      });
      yield* page.blocks;
      after = page.next;
    }
  }

  async *explain(
    path: Uint8Array,
    options?: { readonly offset?: number },
  ): AsyncGenerator<ExplainRow, void> {
    checkPath(path);
    const { inode, type } = await this.names.resolve(path, true);
    if (type !== "file") {
      throw new DfsError("invalid", `${shownPath(path)} is a ${type}: only files have blocks`);
    }
    for (let offset = options?.offset ?? 0, more = true; more;) {
      const request = { inode, offset, limit: EXPLAIN_PAGE };
      const page = await this.machinery.session.ask(cluster.explain, request);
      yield* page.rows;
      const last = page.rows.at(-1);
      more = page.more && last !== undefined;
      if (last !== undefined) offset = last.offset + last.length;
    }
  }

  async checkCopies(
    block: Pick<ExplainRow, "block" | "checksum">,
    servers: readonly ServerId[],
  ): Promise<CopyVote[]> {
    const { direct, reports } = this.machinery;
    const votes = await Promise.all(servers.map((server) => checkCopy(direct, block, server)));
    for (const { server, state, reason } of votes) {
      const problem = problemOf(state);
      if (problem !== undefined) reports.report(block.block, { server, reason }, problem);
    }
    return votes;
  }

  async *fsck(
    path: Uint8Array | undefined,
    options: FsckOptions,
  ): AsyncGenerator<FsckReport, void> {
    const { session, seams } = this.machinery;
    const inode = path === undefined ? undefined : (await this.stat(path, { follow: false })).inode;
    yield* runFsck(session, seams.clock, inode, options);
  }

  async injectFault(server: ServerId, fault: FaultToInject): Promise<InjectedFault> {
    const options = { timeoutMs: FAULT_TIMEOUT_MS };
    return (await this.machinery.direct.request(server, blockCorrupt, fault, options)).body;
  }

  stopServer(server: ServerId, how: "inGoodOrder" | "crash"): Promise<{ pid: number | undefined }> {
    return stopServer(this.machinery.direct, this.machinery.seams.clock, server, how);
  }

  close(): Promise<void> {
    return this.machinery.close();
  }

  private async checkTarget(parent: InodeId, name: Uint8Array, exclusive: boolean): Promise<void> {
    const found = await this.machinery.session.ask(lookup, { parent, name }).then(
      ({ attributes }) => attributes,
      (error: unknown) => {
        if (isDfsError(error, "notFound")) return undefined;
        throw error;
      },
    );
    if (found === undefined) return;
    if (exclusive) throw new DfsError("exists", "the name exists already");
    if (found.type === "directory") throw new DfsError("isDirectory", "a directory has that name");
  }
}
