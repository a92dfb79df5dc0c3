/**
 * From the cluster to the local machine: one file, or a tree.
 *
 * Nothing is ever written outside the target, whatever names and links the cluster holds: names are checked, directories
 * are entered through descriptors (local-directories.ts), and everything is made under a temporary name, exclusively and
 * without following links, and renamed. So an interrupted download leaves no half file either.
 */
import {
  chmodSync,
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
import { isSuperuser } from "../shared/ownership.ts";
import { joined } from "../shared/paths.ts";
import { quoted } from "../shared/text.ts";
import type { Step } from "../shared/tree.ts";
import { fetchAttributes, localMode, TYPE_BITS } from "./attributes.ts";
import { attempt, HardLinks, Tally, type Surroundings, type TransferOptions } from "./jobs.ts";
import { O_PATH, type LocalDirectories, type LocalDirectory } from "./local-directories.ts";
import { makeNode, setTimes } from "./native.ts";
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

const TEMPORARY_PREFIX = ".dfs-get.";
const PRIVATE = 0o600;

export class Downloader {
  readonly tally = new Tally();
  readonly #around: Surroundings;
  readonly #options: TransferOptions;
  readonly #directories: LocalDirectories;
  readonly #links = new HardLinks<LocalPlace>();

  constructor(around: Surroundings, options: TransferOptions, directories: LocalDirectories) {
    this.#around = around;
    this.#options = options;
    this.#directories = directories;
  }

  /** The step for something named on the command line, whose attributes have been looked up. */
  async root({ from, to }: Download, attributes: Attributes): ReturnType<Step> {
    if (attributes.type === "directory" && !this.#options.recursive) {
      throw new Reason("invalid", "it is a directory\n-r fetches it with everything in it");
    }
    if ("directory" in to) return this.#entry(from, to, attributes);
    if (attributes.type !== "directory") throw new Reason("isDirectory", "a directory is there");
    return this.#enter(from, to, attributes, false);
  }

  async #entry(from: Uint8Array, to: LocalPlace, attributes: Attributes): ReturnType<Step> {
    const { type } = attributes;
    if (type === "directory") {
      const made = this.#directories.make(to.directory, to.name, to.path);
      return this.#enter(from, made.directory, attributes, made.isNew);
    }
    const make = (): Promise<void> => this.#make(from, to, attributes);
    if (!this.#options.preserve || attributes.nlink < 2) {
      await make();
    } else {
      const key = attributes.inode.toString();
      const isLink = await this.#links.place(key, to, make, (first) => this.#link(first, to));
      if (isLink) this.tally.hardLinks++;
    }
    this.#done(type);
    return undefined;
  }

  #make(from: Uint8Array, to: LocalPlace, attributes: Attributes): Promise<void> {
    switch (attributes.type) {
      case "file":
        return this.#file(from, to, attributes);
      case "symlink":
        return this.#symlink(from, to, attributes);
      default:
        return this.#special(to, attributes);
    }
  }

  #enter(
    from: Uint8Array,
    to: LocalDirectory,
    attributes: Attributes,
    isNew: boolean,
  ): Awaited<ReturnType<Step>> {
    this.#done("directory");
    return {
      steps: this.#inside(from, to),
      leave: async () => {
        if (!isNew && !this.#options.preserve) return;
        await this.#attempt(from, to.path, async () => {
          await this.#directories.use(to, (prefix) =>
            this.#finish(from, Buffer.concat([prefix, Buffer.from(".")]), attributes, chmodSync),
          );
          return undefined;
        });
      },
    };
  }

  async *#inside(from: Uint8Array, to: LocalDirectory): AsyncIterable<Step> {
    try {
      for await (const entry of this.#around.client.readdir(from)) {
        const { name, attributes } = entry;
        const child = joined(from, name);
        const place: LocalPlace = { directory: to, name, path: joined(to.path, name) };
        yield () =>
          this.#attempt(child, place.path, () => {
            checkName(name);
            return this.#entry(child, place, attributes);
          });
      }
    } catch (error) {
      this.#around.outcome.fail(`cannot list ${quoted(from)}`, error);
    }
  }

  async #file(from: Uint8Array, to: LocalPlace, attributes: Attributes): Promise<void> {
    await this.#appear(to, async (temporary, present) => {
      const { preserve } = this.#options;
      const flags =
        constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
      const descriptor = openSync(temporary, flags, PRIVATE);
      try {
        await this.#content(from, descriptor);
        const replaced = present?.isFile() && !preserve ? present : undefined;
        if (replaced !== undefined) keepOwner(descriptor, replaced);
        else {
          const setMode = (_path: Buffer, mode: number): void => fchmodSync(descriptor, mode);
          await this.#finish(from, temporary, attributes, setMode);
        }
      } finally {
        closeSync(descriptor);
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
      if (!this.#options.preserve) return;
      if (isSuperuser()) lchownSync(temporary, attributes.uid, attributes.gid);
      setTimes(temporary, attributes);
    });
  }

  async #special(to: LocalPlace, attributes: Attributes): Promise<void> {
    const { type } = attributes;
    const isDevice = type === "characterDevice" || type === "blockDevice";
    if (isDevice && !(this.#options.preserve && isSuperuser())) {
      throw new Reason("notPermitted", "it is a device; the superuser fetches those with -p");
    }
    await this.#appear(to, async (temporary) => {
      makeNode(temporary, TYPE_BITS[type] | PRIVATE, isDevice ? BigInt(attributes.rdev) : 0n);
      await this.#finish(undefined, temporary, attributes, chmodUnfollowed);
    });
  }

  async #link(first: LocalPlace, to: LocalPlace): Promise<void> {
    await this.#directories.use(first.directory, (prefix) =>
      this.#appear(to, (temporary) => linkSync(Buffer.concat([prefix, first.name]), temporary)),
    );
  }

  /** Lets `make` make something under a temporary name, and gives it its name when it is whole. */
  async #appear(
    to: LocalPlace,
    make: (temporary: Buffer, present: Stats | undefined) => Promise<void> | void,
  ): Promise<void> {
    await this.#directories.use(to.directory, async (prefix) => {
      const place = Buffer.concat([prefix, to.name]);
      const present = lstatSync(place, { throwIfNoEntry: false });
      if (present?.isDirectory()) throw new Reason("isDirectory", "a directory is there");
      const unique = Buffer.from(`${TEMPORARY_PREFIX}${crypto.randomUUID()}`);
      const temporary = Buffer.concat([prefix, unique]);
      rememberTemporary(temporary);
      try {
        await make(temporary, present);
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

  /** Gives a finished copy its owner, attributes, mode and times, in this order: each would undo one before it. */
  async #finish(
    from: Uint8Array | undefined,
    path: Buffer,
    attributes: Attributes,
    setMode: (path: Buffer, mode: number) => void,
  ): Promise<void> {
    const { preserve } = this.#options;
    if (preserve && isSuperuser()) lchownSync(path, attributes.uid, attributes.gid);
    if (preserve && from !== undefined) await fetchAttributes(this.#around.client, from, path);
    setMode(path, localMode(attributes, preserve));
    if (preserve) setTimes(path, attributes);
  }

  #attempt(from: Uint8Array, to: Uint8Array, work: () => ReturnType<Step>): ReturnType<Step> {
    return attempt(this.#around.outcome, `cannot fetch ${quoted(from)} to ${quoted(to)}`, work);
  }

  #done(type: Attributes["type"]): void {
    this.tally.count(type);
    if (type !== "directory") this.#around.progress.files++;
    this.#around.outcome.succeed();
  }
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

function unlinkIfThere(path: Buffer): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") throw error;
  }
}
