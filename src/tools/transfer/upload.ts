/**
 * From the local machine into the cluster: one file, or a tree.
 *
 * Each file appears whole under its name (`put` is atomic), symbolic links and special files by rename. A directory gets
 * its times when everything in it is there. What cannot be stored is told, and the rest goes on. What is stored already is
skipped (stored-already.ts).
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  open,
  openSync,
  readdirSync,
  readlinkSync,
  statSync,
  type BigIntStats,
} from "node:fs";
import { promisify } from "node:util";
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { ContentRun, FileOwner } from "../../client/api.ts";
import type { FileType } from "../../protocol/messages/common.ts";
import { appear } from "../shared/appear.ts";
import { Reason } from "../shared/errors.ts";
import { JustMade } from "../shared/just-made.ts";
import { behindLinks } from "../shared/links.ts";
import { isSuperuser, ownOwner } from "../shared/ownership.ts";
import { baseName, endsInSlash, joined, parentPath } from "../shared/paths.ts";
import { quoted } from "../shared/text.ts";
import type { Step } from "../shared/tree.ts";
import { remoteOwner, sendAttributes, timesOf, typeOf } from "./attributes.ts";
import { attempt, HardLinks, Tally, type Surroundings, type TransferWish } from "./jobs.ts";
import { localContent } from "./local-content.ts";
import type { Planned } from "./rehearsal.ts";
import { bringUpToDate, statIfThere, storedAlready } from "./stored-already.ts";

/** A source and where it goes. */
export interface Upload {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

interface Found extends Upload {
  /** Where it is in the tree that was named; empty for what was named itself. */
  readonly inTree: Uint8Array;
  /** False when nothing can be at `to`, because the directory is new. */
  readonly mayBeThere: boolean;
}

const NAMED_ITSELF = new Uint8Array();
const STDIN = Buffer.from("-");

export class Uploader {
  readonly tally = new Tally();
  readonly #around: Surroundings;
  readonly #wish: TransferWish;
  readonly #links = new HardLinks<Uint8Array>();
  readonly #made = new JustMade();

  constructor(around: Surroundings, wish: TransferWish) {
    this.#around = around;
    this.#wish = wish;
  }

  /** The steps for what was named on the command line. */
  async *roots(uploads: Iterable<Upload>): AsyncIterable<Step> {
    for (const upload of uploads) {
      yield () => this.#attempt(upload, () => this.#root(upload));
    }
  }

  /** Stores a stream under `to`, and counts it. */
  async stream(content: AsyncIterable<ContentRun>, to: Uint8Array): Promise<void> {
    await attempt(
      this.#around.outcome,
      `cannot store standard input as ${quoted(to)}`,
      async () => {
        await this.#stream(content, to);
        return undefined;
      },
    );
  }

