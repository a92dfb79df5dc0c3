/**
 * The cluster as the file system of a mount: what a driver asks (file-system.ts), answered by a client (client/api.ts).
 *
 *     const fileSystem = new DfsFileSystem(client, { clock: systemClock, logger });
 *
 * What the kernel may keep is in cluster/kernel-view.ts, open files in cluster/open-files.ts, open directories in
 * cluster/listing.ts, locks in cluster/locks.ts. Attributes and names are not kept here: the kernel does that, for as long as `timeouts` says.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import { systemClock, type Clock } from "../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../base/ids.ts";
import { silentLogger, type Logger } from "../base/logger.ts";
import type { DfsClient, Inodes, OpenFile, SetAttributes } from "../client/api.ts";
import { doneWith } from "../client/read-memory.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { AccessPolicy, type AccessMode } from "./cluster/access-times.ts";
import { AbsentXattrs } from "./cluster/absent-xattrs.ts";
import { HandleTable } from "./cluster/handles.ts";
import { KernelView } from "./cluster/kernel-view.ts";
import { KnownDirectories } from "./cluster/known-directories.ts";
import { DirectoryListing } from "./cluster/listing.ts";
import { MountedLocks } from "./cluster/locks.ts";
import { MountedNames, ownerOf } from "./cluster/names.ts";
import { MountedFiles } from "./cluster/open-files.ts";
import { LastKnown, Outage } from "./cluster/outage.ts";
import { allocateIn, copyWithin } from "./cluster/ranges.ts";
import { withoutSetId } from "./cluster/set-id.ts";
import { MountedXattrs } from "./cluster/xattrs.ts";
import type {
  Allocation,
  AttributeChange,
  Caller,
  Handle,
  Invalidations,
  ListedEntry,
  Lock,
  MountedFileSystem,
  OpenedFile,
  OpenFlags,
  Space,
  Timeouts,
  ToldAttributes,
} from "./file-system.ts";

/** Changes of others are told at once; this is for when the telling is lost, and what NFS would take for one that changes often. */
const TIMEOUTS: Timeouts = { attributesMs: 5_000, entryMs: 5_000, negativeMs: 5_000 };

/** Longest time for which the service is asked to remember what it told. */
const MAX_CACHE_MS = 24 * 3_600_000;

/** As long as other file systems let data lie; less would make many small blocks of a log that is written line by line. */
const WRITE_BACK_MS = 3_000;

export interface DfsFileSystemOptions {
  /** Tells when the metadata service is away; left out: it never is. */
  readonly outage?: Outage;
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly readOnly?: boolean;
  readonly timeouts?: Partial<Timeouts>;
  /** When a read changes the access time of a file; default `relatime`. Read-only mounts change none. */
  readonly accessTimes?: AccessMode;
  /** Written data that nobody flushes is sent to the cluster after this time; default 3 s. */
  readonly writeBackMs?: number;
}

/** What a driver says with a call. */
type Call<Name extends keyof MountedFileSystem> = MountedFileSystem[Name] extends (
  ...call: infer Arguments
) => unknown
  ? Arguments
  : never;

export class DfsFileSystem implements MountedFileSystem {
  readonly doneWith = doneWith;
  readonly timeouts: Timeouts;
  readonly readOnly: boolean;
  private readonly client: DfsClient;
  private readonly inodes: Inodes;
  private readonly clock: Clock;
  private readonly accesses: AccessPolicy;
  private readonly kernel: KernelView;
  private readonly names: MountedNames;
  private readonly xattrs: MountedXattrs;
  private readonly locks: MountedLocks;
  private readonly absent: AbsentXattrs;
  private readonly known: KnownDirectories;
  private readonly files: MountedFiles;
  private readonly space: LastKnown<Awaited<ReturnType<DfsClient["statfs"]>>>;
  private readonly root: LastKnown<Attributes>;
  private readonly directories = new HandleTable<DirectoryListing>();
  private readonly logger: Logger;

