/**
 * Tells the kernel what is out of date, in order, through a thread of its own (`notify-worker.ts`).
 *
 * One batch is on its way at a time. What arrives meanwhile waits here, each notice once, so a kernel that is slow to take them
 * costs memory only for what is different; beyond a bound everything is called out of date instead.
 */
import { closeSync } from "node:fs";
import { constants } from "node:os";

import type { InodeId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Invalidations } from "../../file-system.ts";
import { errnoName } from "../system/libc.ts";
import {
  entryNotice,
  epochNotice,
  inodeNotice,
  type NotifyOrder,
  type NotifyReport,
} from "./notices.ts";

const MAX_WAITING = 65_536;
const MAX_BATCH = 256;

const { ENOENT, ENODEV, ENOTCONN, ENOTDIR, EINVAL } = constants.errno;
/** The kernel does not know the inode or the name (any more), or the mount is gone: nothing is out of date there. */
const HARMLESS: ReadonlySet<number> = new Set([0, -ENOENT, -ENODEV, -ENOTCONN, -ENOTDIR]);

export interface NotifierOptions {
  /** A descriptor of the connection; closed by `stop`. */
  readonly fd: number;
  /** Every inode that the kernel holds. */
  readonly known: () => Iterable<InodeId>;
  readonly logger: Logger;
}

/** A notice that has not been sent, and who waits for its having been taken. */
interface Waiting {
  readonly notice: Uint8Array;
  readonly taken: (() => void)[];
}

export class Notifier implements Invalidations {
  /** The kernel knows FUSE_EXPIRE_ONLY; set when it has said so. */
  expireOnly = false;
  private readonly options: NotifierOptions;
  private readonly worker: Worker;
  /** Notices by what they say; the same again is the same notice. */
  private waiting = new Map<string, Waiting>();
  private underWay: readonly Waiting[] = [];
  private stopped: PromiseWithResolvers<void> | undefined;
  private epochsUnknown = false;

  constructor(options: NotifierOptions) {
    this.options = options;
    this.worker = new Worker(new URL("./notify-worker.ts", import.meta.url));
    this.worker.onmessage = (event: MessageEvent<NotifyReport>) => this.taken(event.data.results);
    this.worker.onerror = (event) => {
      options.logger.error("the thread that tells the kernel what is out of date has failed", {
        reason: event.message,
      });
      this.taken([]);
    };
  }

  /** Resolves when the kernel has dropped it, or the mount is gone. */
  inode(inode: InodeId, content: boolean): Promise<void> {
    // A notice that drops the content drops the attributes as well.
    const key = `content ${inode}`;
    if (content || this.waiting.has(key)) return this.add(key, inodeNotice(inode, true));
    return this.add(`attributes ${inode}`, inodeNotice(inode, false));
  }

  entry(parent: InodeId, name: Uint8Array): void {
    const notice = entryNotice(parent, name, this.expireOnly);
    void this.add(`${parent}/${name.toHex()}`, notice);
  }

  all(): void {
    const waitedFor = [...this.waiting.values()].flatMap(({ taken }) => taken);
    this.waiting = new Map();
    if (!this.epochsUnknown) this.waiting.set("epoch", { notice: epochNotice(), taken: [] });
    for (const inode of this.options.known()) {
      this.waiting.set(`content ${inode}`, { notice: inodeNotice(inode, true), taken: [] });
    }
    const last = [...this.waiting.values()].at(-1);
    if (last === undefined) for (const taken of waitedFor) taken();
    else last.taken.push(...waitedFor);
    this.send();
  }

  /** The connection is gone: ends the thread. */
  async stop(): Promise<void> {
    this.stopped = Promise.withResolvers<void>();
    for (const { taken } of this.waiting.values()) for (const done of taken) done();
    this.waiting.clear();
    if (this.underWay.length === 0) this.stopped.resolve();
    await this.stopped.promise;
    this.worker.terminate();
    closeSync(this.options.fd);
  }

  private add(key: string, notice: Uint8Array): Promise<void> {
    if (this.stopped !== undefined) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const same = this.waiting.get(key);
    if (same === undefined) this.waiting.set(key, { notice, taken: [resolve] });
    else same.taken.push(resolve);
    if (this.waiting.size > MAX_WAITING) this.tooMuch();
    else this.send();
    return promise;
  }

  private tooMuch(): void {
    this.options.logger.warn("too much is out of date at once: everything is dropped");
    this.all();
  }

  private send(): void {
    if (this.underWay.length > 0 || this.waiting.size === 0) return;
    const batch: Waiting[] = [];
    for (const [key, waiting] of this.waiting) {
      if (batch.length >= MAX_BATCH) break;
      batch.push(waiting);
      this.waiting.delete(key);
    }
    this.underWay = batch;
    const notices = batch.map(({ notice }) => notice);
    this.worker.postMessage({ fd: this.options.fd, notices } satisfies NotifyOrder);
  }

  private taken(results: readonly number[]): void {
    const batch = this.underWay;
    this.underWay = [];
    for (const result of results) this.judge(result);
    for (const { taken } of batch) for (const done of taken) done();
    if (this.stopped === undefined) this.send();
    else this.stopped.resolve();
  }

  private judge(result: number): void {
    if (HARMLESS.has(result)) return;
    // Of the notices only the epoch is unknown to older kernels.
    if (result === -EINVAL) this.epochsUnknown = true;
    this.options.logger.debug("the kernel has refused a notice", { errno: errnoName(result) });
  }
}
