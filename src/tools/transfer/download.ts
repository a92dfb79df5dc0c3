/**
 * From the cluster to the local machine: one file, or a tree.
 *
 * Nothing is ever written outside the target, whatever names and links the cluster holds: names are checked, directories
 * are entered through descriptors (local-directories.ts), and everything is made without a name (unnamed-file.ts) or under a
 * temporary one, exclusively and without following links. So an interrupted download leaves no half file either.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lchownSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  type Stats,
} from "node:fs";
import { systemCodeOf } from "../../base/errors.ts";
import { MAX_NAME_BYTES } from "../../base/limits.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import { Reason } from "../shared/errors.ts";
import { forgetTemporary, rememberTemporary } from "../shared/interruption.ts";
import { JustMade } from "../shared/just-made.ts";
import { isSuperuser } from "../shared/ownership.ts";
import { joined } from "../shared/paths.ts";
import { quoted } from "../shared/text.ts";
import type { Step } from "../shared/tree.ts";
import { fetchAttributes, localMode, removeOtherLocalAttributes, TYPE_BITS } from "./attributes.ts";
import { attempt, HardLinks, Tally, type Surroundings, type TransferWish } from "./jobs.ts";
import { O_PATH, type LocalDirectories, type LocalDirectory } from "./local-directories.ts";
import { fetchedAlready } from "./fetched-already.ts";
import { makeNode, setTimes, type FileTimes } from "./native.ts";
import { temporaryName, UnnamedFile } from "./unnamed-file.ts";
import { writeContent } from "./write-content.ts";

/** Where a copy goes: a name in a directory, and the whole path for messages. */
export interface LocalPlace {
  readonly directory: LocalDirectory;
  readonly name: Uint8Array;
  readonly path: Uint8Array;
}

export interface Download {
  readonly from: Uint8Array;
  /** A place, or a directory that a tree's content goes right into. */
  readonly to: LocalPlace | LocalDirectory;
}

/** What is in the cluster, and where in the tree that was named; there it is empty for what was named itself. */
interface Found {
  readonly from: Uint8Array;
  readonly inTree: Uint8Array;
  readonly attributes: Attributes;
}

const NAMED_ITSELF = new Uint8Array();

const PRIVATE = 0o600;
const NS_PER_MS = 1_000_000n;

export class Downloader {
  readonly tally = new Tally();
  readonly #around: Surroundings;
  readonly #wish: TransferWish;
  readonly #directories: LocalDirectories;
  readonly #links = new HardLinks<LocalPlace>();
  readonly #made = new JustMade();
  #hasWarned = false;

  constructor(around: Surroundings, wish: TransferWish, directories: LocalDirectories) {
    this.#around = around;
    this.#wish = wish;
    this.#directories = directories;
  }

  /** The step for something named on the command line, whose attributes have been looked up. */
  async root({ from, to }: Download, attributes: Attributes): ReturnType<Step> {
    if (attributes.type === "directory" && !this.#wish.recursive) {
      throw new Reason("invalid", "it is a directory\n-r fetches it with everything in it");
    }
    const found = { from, inTree: NAMED_ITSELF, attributes };
    if ("directory" in to && attributes.type !== "directory") {
      this.#made.refuse(to.path);
      this.#made.add(to.path);
    }
    if ("directory" in to) return this.#entry(found, to);
    if (attributes.type !== "directory") throw new Reason("isDirectory", "a directory is there");
    return this.#enter(found, to, false);
  }

