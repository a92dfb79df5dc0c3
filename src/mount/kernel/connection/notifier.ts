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

export class Notifier implements Invalidations {
  /** The kernel knows FUSE_EXPIRE_ONLY; set when it has said so. */
  expireOnly = false;
  private readonly options: NotifierOptions;
  private readonly worker: Worker;
  /** Notices by what they say; a later one of the same kind replaces the earlier. */
  private waiting = new Map<string, Uint8Array>();
  private underWay = false;
  private stopping: (() => void) | undefined;
  private epochsUnknown = false;

  constructor(options: NotifierOptions) {
    this.options = options;
    this.worker = new Worker(new URL("./notify-worker.ts", import.meta.url));
    this.worker.onmessage = (event: MessageEvent<NotifyReport>) => this.taken(event.data);
    this.worker.onerror = (event) => {
      options.logger.error("the thread that tells the kernel what is out of date has failed", {
        reason: event.message,
      });
      this.taken({ results: [] });
    };
  }

  inode(inode: InodeId, content: boolean): void {
    // A notice that drops the content drops the attributes as well.
    if (!content && this.waiting.has(`content ${inode}`)) return;
    this.add(`${content ? "content" : "attributes"} ${inode}`, inodeNotice(inode, content));
  }

  entry(parent: InodeId, name: Uint8Array): void {
    this.add(`${parent}/${name.toHex()}`, entryNotice(parent, name, this.expireOnly));
  }

  all(): void {
    this.waiting = new Map();
    if (!this.epochsUnknown) this.waiting.set("epoch", epochNotice());
    for (const inode of this.options.known()) {
      this.waiting.set(`content ${inode}`, inodeNotice(inode, true));
    }
    this.send();
  }

  /** The connection is gone: ends the thread. */
  async stop(): Promise<void> {
    this.waiting.clear();
    if (this.underWay) await new Promise<void>((resolve) => (this.stopping = resolve));
    this.worker.terminate();
    closeSync(this.options.fd);
  }

  private add(key: string, notice: Uint8Array): void {
    if (this.waiting.size >= MAX_WAITING && !this.waiting.has(key)) {
      this.options.logger.warn("too much is out of date at once: everything is dropped");
      this.all();
      return;
    }
    this.waiting.set(key, notice);
    this.send();
  }

  private send(): void {
    if (this.underWay || this.waiting.size === 0) return;
    const notices: Uint8Array[] = [];
    for (const [key, notice] of this.waiting) {
      if (notices.length >= MAX_BATCH) break;
      notices.push(notice);
      this.waiting.delete(key);
    }
    this.underWay = true;
    this.worker.postMessage({ fd: this.options.fd, notices } satisfies NotifyOrder);
  }

  private taken({ results }: NotifyReport): void {
    this.underWay = false;
    for (const result of results) this.judge(result);
    if (this.stopping === undefined) this.send();
    else this.stopping();
  }

  private judge(result: number): void {
    if (HARMLESS.has(result)) return;
    if (result === -EINVAL) this.epochsUnknown = true;
    this.options.logger.debug("the kernel has refused a notice", { errno: errnoName(result) });
  }
}
