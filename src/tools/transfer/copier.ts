/**
 * From one place in the cluster to another: one file, or a tree. Files share their blocks with what they are copied from; no
 * content moves.
 *
 * Each file appears whole under its name, symbolic links and special files by rename. A directory gets its times when
 * everything in it is there. What cannot be copied is told, and the rest goes on.
 */
import { isDfsError } from "../../base/errors.ts";
import { ROOT_INODE } from "../../base/ids.ts";
import type { FileOwner } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import { appear } from "../shared/appear.ts";
import { Reason } from "../shared/errors.ts";
import { JustMade } from "../shared/just-made.ts";
import { behindLinks } from "../shared/links.ts";
import type { Output } from "../shared/output.ts";
import { isSuperuser, ownOwner } from "../shared/ownership.ts";
import { endsInSlash, joined, parentPath } from "../shared/paths.ts";
import { escaped, quoted } from "../shared/text.ts";
import type { Step } from "../shared/tree.ts";
import { copiedMode, keptMode } from "./attributes.ts";
import { attempt, HardLinks, Tally, type Surroundings, type TransferOptions } from "./jobs.ts";

const USER_PREFIX = "user.";

export interface CopyWish extends TransferOptions {
  /** What is there already, and is no directory, stays. */
  readonly noReplace: boolean;
}

/** A source and where it goes. */
export interface Copy {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** With what it is. */
interface Found extends Copy {
  readonly source: Attributes;
  /** True for what was named; false for what is in a directory, where links are never followed. */
  readonly isNamed: boolean;
}

export class Copier {
  readonly tally = new Tally();
  readonly #around: Surroundings;
  readonly #options: CopyWish;
  /** Where each copy is told; undefined: nowhere. */
  readonly #told: Output | undefined;
  readonly #links = new HardLinks<Uint8Array>();
  /** Names of files that were named: a second source of one name must not replace the first. */
  readonly #made = new JustMade();

  constructor(around: Surroundings, options: CopyWish, told: Output | undefined) {
    this.#around = around;
    this.#options = options;
    this.#told = told;
  }

  /** The steps for what was named on the command line. */
  async *roots(copies: Iterable<Copy>): AsyncIterable<Step> {
    for (const copy of copies) {
      yield () => this.#attempt(copy, () => this.#root(copy));
    }
  }

  #attempt({ from, to }: Copy, work: () => ReturnType<Step>): ReturnType<Step> {
    return attempt(this.#around.outcome, `cannot copy ${quoted(from)} to ${quoted(to)}`, work);
  }

  async #root({ from, to }: Copy): ReturnType<Step> {
    const { client } = this.#around;
    const { recursive } = this.#options;
    const source = await client.stat(from, { follow: !recursive || endsInSlash(from) });
    const isDirectory = source.type === "directory";
    if (isDirectory && !recursive) {
      throw new Reason("invalid", "it is a directory\n-r copies it with everything in it");
    }
    if (!isDirectory && endsInSlash(to)) throw new Reason("notDirectory", "no such directory");
    if (!isDirectory) {
      this.#made.refuse(to);
      this.#made.add(to);
    }
    if (!isDirectory && (await this.#leaves(to))) return undefined;
    await this.#refuseSame(from, to, source);
    if (isDirectory) await this.#refuseInside(source, to);
    return this.#entry({ from, to, source, isNamed: true });
  }

  /** True when the name is taken and such are to be left alone; that is counted. */
  async #leaves(to: Uint8Array): Promise<boolean> {
    if (!this.#options.noReplace || (await this.#inodeAt(to, false)) === undefined) return false;
    this.tally.skipped++;
    this.#around.outcome.succeed();
    return true;
  }

  /** Neither a file onto itself, nor a link onto what it leads to. */
  async #refuseSame(from: Uint8Array, to: Uint8Array, source: Attributes): Promise<void> {
    const inodes = await Promise.all([
      this.#inodeAt(to, false),
      this.#inodeAt(to, true),
      source.type === "symlink" ? this.#inodeAt(from, true) : undefined,
    ]);
    const [own, behind, ledTo] = inodes;
    const isSame = own === source.inode || behind === source.inode;
    if (isSame || (ledTo !== undefined && ledTo === own)) {
      throw new Reason("invalid", "both are the same file");
    }
  }

  async #inodeAt(path: Uint8Array, follow: boolean): Promise<Attributes["inode"] | undefined> {
    try {
      return (await this.#around.client.stat(path, { follow })).inode;
    } catch (error) {
      const isNone = ["notFound", "notDirectory", "loop"] as const;
      if (isNone.some((kind) => isDfsError(error, kind))) return undefined;
      throw error;
    }
  }

  /** A directory is not copied to a place in itself: that would have no end. */
  async #refuseInside(source: Attributes, to: Uint8Array): Promise<void> {
    const { client } = this.#around;
    const { inode } = await client.stat(parentPath(to), { follow: true });
    for (let at = inode; ;) {
      if (at === source.inode) {
        throw new Reason("invalid", "a directory cannot be copied to a place in itself");
      }
      if (at === ROOT_INODE) return;
      at = (await client.inodes.lookup({ parent: at, name: Buffer.from("..") })).inode;
    }
  }