  async #entry(found: Found, to: LocalPlace): ReturnType<Step> {
    const { from, attributes } = found;
    if (attributes.type === "directory") return this.#directory(found, to);
    const make = (): Promise<void> => this.#make(from, to, attributes);
    if (!this.#wish.preserve || attributes.nlink < 2) {
      await make();
    } else {
      const key = attributes.inode.toString();
      const isLink = await this.#links.place(key, to, make, (first) =>
        this.#link(from, first, to, attributes),
      );
      if (isLink) this.tally.hardLinks++;
    }
    return undefined;
  }

  async #directory(found: Found, to: LocalPlace): ReturnType<Step> {
    const { rehearsal, preserve } = this.#wish;
    if (rehearsal === undefined) {
      // The right ones from the start: after an interruption nobody could tell that they are still to be set.
      const mode = preserve ? undefined : localMode(found.attributes, false);
      const made = this.#directories.make(to.directory, to.name, to.path, mode);
      return this.#enter(found, made.directory, made.isNew);
    }
    const directory = this.#directories.find(to.directory, to.name, to.path);
    if (directory !== undefined) return this.#enter(found, directory, false);
    await rehearsal.tell({ from: found.from, to: to.path, type: "directory" });
    return this.#enter(
      found,
      { parent: undefined, name: to.name, path: to.path, isOnlyPlanned: true },
      true,
    );
  }

  /** Makes something that is no directory, or would, unless it is there already. */
  async #make(from: Uint8Array, to: LocalPlace, attributes: Attributes): Promise<void> {
    const { rehearsal } = this.#wish;
    const { type } = attributes;
    if (await this.#isThere(from, to, attributes)) return this.#skipped(attributes.size);
    if (rehearsal !== undefined) {
      await this.#refuseDirectory(to);
      await rehearsal.tell({
        from,
        to: to.path,
        type,
        ...(type === "file" ? { bytes: attributes.size } : {}),
      });
    } else if (type === "file") await this.#file(from, to, attributes);
    else if (type === "symlink") await this.#symlink(from, to, attributes);
    else await this.#special(to, attributes);
    this.#done(type);
  }

  async #refuseDirectory({ directory, name }: LocalPlace): Promise<void> {
    if (directory.isOnlyPlanned) return;
    await this.#directories.use(directory, (prefix) => {
      presentAt(Buffer.concat([prefix, name]));
    });
  }

  /** True when a complete copy is at the target; what else a transfer keeps it has got then, too. */
  async #isThere(from: Uint8Array, to: LocalPlace, attributes: Attributes): Promise<boolean> {
    const { skipping, rehearsal, preserve, recursive } = this.#wish;
    if (skipping === "nothing" || to.directory.isOnlyPlanned) return false;
    return this.#directories.use(to.directory, async (prefix) => {
      const place = Buffer.concat([prefix, to.name]);
      const pair = { from, place, attributes };
      if (!(await fetchedAlready(this.#around.client, this.#wish, pair))) return false;
      if (rehearsal === undefined && attributes.type === "file") {
        if (preserve) {
          await this.#finish(from, place, attributes, false);
          await removeOtherLocalAttributes(this.#around.client, from, place);
        } else if (recursive) setTimes(place, keptTimes(attributes));
      }
      return true;
    });
  }

  #enter(found: Found, to: LocalDirectory, isNew: boolean): Awaited<ReturnType<Step>> {
    const { from, attributes } = found;
    const { preserve, rehearsal } = this.#wish;
    this.#done("directory");
    return {
      steps: this.#inside(found, to),
      leave: async () => {
        if (rehearsal !== undefined || (!isNew && !preserve)) return;
        await this.#attempt(from, to.path, async () => {
          await this.#directories.use(to, (prefix) =>
            this.#finish(from, Buffer.concat([prefix, Buffer.from(".")]), attributes, false),
          );
          return undefined;
        });
      },
    };
  }

  async *#inside({ from, inTree }: Found, to: LocalDirectory): AsyncIterable<Step> {
    const { exclusion } = this.#wish;
    try {
      for await (const { name, attributes } of this.#around.client.readdir(from)) {
        const below = joined(inTree, name);
        if (exclusion.excludes(below, attributes.type === "directory")) continue;
        const child = joined(from, name);
        const place: LocalPlace = { directory: to, name, path: joined(to.path, name) };
        yield () =>
          this.#attempt(child, place.path, () => {
            checkName(name);
            return this.#entry({ from: child, inTree: below, attributes }, place);
          });
      }
    } catch (error) {
      this.#around.outcome.fail(`cannot list ${quoted(from)}`, error);
    }
  }

  async #file(from: Uint8Array, to: LocalPlace, attributes: Attributes): Promise<void> {
    const { preserve, recursive } = this.#wish;
    await this.#directories.use(to.directory, async (prefix) => {
      const place = Buffer.concat([prefix, to.name]);
      const present = presentAt(place);
      const file = UnnamedFile.open(prefix);
      try {
        await this.#content(from, file.descriptor);
        const replaced = present?.isFile() && !preserve ? present : undefined;
        if (replaced === undefined) await this.#finish(from, file.path, attributes, true);
        else keepOwner(file.descriptor, replaced);
        if (recursive && !preserve) setTimes(file.path, keptTimes(attributes), true);
        file.giveName(place);
      } finally {
        file.close();
      }
    });
  }

  /** Writes the content of the file `from` into an open one. */
  async #content(from: Uint8Array, descriptor: number): Promise<void> {
    const { client, progress, signal } = this.#around;
    const file = await client.open(from);
    try {
      await writeContent(file.runs({ signal }), descriptor, (bytes) => (progress.bytes += bytes));
    } finally {
      await file.close();
    }
  }

  async #symlink(from: Uint8Array, to: LocalPlace, attributes: Attributes): Promise<void> {
    const target = await this.#around.client.readlink(from);
    await this.#appear(to, (temporary) => {
      symlinkSync(Buffer.from(target), temporary);
      if (!this.#wish.preserve) return;
      if (isSuperuser()) lchownSync(temporary, attributes.uid, attributes.gid);
      setTimes(temporary, attributes);
    });
  }

  async #special(to: LocalPlace, attributes: Attributes): Promise<void> {
    const { type } = attributes;
    const isDevice = type === "characterDevice" || type === "blockDevice";
    if (isDevice && !(this.#wish.preserve && isSuperuser())) {
      throw new Reason("notPermitted", "it is a device; the superuser fetches those with -p");
    }
    await this.#appear(to, async (temporary) => {
      makeNode(temporary, TYPE_BITS[type] | PRIVATE, isDevice ? BigInt(attributes.rdev) : 0n);
      await this.#finish(undefined, temporary, attributes, false);
    });
  }

  async #link(
    from: Uint8Array,
    first: LocalPlace,
    to: LocalPlace,
    { type }: Attributes,
  ): Promise<void> {
    const { rehearsal, skipping } = this.#wish;
    if (skipping !== "nothing" && (await this.#areOne(first, to))) return this.#skipped(0);
    if (rehearsal !== undefined) await rehearsal.tell({ from, to: to.path, type });
    else {
      await this.#directories.use(first.directory, (prefix) =>
        this.#appear(to, (temporary) => linkSync(Buffer.concat([prefix, first.name]), temporary)),
      );
    }
    this.#done(type);
  }

  /** True when both are names of one file. */
  async #areOne(...places: readonly LocalPlace[]): Promise<boolean> {
    if (places.some(({ directory }) => directory.isOnlyPlanned)) return false;
    const files = await Promise.all(
      places.map(({ directory, name }) =>
        this.#directories.use(directory, (prefix) =>
          lstatSync(Buffer.concat([prefix, name]), { bigint: true, throwIfNoEntry: false }),
        ),
      ),
    );
    const [one, ...others] = files;
    return (
      one !== undefined && others.every((each) => each?.ino === one.ino && each.dev === one.dev)
    );
  }

  /** Lets `make` make something under a temporary name, and gives it its name when it is whole. */
  async #appear(to: LocalPlace, make: (temporary: Buffer) => Promise<void> | void): Promise<void> {
    await this.#directories.use(to.directory, async (prefix) => {
      const place = Buffer.concat([prefix, to.name]);
      const present = presentAt(place);
      const temporary = temporaryName(prefix);
      rememberTemporary(temporary);
      try {
        await make(temporary);
        renameSync(temporary, place);
        // Of two names of one file, rename(2) does nothing, and both stay.
        if (present !== undefined && present.nlink > 1) unlinkIfThere(temporary);
      } catch (error) {
        unlinkIfThere(temporary);
        throw error;
      } finally {
        forgetTemporary(temporary);
      }
    });
  }

  /**
   * Gives a finished copy its owner, attributes, mode and times, in this order: each would undo one before it. `path` is
   * followed when it is the link of an open file.
   */
  async #finish(
    from: Uint8Array | undefined,
    path: Buffer,
    attributes: Attributes,
    follow: boolean,
  ): Promise<void> {
    const { preserve } = this.#wish;
    const setOwner = follow ? chownSync : lchownSync;
    if (preserve && isSuperuser()) setOwner(path, attributes.uid, attributes.gid);
    if (preserve && from !== undefined) {
      const areKept = await fetchAttributes(this.#around.client, from, path, follow);
      if (!areKept) this.#warnWithoutAttributes();
    }
    const setMode = follow ? chmodSync : chmodUnfollowed;
    setMode(path, localMode(attributes, preserve));
    if (preserve) setTimes(path, attributes, follow);
  }

  /** Once: what has attributes has them everywhere in a tree. */
  #warnWithoutAttributes(): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#around.outcome.warn(
      "the local file system keeps no extended attributes: what has some is fetched without",
    );
  }

  #attempt(from: Uint8Array, to: Uint8Array, work: () => ReturnType<Step>): ReturnType<Step> {
    return attempt(this.#around.outcome, `cannot fetch ${quoted(from)} to ${quoted(to)}`, work);
  }

  #skipped(bytes: number): void {
    this.tally.skipped++;
    this.#around.progress.skip(bytes);
    this.#around.outcome.succeed();
  }

  #done(type: Attributes["type"]): void {
    this.tally.count(type);
    if (type !== "directory") this.#around.progress.files++;
    this.#around.outcome.succeed();
  }
}