  /** The client belongs to the file system from now on: `stop` closes it. */
  constructor(client: DfsClient, options: DfsFileSystemOptions = {}) {
    const { clock = systemClock, logger = silentLogger, writeBackMs = WRITE_BACK_MS } = options;
    this.client = client;
    this.inodes = client.inodes;
    this.logger = logger;
    this.clock = clock;
    this.timeouts = { ...TIMEOUTS, ...options.timeouts };
    this.readOnly = options.readOnly ?? false;
    const accessTimes = this.readOnly ? "noatime" : (options.accessTimes ?? "relatime");
    this.accesses = new AccessPolicy(accessTimes, client.inodes, clock);
    const { outage = new Outage() } = options;
    this.space = new LastKnown((signal) => client.statfs({ signal }), outage);
    this.root = new LastKnown((signal) => client.inodes.getattr(ROOT_INODE, { signal }), outage);
    this.absent = new AbsentXattrs(clock, this.timeouts.attributesMs);
    this.known = new KnownDirectories(clock, this.timeouts);
    this.kernel = new KernelView(this.directories, this.absent, this.known);
    this.names = new MountedNames(client.inodes, this.kernel, this.known, () =>
      this.refuseReadOnly(),
    );
    this.xattrs = new MountedXattrs(client.inodes, this.absent);
    this.locks = new MountedLocks(client, this.kernel, logger);
    const onMoved = (inode: InodeId): void => this.kernel.contentChanged(inode);
    this.files = new MountedFiles({ inodes: client.inodes, clock, logger, writeBackMs, onMoved });
  }

  get blockSize(): number {
    return this.client.blockSize;
  }

  start(invalidations: Invalidations): void {
    this.kernel.invalidations = invalidations;
    this.inodes.listen(this.kernel);
    const { attributesMs, entryMs, negativeMs } = this.timeouts;
    // The kernel counts from when it gets the answer: the service had better remember it for longer.
    const cacheMs = Math.min(2 * Math.max(attributesMs, entryMs, negativeMs), MAX_CACHE_MS);
    this.inodes.watch(cacheMs).catch((error: unknown) => {
      this.logger.warn(`other clients' changes are seen after a time only: ${messageOf(error)}`);
    });
  }

  // ---- Names -------------------------------------------------------------------------------------------------------

  async lookup(parent: InodeId, name: Uint8Array, signal?: CancelSignal): Promise<Attributes> {
    const ageMs = this.known.lacks(parent, name);
    if (ageMs !== undefined) throw new DfsError("notFound", "no such name", { details: { ageMs } });
    return this.kernel.referred(await this.inodes.lookup({ parent, name }, { signal }));
  }

  forget(inode: InodeId, references: bigint): void {
    this.kernel.nodes.forget(inode, references);
  }

  mkdir(...call: Call<"mkdir">): Promise<Attributes> {
    return this.names.mkdir(...call);
  }

  mknod(...call: Call<"mknod">): Promise<Attributes> {
    return this.names.mknod(...call);
  }

  symlink(...call: Call<"symlink">): Promise<Attributes> {
    return this.names.symlink(...call);
  }

  link(...call: Call<"link">): Promise<Attributes> {
    return this.names.link(...call);
  }

  unlink(...call: Call<"unlink">): Promise<void> {
    return this.names.unlink(...call);
  }

  rmdir(...call: Call<"rmdir">): Promise<void> {
    return this.names.rmdir(...call);
  }

  rename(...call: Call<"rename">): Promise<void> {
    return this.names.rename(...call);
  }

  readlink(inode: InodeId, signal?: CancelSignal): Promise<Uint8Array> {
    return this.inodes.readlink(inode, { signal });
  }

  // ---- Attributes --------------------------------------------------------------------------------------------------

  async getattr(
    inode: InodeId,
    _handle: Handle | undefined,
    signal?: CancelSignal,
  ): Promise<ToldAttributes> {
    const known = this.known.attributes(inode);
    if (known !== undefined) return { ...known.attributes, ageMs: known.ageMs };
    if (inode === ROOT_INODE) return this.root.get(signal);
    return this.inodes.getattr(inode, { signal });
  }

