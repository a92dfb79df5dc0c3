/**
 * An open directory: gives out its entries page by page under cookies, numbers that stay good while it is open.
 *
 * The service goes on behind a name. So a cookie stands for a name, and all names that were given out are kept, packed, until
 * the listing begins anew. Entries that the driver did not take are kept for its next call, if that comes soon; what this
 * mount changes in the meantime is taken out of them, as the kernel would believe them more than what it knows.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import type { Clock } from "../../base/clock.ts";
import { DfsError } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { DirectoryPage, Inodes } from "../../client/api.ts";
import type { ListedEntry } from "../file-system.ts";
import type { AbsentXattrs } from "./absent-xattrs.ts";

/** Cookies of `.` and `..`; those of names follow. */
const DOT = 1n;
const DOT_DOT = 2n;

const DOT_NAME = new TextEncoder().encode(".");
const DOT_DOT_NAME = new TextEncoder().encode("..");

const PAGE_ENTRIES = 512;

/** For how long entries are given out after they were fetched. */
const FRESH_MS = 1_000;

/** A page that was fetched. */
interface Fetched {
  readonly atMs: number;
  readonly page: DirectoryPage;
  /** The cookie behind which the first entry is. */
  readonly after: bigint;
  /** The cookie of the first entry; those of the others follow. */
  readonly first: bigint;
  /** Entries whose names this mount has removed since. */
  readonly removed: Set<number>;
  /** Inodes whose attributes have changed since. */
  readonly changed: Set<InodeId>;
}

export class DirectoryListing {
  readonly inode: InodeId;
  private readonly inodes: Inodes;
  private readonly clock: Clock;
  private readonly absent: AbsentXattrs;
  private readonly names = new PackedNames();
  private fetched: Fetched | undefined;

  constructor(inode: InodeId, inodes: Inodes, clock: Clock, absent: AbsentXattrs) {
    this.inode = inode;
    this.inodes = inodes;
    this.clock = clock;
    this.absent = absent;
  }

  /** Entries behind `cookie`; none at the end. @throws DfsError as `Inodes.readdir`; `invalid` for a cookie that was not given. */
  async list(cookie: bigint, signal?: CancelSignal): Promise<Iterable<ListedEntry>> {
    if (cookie === 0n) return this.begin(signal);
    if (cookie === DOT) return [await this.parent(signal)];
    return this.behind(cookie, signal);
  }

  /** The attributes of an inode have changed: those that were fetched are not given out. */
  changed(inode: InodeId): void {
    if (this.isFresh) this.fetched?.changed.add(inode);
    else this.outdated();
  }

  /** A name has been removed here. */
  removed(name: Uint8Array): void {
    const { page, removed } = this.fetched ?? {};
    if (page === undefined) return;
    for (let index = 0; index < page.length; index++) {
      if (Buffer.compare(page.nameAt(index), name) === 0) removed?.add(index);
    }
  }

  /** Names may mean something else now. */
  outdated(): void {
    this.fetched = undefined;
  }

  private get isFresh(): boolean {
    return this.fetched !== undefined && this.clock.monotonicMs() - this.fetched.atMs <= FRESH_MS;
  }

  private async begin(signal: CancelSignal | undefined): Promise<Iterable<ListedEntry>> {
    this.names.clear();
    this.outdated();
    const { inode } = this;
    const [dotDot, first] = await Promise.all([this.parent(signal), this.behind(DOT_DOT, signal)]);
    const dot = { name: DOT_NAME, inode, type: "directory", attributes: undefined } as const;
    return concatenated([{ ...dot, cookie: DOT }, dotDot], first);
  }

  private async parent(signal: CancelSignal | undefined): Promise<ListedEntry> {
    const place = { parent: this.inode, name: DOT_DOT_NAME };
    const { inode } = await this.inodes.lookup(place, { signal });
    const cookie = DOT_DOT;
    return { name: DOT_DOT_NAME, inode, type: "directory", attributes: undefined, cookie };
  }

  private async behind(
    cookie: bigint,
    signal: CancelSignal | undefined,
  ): Promise<Iterable<ListedEntry>> {
    const kept = this.kept(cookie);
    if (kept !== undefined) return kept;
    const after = cookie === DOT_DOT ? undefined : this.names.at(Number(cookie - DOT_DOT) - 1);
    const atMs = this.clock.monotonicMs();
    const { moment } = this.absent;
    const page = await this.inodes.readdir(this.inode, after, PAGE_ENTRIES, { signal });
    const first = DOT_DOT + 1n + BigInt(this.names.count);
    this.note(page, moment);
    this.fetched = { atMs, page, after: cookie, first, removed: new Set(), changed: new Set() };
    return listed(this.fetched, 0);
  }

  /** What is left of the last page behind `cookie`, or undefined when it has to be fetched. */
  private kept(cookie: bigint): Iterable<ListedEntry> | undefined {
    const { fetched } = this;
    if (fetched === undefined || !this.isFresh) return undefined;
    const { page, after, first, removed } = fetched;
    const start = cookie === after ? 0 : Number(cookie - first) + 1;
    if (start < 0 || start > page.length) return undefined;
    let left = start;
    while (removed.has(left)) left++;
    return left < page.length || !page.more ? listed(fetched, start) : undefined;
  }

  /** Takes note of what has come: the names, as their cookies may be asked for. */
  private note(page: DirectoryPage, moment: number): void {
    for (let index = 0; index < page.length; index++) {
      this.names.add(page.nameAt(index));
      // ls -l asks for some of each name
      if (page.hasXattrsAt(index) === false) this.absent.hasNone(page.inodeAt(index), moment);
    }
  }
}

/** The entries from `start` on, each made when it is asked for: those that find no room in the reply never are. */
function* listed(fetched: Fetched, start: number): Generator<ListedEntry> {
  const { page, first, removed, changed } = fetched;
  for (let index = start; index < page.length; index++) {
    if (removed.has(index)) continue;
    const { name, inode, type, attributes: told } = page.at(index);
    const attributes = changed.has(inode) ? undefined : told;
    yield { name, inode, type, attributes, cookie: first + BigInt(index) };
  }
}

function* concatenated<T>(first: Iterable<T>, second: Iterable<T>): Generator<T> {
  yield* first;
  yield* second;
}

/** Names one behind the other in one buffer. */
class PackedNames {
  private bytes = new Uint8Array(4096);
  private ends: number[] = [];

  get count(): number {
    return this.ends.length;
  }

  clear(): void {
    this.ends = [];
  }

  add(name: Uint8Array): void {
    const start = this.ends.at(-1) ?? 0;
    const end = start + name.length;
    if (end > this.bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.bytes.length));
      larger.set(this.bytes.subarray(0, start));
      this.bytes = larger;
    }
    this.bytes.set(name, start);
    this.ends.push(end);
  }

  at(index: number): Uint8Array {
    const end = this.ends[index];
    if (end === undefined) {
      throw new DfsError("invalid", `the listing has not come to its name number ${index}`);
    }
    return this.bytes.slice(index === 0 ? 0 : this.ends[index - 1], end);
  }
}