  async #stream(content: AsyncIterable<ContentRun>, to: Uint8Array): Promise<void> {
    const target = await behindLinks(this.#around.client, to);
    const { rehearsal } = this.#wish;
    if (rehearsal !== undefined) {
      await rehearsal.tell({ from: STDIN, to: target, type: "file" });
      return this.#done("file");
    }
    await this.#around.client.put(target, this.#counted(content), {
      ...ownOwner(0o666),
      keepReplaced: true,
      signal: this.#around.signal,
    });
    this.#done("file");
  }

  #attempt({ from, to }: Upload, work: () => ReturnType<Step>): ReturnType<Step> {
    return attempt(this.#around.outcome, `cannot store ${quoted(from)} as ${quoted(to)}`, work);
  }

  async #root({ from, to }: Upload): ReturnType<Step> {
    const { client } = this.#around;
    const { recursive } = this.#wish;
    const path = Buffer.from(from);
    const stats = (recursive ? lstatSync : statSync)(path, { bigint: true });
    if (stats.isDirectory() && !recursive) {
      throw new Reason("invalid", "it is a directory\n-r stores it with everything in it");
    }
    if (!stats.isDirectory() && endsInSlash(to)) {
      throw new Reason("notFound", "no such directory");
    }
    if (!stats.isDirectory()) {
      this.#made.refuse(to);
      this.#made.add(to);
    }
    try {
      if (this.#wish.rehearsal !== undefined) await client.stat(parentPath(to), { follow: true });
      return await this.#entry({ from, to, inTree: NAMED_ITSELF, mayBeThere: true }, stats);
    } catch (error) {
      throw isDfsError(error, "notFound") ? missingParent(to, error) : error;
    }
  }

  async #entry(upload: Found, stats: BigIntStats): ReturnType<Step> {
    const type = typeOf(stats);
    if (type === "directory") return this.#directory(upload, stats);
    const make = async (): Promise<void> => {
      // Without -r, whatever gives bytes is read: a file, a pipe, a device.
      if (type === "file" || !this.#wish.recursive) await this.#file(upload, stats);
      else if (type === "symlink") await this.#symlink(upload, stats);
      else await this.#special(upload, stats);
    };
    if (!this.#wish.preserve || stats.nlink < 2n) {
      await make();
      return undefined;
    }
    const key = `${stats.dev}:${stats.ino}`;
    const isLink = await this.#links.place(key, upload.to, make, (first) =>
      this.#link(upload, type, first),
    );
    if (isLink) this.tally.hardLinks++;
    return undefined;
  }

  async #link({ from, to, mayBeThere }: Found, type: FileType, first: Uint8Array): Promise<void> {
    const { client } = this.#around;
    const { rehearsal, skipping } = this.#wish;
    if (mayBeThere && skipping !== "nothing") {
      const [one, other] = [await statIfThere(client, first), await statIfThere(client, to)];
      if (one !== undefined && one.inode === other?.inode) return this.#skipped(0);
    }
    if (rehearsal !== undefined) await this.#rehearse({ from, to, type }, mayBeThere);
    else await appear(client, to, (name) => client.link(first, name));
    this.#done(type);
  }

  /** Tells what would be made. @throws Reason when a directory is in its place. */
  async #rehearse(planned: Planned, mayBeThere: boolean): Promise<void> {
    const present = mayBeThere ? await statIfThere(this.#around.client, planned.to) : undefined;
    if (present?.type === "directory") throw new Reason("isDirectory", "a directory is there");
    await this.#wish.rehearsal?.tell(planned);
  }

  async #file(upload: Found, stats: BigIntStats): Promise<void> {
    const { client } = this.#around;
    const { from, to, mayBeThere } = upload;
    const { rehearsal } = this.#wish;
    // cp writes to what an existing target link leads to; so the name to put under is the one behind all links.
    const target = isNamed(upload) ? await behindLinks(client, to) : to;
    const pair = { from, target, stats };
    const present = mayBeThere ? await storedAlready(client, this.#wish, pair) : undefined;
    if (present !== undefined) {
      if (rehearsal === undefined) await bringUpToDate(client, this.#wish, pair, present);
      return this.#skipped(present.size);
    }
    if (rehearsal === undefined) await this.#store(from, target);
    else {
      const planned = { from, to: target, type: "file", bytes: Number(stats.size) } as const;
      await this.#rehearse(planned, mayBeThere);
    }
    this.#done("file");
  }

  async #store(from: Uint8Array, target: Uint8Array): Promise<void> {
    const { client, signal } = this.#around;
    const { preserve, recursive } = this.#wish;
    const descriptor = await openSource(from, recursive);
    try {
      const opened = fstatSync(descriptor, { bigint: true });
      if (recursive && !opened.isFile()) throw new Reason("invalid", "it changed meanwhile");
      const content = this.#again(() => localContent(descriptor, opened));
      await client.put(target, content, {
        restartable: opened.isFile(), // a pipe gives its bytes once
        ...remoteOwner(opened, preserve),
        keepReplaced: !preserve,
        signal,
        ...(preserve ? timesOf(opened) : recursive ? { mtimeNs: opened.mtimeNs } : {}),
      });
      if (opened.isFile())
        this.#warnIfChanged(from, opened, fstatSync(descriptor, { bigint: true }));
      if (preserve) await sendAttributes(client, from, target);
    } finally {
      closeSync(descriptor);
    }
  }

  /** cp(1) says nothing then; whoever makes backups wants to know. The time that is kept is the one of before. */
  #warnIfChanged(from: Uint8Array, before: BigIntStats, after: BigIntStats): void {
    if (before.mtimeNs === after.mtimeNs && before.size === after.size) return;
    this.#around.outcome.warn(
      `${quoted(from)} changed while it was stored, which may be partly as it was before and partly as it is now\n` +
        "store it again when nobody writes to it",
    );
  }

  async #symlink({ from, to, mayBeThere }: Found, stats: BigIntStats): Promise<void> {
    const { client } = this.#around;
    const { preserve, rehearsal, skipping } = this.#wish;
    const target = readlinkSync(Buffer.from(from), { encoding: "buffer" });
    if (mayBeThere && skipping !== "nothing" && !preserve) {
      const present = await statIfThere(client, to);
      if (present?.type === "symlink" && target.equals(await client.readlink(to))) {
        return this.#skipped(0);
      }
    }
    const { uid, gid } = remoteOwner(stats, preserve);
    if (rehearsal !== undefined) await this.#rehearse({ from, to, type: "symlink" }, mayBeThere);
    else {
      await appear(client, to, async (name) => {
        await client.symlink(target, name, { uid, gid });
        if (preserve) await client.setattr(name, timesOf(stats), { follow: false });
      });
    }
    this.#done("symlink");
  }

  async #special({ from, to, mayBeThere }: Found, stats: BigIntStats): Promise<void> {
    const { client } = this.#around;
    const { preserve, rehearsal } = this.#wish;
    const type = typeOf(stats);
    const isDevice = type === "characterDevice" || type === "blockDevice";
    if (isDevice && !(preserve && isSuperuser())) {
      throw new Reason("notPermitted", "it is a device; the superuser stores those with -p");
    }
    const rdev = isDevice ? Number(stats.rdev) : 0;
    if (rehearsal !== undefined) await this.#rehearse({ from, to, type }, mayBeThere);
    else {
      await appear(client, to, async (name) => {
        await client.mknod(name, type, rdev, remoteOwner(stats, preserve));
        if (preserve) await client.setattr(name, timesOf(stats), { follow: false });
      });
    }
    this.#done(type);
  }

  async #directory(upload: Found, stats: BigIntStats): ReturnType<Step> {
    const { client } = this.#around;
    const { to } = upload;
    const { preserve, rehearsal } = this.#wish;
    const owner = remoteOwner(stats, preserve);
    const isNew = await this.#ensureDirectory(upload, owner);
    this.#done("directory");
    return {
      steps: this.#inside(upload, isNew),
      leave: async () => {
        if (!preserve || rehearsal !== undefined) return;
        await this.#attempt(upload, async () => {
          await sendAttributes(client, upload.from, to);
          await client.setattr(to, { ...owner, ...timesOf(stats) }, { follow: isNamed(upload) });
          return undefined;
        });
      },
    };
  }

  /** Makes the directory, or would; false when it is there. */
  async #ensureDirectory(found: Found, owner: FileOwner): Promise<boolean> {
    const { from, to, mayBeThere } = found;
    const { client } = this.#around;
    const { rehearsal } = this.#wish;
    try {
      if (rehearsal === undefined) await client.mkdir(to, owner);
      else {
        if (mayBeThere && (await statIfThere(client, to)) !== undefined) throw alreadyThere();
        await rehearsal.tell({ from, to, type: "directory" });
      }
      return true;
    } catch (error) {
      if (!isDfsError(error, "exists")) throw error;
      // What was named may be a link to a directory; inside a tree, links are never followed.
      const present = await client.stat(to, { follow: isNamed(found) });
      if (present.type !== "directory") throw error;
      return false;
    }
  }

  async *#inside({ from, to, inTree }: Found, isNew: boolean): AsyncIterable<Step> {
    let names: Buffer[];
    try {
      names = readdirSync(Buffer.from(from), { encoding: "buffer" });
    } catch (error) {
      this.#around.outcome.fail(`cannot list ${quoted(from)}`, error);
      return;
    }
    for (const name of names) {
      const below = {
        from: joined(from, name),
        to: joined(to, name),
        inTree: joined(inTree, name),
      };
      const upload = { ...below, mayBeThere: !isNew };
      yield () =>
        this.#attempt(upload, async () => {
          const stats = lstatSync(Buffer.from(upload.from), { bigint: true });
          if (this.#wish.exclusion.excludes(upload.inTree, stats.isDirectory())) return undefined;
          return this.#entry(upload, stats);
        });
    }
  }

  /** Counts bytes as the client takes them. */
  async *#counted(content: AsyncIterable<ContentRun>): AsyncIterable<ContentRun> {
    for await (const run of content) {
      yield run;
      this.#around.progress.bytes += lengthOf(run);
    }
  }

  /** Content that begins anew each time it is iterated; then what was counted before counts no more. */
  #again(content: () => AsyncIterable<ContentRun>): AsyncIterable<ContentRun> {
    const { progress } = this.#around;
    let counted = 0;
    const count = this.#counted.bind(this);
    return {
      async *[Symbol.asyncIterator]() {
        progress.bytes -= counted;
        counted = 0;
        for await (const run of count(content())) {
          yield run;
          counted += lengthOf(run);
        }
      },
    };
  }

  #skipped(bytes: number): void {
    this.tally.skipped++;
    this.#around.progress.skip(bytes);
    this.#around.outcome.succeed();
  }

  #done(type: FileType): void {
    this.tally.count(type);
    if (type !== "directory") this.#around.progress.files++;
    this.#around.outcome.succeed();
  }
}

function isNamed({ inTree }: Found): boolean {
  return inTree.length === 0;
}

function lengthOf(run: ContentRun): number {
  return run instanceof Uint8Array ? run.length : run.holeBytes;
}

const openInPool = promisify(open);

/**
 * Opens a local file. In a tree it is a regular file, and nobody may slip a link or a pipe under us between looking and
 * opening; what was named on the command line may be a pipe, and opening it may take until somebody writes.
 */
function openSource(path: Uint8Array, isInTree: boolean): Promise<number> | number {
  return isInTree
    ? openSync(Buffer.from(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    : openInPool(Buffer.from(path), constants.O_RDONLY);
}

/** What making a directory would fail with. */
function alreadyThere(): DfsError {
  return new DfsError("exists", "exists already");
}

function missingParent(to: Uint8Array, cause: unknown): Reason {
  const parent = quoted(parentPath(to));
  const text =
    baseName(to).length === 0
      ? "no such directory in the cluster"
      : `there is no directory ${parent} in the cluster\nmake it with: dfs mkdir -p ${parent}`;
  return new Reason("notFound", text, { cause });
}