  async setattr(
    inode: InodeId,
    change: AttributeChange,
    _handle: Handle | undefined,
    _caller: Caller,
    signal?: CancelSignal,
  ): Promise<Attributes> {
    this.refuseReadOnly();
    const { clearSetId, ...asked } = change;
    const set: SetAttributes =
      clearSetId === true ? await this.cleared(inode, asked, signal) : asked;
    const attributes = await this.inodes.setattr(inode, set, { signal });
    if (attributes.type === "directory") this.known.forgetAttributes(inode);
    this.kernel.changedHere(inode);
    return attributes;
  }

  xattrGet(...call: Call<"xattrGet">): Promise<Uint8Array> {
    return this.xattrs.get(...call);
  }

  async xattrSet(...call: Call<"xattrSet">): Promise<void> {
    this.refuseReadOnly();
    await this.xattrs.set(...call);
    this.known.forgetAttributes(call[0]);
    this.kernel.changedHere(call[0]);
  }

  xattrList(inode: InodeId, signal?: CancelSignal): Promise<readonly Uint8Array[]> {
    return this.inodes.xattrList(inode, { signal });
  }

  async xattrRemove(...call: Call<"xattrRemove">): Promise<void> {
    this.refuseReadOnly();
    await this.xattrs.remove(...call);
    this.known.forgetAttributes(call[0]);
    this.kernel.changedHere(call[0]);
  }

  // ---- Open files --------------------------------------------------------------------------------------------------

  async open(inode: InodeId, flags: OpenFlags, signal?: CancelSignal): Promise<OpenedFile> {
    if (flags.write || flags.truncate) this.refuseReadOnly();
    return this.opened(await this.inodes.open(inode, { signal }), flags, flags.truncate);
  }

  async create(
    parent: InodeId,
    name: Uint8Array,
    {
      mode,
      exclusive,
      flags,
    }: {
      readonly mode: number;
      readonly exclusive: boolean;
      readonly flags: OpenFlags;
    },
    caller: Caller,
    signal?: CancelSignal,
  ): Promise<OpenedFile> {
    const owner = ownerOf(caller, mode);
    const place = { parent, name };
    const { file, created } = await this.names.changing(place, { added: name }, signal, (options) =>
      this.inodes.create(place, owner, exclusive, options),
    );
    if (created) this.absent.created(file.inode);
    const opened = await this.opened(file, flags, flags.truncate && !created);
    this.kernel.added(parent, opened.attributes);
    return opened;
  }

  async read(
    _inode: InodeId,
    handle: Handle,
    offset: number,
    length: number,
    signal?: CancelSignal,
  ): Promise<Uint8Array> {
    const { file } = this.files.get(handle);
    const bytes = await file.read(offset, length, { signal });
    this.accesses.read(file);
    return bytes;
  }

  async write(
    inode: InodeId,
    handle: Handle,
    offset: number,
    bytes: Uint8Array,
    options: {
      readonly clearSetId?: boolean;
      readonly atOffset?: boolean;
      readonly signal?: CancelSignal;
    } = {},
  ): Promise<void> {
    this.refuseReadOnly();
    await this.files.write(handle, offset, bytes, options);
    this.kernel.changedHere(inode);
    if (options.clearSetId !== true) return;
    const { file } = this.files.get(handle);
    if (file.isOutdated) await this.inodes.getattr(inode, { signal: options.signal });
    const mode = withoutSetId(file.attributes);
    if (mode === undefined) return;
    await this.inodes.setattr(inode, { mode });
    // Not waited for: the kernel holds the pages of this write until it is answered, and an earlier notice may wait for them.
    void this.kernel.invalidations.inode(inode, false);
  }

  flush(_inode: InodeId, handle: Handle, signal?: CancelSignal): Promise<void> {
    return this.files.flush(handle, signal);
  }

  fsync(_inode: InodeId, handle: Handle, signal?: CancelSignal): Promise<void> {
    return this.files.flush(handle, signal);
  }