  async #entry(found: Found): ReturnType<Step> {
    const { from, to, source } = found;
    if (source.type === "directory") return this.#directory(found);
    if (!found.isNamed && (await this.#leaves(to))) return undefined;
    const make = async (): Promise<void> => {
      if (source.type === "file") await this.#file(found);
      else if (source.type === "symlink") await this.#symlink(found);
      else await this.#special(found);
    };
    if (!this.#options.preserve || source.nlink < 2) await make();
    else {
      const isLink = await this.#links.place(String(source.inode), to, make, (first) =>
        appear(this.#around.client, to, (name) => this.#around.client.link(first, name)),
      );
      if (isLink) this.tally.hardLinks++;
    }
    await this.#done(from, to, source);
    return undefined;
  }

  async #file({ to, source, isNamed }: Found): Promise<void> {
    const { client, signal } = this.#around;
    const { preserve } = this.#options;
    // cp writes to what an existing target link leads to; so the name to clone to is the one behind all links.
    const target = isNamed ? await behindLinks(client, to) : to;
    const copy = await client.clone(source, target, {
      ...this.#owner(source),
      keepReplaced: !preserve,
      signal,
      ...(preserve ? timesOf(source) : {}),
    });
    if (preserve) await this.#copyXattrs(source, copy);
  }

  async #symlink({ from, to, source }: Found): Promise<void> {
    const { client } = this.#around;
    const target = await client.readlink(from);
    const { uid, gid } = this.#owner(source);
    await appear(client, to, async (name) => {
      await client.symlink(target, name, { uid, gid });
      if (this.#options.preserve) await client.setattr(name, timesOf(source), { follow: false });
    });
  }

  async #special({ to, source }: Found): Promise<void> {
    const { client } = this.#around;
    const { preserve, recursive } = this.#options;
    if (!recursive) throw new Reason("invalid", `it is a ${source.type}\n-r copies it as such`);
    const isDevice = source.type === "characterDevice" || source.type === "blockDevice";
    if (isDevice && !isSuperuser()) {
      throw new Reason("notPermitted", "it is a device; only the superuser copies those");
    }
    await appear(client, to, async (name) => {
      await client.mknod(name, source.type, source.rdev, this.#owner(source));
      if (preserve) await client.setattr(name, timesOf(source), { follow: false });
    });
  }

  async #directory(found: Found): ReturnType<Step> {
    const { client } = this.#around;
    const { from, to, source, isNamed } = found;
    const copy = await this.#ensureDirectory(found);
    await this.#done(from, to, source);
    return {
      steps: this.#inside(from, to),
      leave: async () => {
        if (!this.#options.preserve) return;
        await this.#attempt({ from, to }, async () => {
          await this.#copyXattrs(source, copy);
          const kept = { ...this.#owner(source), ...timesOf(source) };
          await client.setattr(to, kept, { follow: isNamed });
          return undefined;
        });
      },
    };
  }

  async #ensureDirectory({ to, source, isNamed }: Found): Promise<Attributes> {
    const { client } = this.#around;
    try {
      return await client.mkdir(to, this.#owner(source));
    } catch (error) {
      if (!isDfsError(error, "exists")) throw error;
      // What was named may be a link to a directory; inside a tree, links are never followed.
      const present = await client.stat(to, { follow: isNamed });
      if (present.type !== "directory") throw error;
      return present;
    }
  }

  async *#inside(from: Uint8Array, to: Uint8Array): AsyncIterable<Step> {
    const { client, outcome } = this.#around;
    try {
      for await (const { name, attributes } of client.readdir(from)) {
        const copy = { from: joined(from, name), to: joined(to, name) };
        yield () =>
          this.#attempt(copy, () => this.#entry({ ...copy, source: attributes, isNamed: false }));
      }
    } catch (error) {
      outcome.fail(`cannot list ${quoted(from)}`, error);
    }
  }

  /**
   * Mode and owner of a copy: with -p those of the source, as far as the user may give files away; else the user's own and
   * the source's permissions less the umask.
   */
  #owner(source: Attributes): FileOwner {
    const own = ownOwner(copiedMode(source.mode, source.type));
    if (!this.#options.preserve) return own;
    const { mode, uid, gid } = source;
    return { ...(isSuperuser() ? { uid, gid } : own), mode: keptMode(mode, uid, gid) };
  }

  /** The user's attributes; all of them for the superuser. */
  async #copyXattrs(source: Attributes, copy: Attributes): Promise<void> {
    const { inodes } = this.#around.client;
    for (const name of await inodes.xattrList(source.inode)) {
      const isUsers = Buffer.from(name).toString("latin1").startsWith(USER_PREFIX);
      if (!isUsers && !isSuperuser()) continue;
      await inodes.xattrSet(copy.inode, name, await inodes.xattrGet(source.inode, name), "any");
    }
  }

  async #done(from: Uint8Array, to: Uint8Array, source: Attributes): Promise<void> {
    this.tally.count(source.type);
    const { outcome, progress } = this.#around;
    if (source.type === "file") progress.bytes += source.size;
    if (source.type !== "directory") progress.files++;
    outcome.succeed();
    await this.#told?.line(`${escaped(from)} -> ${escaped(to)}`);
  }
}

function timesOf({ atimeNs, mtimeNs }: Attributes): { atimeNs: bigint; mtimeNs: bigint } {
  return { atimeNs, mtimeNs };
}
