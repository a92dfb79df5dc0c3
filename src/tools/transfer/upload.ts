/**
 * From the local machine into the cluster: one file, or a tree.
 *
 * Each file appears whole under its name (`put` is atomic), symbolic links and special files by rename. A directory gets
 * its times when everything in it is there. What cannot be stored is told, and the rest goes on.
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
import { isDfsError } from "../../base/errors.ts";
import type { ContentRun } from "../../client/api.ts";
import { appear } from "../shared/appear.ts";
import { Reason } from "../shared/errors.ts";
import { behindLinks } from "../shared/links.ts";
import { isSuperuser, ownOwner } from "../shared/ownership.ts";
import { baseName, endsInSlash, joined, parentPath } from "../shared/paths.ts";
import { quoted } from "../shared/text.ts";
import type { Step } from "../shared/tree.ts";
import { remoteOwner, sendAttributes, timesOf, typeOf } from "./attributes.ts";
import { attempt, HardLinks, Tally, type Surroundings, type TransferOptions } from "./jobs.ts";
import { localContent } from "./local-content.ts";

/** A source and where it goes. */
export interface Upload {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

export class Uploader {
  readonly tally = new Tally();
  readonly #around: Surroundings;
  readonly #options: TransferOptions;
  readonly #links = new HardLinks<Uint8Array>();

  constructor(around: Surroundings, options: TransferOptions) {
    this.#around = around;
    this.#options = options;
  }

  /** The steps for what was named on the command line. */
  async *roots(uploads: Iterable<Upload>): AsyncIterable<Step> {
    for (const upload of uploads) {
      yield () => this.#attempt(upload, () => this.#root(upload));
    }
  }

  /** Stores a stream under `to`, and counts it. */
  async stream(content: AsyncIterable<ContentRun>, to: Uint8Array): Promise<void> {
    const target = await behindLinks(this.#around.client, to);
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
    const { recursive } = this.#options;
    const path = Buffer.from(from);
    const stats = (recursive ? lstatSync : statSync)(path, { bigint: true });
    if (stats.isDirectory() && !recursive) {
      throw new Reason("invalid", "it is a directory\n-r stores it with everything in it");
    }
    if (!stats.isDirectory() && endsInSlash(to)) {
      throw new Reason("notDirectory", "no such directory");
    }
    try {
      return await this.#entry({ from, to }, stats, true);
    } catch (error) {
      throw isDfsError(error, "notFound") ? missingParent(to, error) : error;
    }
  }

  async #entry(upload: Upload, stats: BigIntStats, isRoot: boolean): ReturnType<Step> {
    const type = typeOf(stats);
    if (type === "directory") return this.#directory(upload, stats, isRoot);
    const make = async (): Promise<void> => {
      // Without -r, whatever gives bytes is read: a file, a pipe, a device.
      if (type === "file" || !this.#options.recursive) await this.#file(upload, isRoot);
      else if (type === "symlink") await this.#symlink(upload, stats);
      else await this.#special(upload, stats);
    };
    if (!this.#options.preserve || stats.nlink < 2n) {
      await make();
      this.#done(type);
      return undefined;
    }
    const key = `${stats.dev}:${stats.ino}`;
    const isLink = await this.#links.place(key, upload.to, make, (first) =>
      appear(this.#around.client, upload.to, (name) => this.#around.client.link(first, name)),
    );
    if (isLink) this.tally.hardLinks++;
    this.#done(type);
    return undefined;
  }

  async #file({ from, to }: Upload, isRoot: boolean): Promise<void> {
    const { client, signal } = this.#around;
    const { preserve, recursive } = this.#options;
    const descriptor = await openSource(from, recursive);
    try {
      const opened = fstatSync(descriptor, { bigint: true });
      if (recursive && !opened.isFile()) throw new Reason("invalid", "it changed meanwhile");
      // cp writes to what an existing target link leads to; so the name to put under is the one behind all links.
      const target = isRoot ? await behindLinks(client, to) : to;
      const content = this.#again(() => localContent(descriptor, opened));
      await client.put(target, content, {
        restartable: opened.isFile(), // a pipe gives its bytes once
        ...remoteOwner(opened, preserve),
        keepReplaced: !preserve,
        signal,
        ...(preserve ? timesOf(opened) : {}),
      });
      if (preserve) await sendAttributes(client, from, target);
    } finally {
      closeSync(descriptor);
    }
  }

  async #symlink({ from, to }: Upload, stats: BigIntStats): Promise<void> {
    const { client } = this.#around;
    const { preserve } = this.#options;
    const target = readlinkSync(Buffer.from(from), { encoding: "buffer" });
    const { uid, gid } = remoteOwner(stats, preserve);
    await appear(client, to, async (name) => {
      await client.symlink(target, name, { uid, gid });
      if (preserve) await client.setattr(name, timesOf(stats), { follow: false });
    });
  }

  async #special({ to }: Upload, stats: BigIntStats): Promise<void> {
    const { client } = this.#around;
    const { preserve } = this.#options;
    const type = typeOf(stats);
    const isDevice = type === "characterDevice" || type === "blockDevice";
    if (isDevice && !(preserve && isSuperuser())) {
      throw new Reason("notPermitted", "it is a device; the superuser stores those with -p");
    }
    const rdev = isDevice ? Number(stats.rdev) : 0;
    await appear(client, to, async (name) => {
      await client.mknod(name, type, rdev, remoteOwner(stats, preserve));
      if (preserve) await client.setattr(name, timesOf(stats), { follow: false });
    });
  }

  async #directory(upload: Upload, stats: BigIntStats, isRoot: boolean): ReturnType<Step> {
    const { client } = this.#around;
    const { to } = upload;
    const owner = remoteOwner(stats, this.#options.preserve);
    try {
      await client.mkdir(to, owner);
    } catch (error) {
      if (!isDfsError(error, "exists")) throw error;
      // What was named may be a link to a directory; inside a tree, links are never followed.
      const present = await client.stat(to, { follow: isRoot });
      if (present.type !== "directory") throw error;
    }
    this.#done("directory");
    return {
      steps: this.#inside(upload),
      leave: async () => {
        if (!this.#options.preserve) return;
        await this.#attempt(upload, async () => {
          await sendAttributes(client, upload.from, to);
          await client.setattr(to, { ...owner, ...timesOf(stats) }, { follow: isRoot });
          return undefined;
        });
      },
    };
  }

  async *#inside({ from, to }: Upload): AsyncIterable<Step> {
    let names: Buffer[];
    try {
      names = readdirSync(Buffer.from(from), { encoding: "buffer" });
    } catch (error) {
      this.#around.outcome.fail(`cannot list ${quoted(from)}`, error);
      return;
    }
    for (const name of names) {
      const upload = { from: joined(from, name), to: joined(to, name) };
      yield () =>
        this.#attempt(upload, async () => {
          const stats = lstatSync(Buffer.from(upload.from), { bigint: true });
          return this.#entry(upload, stats, false);
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

  #done(type: Parameters<Tally["count"]>[0]): void {
    this.tally.count(type);
    if (type !== "directory") this.#around.progress.files++;
    this.#around.outcome.succeed();
  }
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

function missingParent(to: Uint8Array, cause: unknown): Reason {
  const parent = quoted(parentPath(to));
  const text =
    baseName(to).length === 0
      ? "no such directory in the cluster"
      : `there is no directory ${parent} in the cluster\nmake it with: dfs mkdir -p ${parent}`;
  return new Reason("notFound", text, { cause });
}
