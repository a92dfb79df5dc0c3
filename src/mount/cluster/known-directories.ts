/**
 * What is known of directories without asking, because this mount has just changed them.
 *
 * Each change of a name makes the kernel ask for the directory's attributes, and before a name is made it is looked up. The
 * service tells the attributes with the change. Of a directory that this mount has made all names are known, as long as nobody
 * else changes names in it: each such change raises its version by one, so a jump tells.
 *
 * Invariants
 * - What is given out is no older than a second, and than the kernel would go by it. Its age is given with it, so that the kernel
 *   goes by it for so much less: what the service has told is believed no longer than without this.
 * - The first notice about a directory ends what is known of it, and whatever was under way when it came is not remembered.
 */
import type { Clock } from "../../base/clock.ts";
import type { InodeId } from "../../base/ids.ts";
import { MAX_NAME_BYTES } from "../../base/limits.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import type { Timeouts } from "../file-system.ts";

const FRESH_MS = 1_000;
/** Directories that are remembered; the oldest go first. */
const MAX_DIRECTORIES = 1_000;
/** Names that are remembered of all directories together; beyond them no more are. */
const MAX_NAMES = 100_000;

/** When the service was asked for a change, for what it tells of it. */
export interface Moment {
  readonly askedMs: number;
  /** What had been forgotten until then. */
  readonly forgotten: number;
}

/** Attributes, and how long ago the service was asked for them. */
export interface Aged {
  readonly attributes: Attributes;
  readonly ageMs: number;
}

interface Known {
  /** Undefined when they have been changed in another way than by names. */
  attributes: Attributes | undefined;
  version: bigint;
  askedMs: number;
  /** All of them; undefined: not known. */
  names: Set<string> | undefined;
}

/** What a change has done to a directory's names. */
export interface NameChange {
  readonly added?: Uint8Array;
  readonly removed?: Uint8Array;
}

export class KnownDirectories {
  private readonly clock: Clock;
  private readonly attributesMs: number;
  private readonly namesMs: number;
  /** The one that was changed last comes last. */
  private readonly known = new Map<InodeId, Known>();
  private nameCount = 0;
  /** Counts what is forgotten. */
  private forgotten = 0;

  /** `timeouts`: how long the kernel goes by what it is told. */
  constructor(clock: Clock, { attributesMs, negativeMs }: Timeouts) {
    this.clock = clock;
    this.attributesMs = Math.min(FRESH_MS, attributesMs);
    this.namesMs = Math.min(FRESH_MS, negativeMs);
  }

  /** To be taken before the service is asked for a change. */
  moment(): Moment {
    return { askedMs: this.clock.monotonicMs(), forgotten: this.forgotten };
  }

  /** Attributes that need not be asked for. */
  attributes(directory: InodeId): Aged | undefined {
    const known = this.known.get(directory);
    if (known?.attributes === undefined) return undefined;
    const ageMs = this.clock.monotonicMs() - known.askedMs;
    return ageMs < this.attributesMs ? { attributes: known.attributes, ageMs } : undefined;
  }

  /** How long ago the service had no such name; undefined: it has to be asked, as of a name that is too long to be one. */
  lacks(directory: InodeId, name: Uint8Array): number | undefined {
    if (name.length > MAX_NAME_BYTES || isDots(name)) return undefined;
    const known = this.known.get(directory);
    if (known?.names === undefined || known.names.has(keyOf(name))) return undefined;
    const ageMs = this.clock.monotonicMs() - known.askedMs;
    return ageMs < this.namesMs ? ageMs : undefined;
  }

  /** This mount has made the directory: it is empty. */
  made(attributes: Attributes, { askedMs, forgotten }: Moment): void {
    if (this.isOff || forgotten !== this.forgotten) return;
    const { version } = attributes;
    this.remember(attributes.inode, { attributes, version, askedMs, names: new Set() });
  }

  /** This mount has changed a name in the directory, whose attributes are these since then. */
  changed(attributes: Attributes, change: NameChange, { askedMs, forgotten }: Moment): void {
    const { inode, version } = attributes;
    if (this.isOff || forgotten !== this.forgotten) return this.drop(inode);
    const before = this.known.get(inode);
    const isOurs = before !== undefined && version === before.version + 1n;
    const names = isOurs ? this.changedNames(before.names, change) : undefined;
    this.remember(inode, { attributes, version, askedMs, names });
  }

  /** Its attributes have been changed, but no names. */
  forgetAttributes(directory: InodeId): void {
    this.forgotten++;
    const known = this.known.get(directory);
    if (known !== undefined) known.attributes = undefined;
  }

  /** Attributes of directories have been changed by names that this mount has changed, nobody says of which ones. */
  forgetAllAttributes(): void {
    for (const known of this.known.values()) known.attributes = undefined;
  }

  forget(directory: InodeId): void {
    this.forgotten++;
    this.drop(directory);
  }

  forgetAll(): void {
    this.forgotten++;
    this.known.clear();
    this.nameCount = 0;
  }

  private get isOff(): boolean {
    return this.attributesMs === 0 && this.namesMs === 0;
  }

  private changedNames(
    names: Set<string> | undefined,
    { added, removed }: NameChange,
  ): Set<string> | undefined {
    if (names === undefined) return undefined;
    if (removed !== undefined && names.delete(keyOf(removed))) this.nameCount--;
    if (added === undefined) return names;
    if (this.nameCount >= MAX_NAMES) return undefined;
    this.nameCount++;
    return names.add(keyOf(added));
  }

  private remember(directory: InodeId, known: Known): void {
    const names = this.known.get(directory)?.names;
    if (names !== undefined && names !== known.names) this.nameCount -= names.size;
    this.known.delete(directory);
    this.known.set(directory, known);
    if (this.known.size > MAX_DIRECTORIES) this.drop(this.known.keys().next().value!);
  }

  private drop(directory: InodeId): void {
    this.nameCount -= this.known.get(directory)?.names?.size ?? 0;
    this.known.delete(directory);
  }
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name.buffer, name.byteOffset, name.length).toString("latin1");
}

/** `.` and `..` are in no list of names. */
function isDots(name: Uint8Array): boolean {
  return name.length <= 2 && name.every((byte) => byte === 0x2e);
}