/** Files of a tree keep the time of their last change: by that a later run knows them. */
function keptTimes({ mtimeNs }: Attributes): FileTimes {
  return { atimeNs: BigInt(Date.now()) * NS_PER_MS, mtimeNs };
}

/** The service refuses such names; a download trusts nobody with where it writes. */
export function checkName(name: Uint8Array): void {
  const text = Buffer.from(name).toString("latin1");
  const isWrong =
    text === "" ||
    text === "." ||
    text === ".." ||
    text.includes("/") ||
    text.includes("\0") ||
    name.length > MAX_NAME_BYTES;
  if (isWrong) throw new Reason("invalid", "no file here can have that name");
}

/** A file that is replaced without -p passes its mode and, as far as we may, its owner on, as with cp. */
function keepOwner(descriptor: number, present: Stats): void {
  const own = fstatSync(descriptor);
  if (own.uid !== present.uid || own.gid !== present.gid) {
    try {
      fchownSync(descriptor, present.uid, present.gid);
    } catch (error) {
      if (systemCodeOf(error) !== "EPERM") throw error;
    }
  }
  fchmodSync(descriptor, present.mode & 0o7777);
}

/** chmod(2) follows links, so it gets the path of a descriptor that was opened without. */
function chmodUnfollowed(path: Buffer, mode: number): void {
  const descriptor = openSync(path, O_PATH | constants.O_NOFOLLOW);
  try {
    chmodSync(`/proc/self/fd/${descriptor}`, mode);
  } finally {
    closeSync(descriptor);
  }
}

/** What has the name already; not a directory, which nothing replaces. */
function presentAt(place: Buffer): Stats | undefined {
  const present = lstatSync(place, { throwIfNoEntry: false });
  if (present?.isDirectory()) throw new Reason("isDirectory", "a directory is there");
  return present;
}

function unlinkIfThere(path: Buffer): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") throw error;
  }
}
