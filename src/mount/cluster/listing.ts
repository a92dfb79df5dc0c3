/**
 * An open directory: gives out its entries page by page under cookies, numbers that stay good while it is open.
 *
 * The service goes on behind a name. So a cookie stands for a name, and all names that were given out are kept, packed, until
 * the listing begins anew. Entries that the driver did not take are kept for its next call, if that comes soon; what this
 * mount changes in the meantime is taken out of them, as the kernel would believe them more than what it knows.
 */
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

/** What was fetched, each with its cookie. */
interface Fetched {
  readonly atMs: number;
  readonly entries: ListedEntry[];
  /** The cookie behind which the first of them is. */
  readonly after: bigint;
  readonly more: boolean;
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
  async list(cookie: bigint, signal?: AbortSignal): Promise<readonly ListedEntry[]> {
    if (cookie === 0n) return this.begin(signal);
    if (cookie === DOT) return [await this.parent(signal)];
    return this.behind(cookie, signal);
  }

  /** The attributes of an inode have changed: those that were fetched are not given out. */
  changed(inode: InodeId): void {
    const { fetched } = this;
    fetched?.entries.forEach((entry, at) => {
      if (entry.inode === inode) fetched.entries[at] = { ...entry, attributes: undefined };
    });
  }

  /** A name has been removed here. */
  removed(name: Uint8Array): void {
    const entries = this.fetched?.entries ?? [];
    const at = entries.findIndex((entry) => Buffer.compare(entry.name, name) === 0);
    if (at >= 0) entries.splice(at, 1);
  }

  /** Names may mean something else now. */
  outdated(): void {
    this.fetched = undefined;
  }

  private async begin(signal: AbortSignal | undefined): Promise<readonly ListedEntry[]> {
    this.names.clear();
    this.outdated();
    const { inode } = this;
    const [dotDot, first] = await Promise.all([this.parent(signal), this.behind(DOT_DOT, signal)]);
    const dot = { name: DOT_NAME, inode, type: "directory", attributes: undefined } as const;
    return [{ ...dot, cookie: DOT }, dotDot, ...first];
  }

  private async parent(signal: AbortSignal | undefined): Promise<ListedEntry> {
    const place = { parent: this.inode, name: DOT_DOT_NAME };
    const { inode } = await this.inodes.lookup(place, { signal });
    const cookie = DOT_DOT;
    return { name: DOT_DOT_NAME, inode, type: "directory", attributes: undefined, cookie };
  }

  private async behind(cookie: bigint, signal: AbortSignal | undefined): Promise<ListedEntry[]> {
    const kept = this.kept(cookie);
    if (kept !== undefined) return kept;
    const after = cookie === DOT_DOT ? undefined : this.names.at(Number(cookie - DOT_DOT) - 1);
    const atMs = this.clock.monotonicMs();
    const { moment } = this.absent;
    const page = await this.inodes.readdir(this.inode, after, PAGE_ENTRIES, { signal });
    for (const each of page.entries) {
      if (each.hasXattrs === false) this.absent.hasNone(each.inode, moment); // ls -l asks for some of each name
    }
    const entries = this.numbered(page);
    this.fetched = { atMs, entries, after: cookie, more: page.more };
    return [...entries];
  }

  /** What is left of the last page behind `cookie`, or undefined when it has to be fetched. */
  private kept(cookie: bigint): ListedEntry[] | undefined {
    const { fetched } = this;
    if (fetched === undefined || this.clock.monotonicMs() - fetched.atMs > FRESH_MS)
      return undefined;
    const last = fetched.entries.at(-1)?.cookie ?? fetched.after;
    if (cookie < fetched.after || cookie > last) return undefined;
    const left = fetched.entries.filter((entry) => entry.cookie > cookie);
    return left.length > 0 || !fetched.more ? left : undefined;
  }

  private numbered({ entries }: DirectoryPage): ListedEntry[] {
    return entries.map(({ name, inode, type, attributes }) => ({
      name,
      inode,
      type,
      attributes,
      cookie: DOT_DOT + 1n + BigInt(this.names.add(name)),
    }));
  }
}

/** Names one behind the other in one buffer. */
class PackedNames {
  private bytes = new Uint8Array(4096);
  private ends: number[] = [];

  clear(): void {
    this.ends = [];
  }

  /** Returns the index of the name. */
  add(name: Uint8Array): number {
    const start = this.ends.at(-1) ?? 0;
    const end = start + name.length;
    if (end > this.bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.bytes.length));
      larger.set(this.bytes.subarray(0, start));
      this.bytes = larger;
    }
    this.bytes.set(name, start);
    return this.ends.push(end) - 1;
  }

  at(index: number): Uint8Array {
    const end = this.ends[index];
    if (end === undefined) {
      throw new DfsError("invalid", `the listing has not come to its name number ${index}`);
    }
    return this.bytes.slice(index === 0 ? 0 : this.ends[index - 1], end);
  }
}