  async release(inode: InodeId, handle: Handle): Promise<void> {
    const { file } = this.files.get(handle);
    await this.files.release(handle);
    this.kernel.nodes.released(inode, file.attributes.version);
  }

  async allocate(
    inode: InodeId,
    handle: Handle,
    allocation: Allocation,
    signal?: CancelSignal,
  ): Promise<void> {
    this.refuseReadOnly();
    await allocateIn(this.files.writable(handle).file, allocation, signal);
    this.kernel.changedHere(inode);
  }

  seek(
    _inode: InodeId,
    handle: Handle,
    offset: number,
    what: "data" | "hole",
    signal?: CancelSignal,
  ): Promise<number> {
    return this.files.get(handle).file.seek(offset, what, { signal });
  }

  async copyRange(
    from: { readonly inode: InodeId; readonly handle: Handle; readonly offset: number },
    to: { readonly inode: InodeId; readonly handle: Handle; readonly offset: number },
    length: number,
    signal?: CancelSignal,
  ): Promise<number> {
    this.refuseReadOnly();
    const source = { file: this.files.get(from.handle).file, offset: from.offset };
    const target = { file: this.files.writable(to.handle).file, offset: to.offset };
    const copied = await copyWithin(source, target, length, signal);
    this.kernel.changedHere(to.inode);
    return copied;
  }

  // ---- Open directories --------------------------------------------------------------------------------------------

  openDirectory(inode: InodeId): Promise<Handle> {
    const listing = new DirectoryListing(inode, this.inodes, this.clock, this.absent);
    return Promise.resolve(this.directories.add(listing));
  }

  async list(
    _inode: InodeId,
    handle: Handle,
    cookie: bigint,
    signal?: CancelSignal,
  ): Promise<Iterable<ListedEntry>> {
    try {
      return await this.directories.get(handle).list(cookie, signal);
    } catch (error) {
      if (!isDfsError(error, "stale")) throw error;
      throw new DfsError("notFound", "the directory has been removed", { cause: error });
    }
  }

  took({ inode }: ListedEntry): void {
    this.kernel.nodes.refer(inode);
  }

  releaseDirectory(_inode: InodeId, handle: Handle): void {
    this.directories.remove(handle);
  }

  /** Changes of names are durable when they are answered. */
  fsyncDirectory(_inode: InodeId): Promise<void> {
    return Promise.resolve();
  }

  // ---- Locks -------------------------------------------------------------------------------------------------------

  getLock(...call: Call<"getLock">): Promise<Lock | undefined> {
    return this.locks.get(...call);
  }

  setLock(...call: Call<"setLock">): Promise<void> {
    return this.locks.set(...call);
  }

  releaseLocks(...call: Call<"releaseLocks">): Promise<void> {
    return this.locks.release(...call);
  }

  // ---- The whole ---------------------------------------------------------------------------------------------------

  async statfs(signal?: CancelSignal): Promise<Space> {
    return { ...(await this.space.get(signal)), blockSize: this.blockSize };
  }

  async stop(): Promise<void> {
    await this.files.close();
    await this.client.close();
  }

  // ---- Inner parts -------------------------------------------------------------------------------------------------

  private async opened(file: OpenFile, flags: OpenFlags, truncate: boolean): Promise<OpenedFile> {
    const { inode } = file;
    try {
      if (truncate) await file.truncate(0);
    } catch (error) {
      await file.close();
      throw error;
    }
    const { attributes } = file;
    const keepCache = this.kernel.nodes.opened(inode, attributes.version);
    return { handle: this.files.add(file, flags), attributes, keepCache };
  }

  /** The change with the mode that is left when setuid and setgid go. */
  private async cleared(
    inode: InodeId,
    change: SetAttributes,
    signal: CancelSignal | undefined,
  ): Promise<SetAttributes> {
    const { type, mode } = await this.inodes.getattr(inode, { signal });
    const left = withoutSetId({ type, mode: change.mode ?? mode });
    return left === undefined ? change : { ...change, mode: left };
  }

  private refuseReadOnly(): void {
    if (this.readOnly) throw new DfsError("readOnly", "the file system is mounted read-only");
  }
}
