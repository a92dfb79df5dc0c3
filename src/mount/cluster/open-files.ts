/**
 * The open files of a mount: their handles, writes that go to the end, and writing back after a while what nobody flushes.
 */
import type { CancelSignal } from "../../base/cancellation.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { Inodes, OpenFile } from "../../client/api.ts";
import type { Handle, OpenFlags } from "../file-system.ts";
import { HandleTable } from "./handles.ts";

/** A file as it was opened. */
export interface OpenedHandle {
  readonly file: OpenFile;
  readonly flags: OpenFlags;
}

export interface FilesOptions {
  readonly inodes: Inodes;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Written data that nobody flushes is sent after this time. */
  readonly writeBackMs: number;
  /** A write to the end has gone to another place than the kernel took for the end. */
  readonly onMoved: (inode: InodeId) => void;
}

export class MountedFiles {
  private readonly options: FilesOptions;
  private readonly handles = new HandleTable<OpenedHandle>();
  /** Files with writes that nobody has flushed yet. */
  private readonly timers = new Map<InodeId, Timer>();
  /** Writes to the end of a file, one after the other. */
  private readonly appends = new Map<InodeId, Promise<void>>();

  constructor(options: FilesOptions) {
    this.options = options;
  }

  add(file: OpenFile, flags: OpenFlags): Handle {
    return this.handles.add({ file, flags });
  }

  get(handle: Handle): OpenedHandle {
    return this.handles.get(handle);
  }

  /**
   * Writes where `offset` says, or to the end when the handle is for that and the bytes do not come from a mapping (`atOffset`).
   * @throws DfsError as `OpenFile.write`.
   */
  async write(
    handle: Handle,
    offset: number,
    bytes: Uint8Array,
    { signal, atOffset = false }: { readonly signal?: CancelSignal; readonly atOffset?: boolean },
  ): Promise<void> {
    const { file, flags } = this.writable(handle);
    if (flags.append && !atOffset) await this.append(file, offset, bytes, signal);
    else await file.write(offset, bytes, { signal });
    if (flags.sync) await file.flush({ signal });
    else this.flushLater(file);
  }

  async flush(handle: Handle, signal: CancelSignal | undefined): Promise<void> {
    const { file } = this.handles.get(handle);
    await file.flush({ signal });
    this.timers.get(file.inode)?.cancel();
    this.timers.delete(file.inode);
  }

  /** Gives the handle up. What cannot be written back now is lost, and said so. */
  async release(handle: Handle): Promise<void> {
    const opened = this.handles.remove(handle);
    if (opened === undefined) return;
    try {
      await opened.file.close();
    } catch (error) {
      const { inode } = opened.file;
      this.options.logger.error(
        `what was written last to inode ${inode} could not be stored: ${messageOf(error)}`,
      );
    }
  }

  /** Writes back everything and closes all. */
  async close(): Promise<void> {
    for (const timer of this.timers.values()) timer.cancel();
    this.timers.clear();
    await Promise.all(this.handles.numbers().map((handle) => this.release(handle)));
  }

  /** @throws DfsError `invalid` when the handle was not opened for writing. */
  writable(handle: Handle): OpenedHandle {
    const opened = this.handles.get(handle);
    if (!opened.flags.write) {
      throw new DfsError("invalid", `inode ${opened.file.inode} is not open for writing`);
    }
    return opened;
  }

  /**
   * Writes to the end. While data of this mount waits to be committed, its end is taken for the file's; otherwise the service is
   * asked, so that the bytes are rarely moved when they are committed. So an append costs at most one question for each flush.
   */
  private append(
    file: OpenFile,
    expected: number,
    bytes: Uint8Array,
    signal: CancelSignal | undefined,
  ): Promise<void> {
    const { inode } = file;
    const before = this.appends.get(inode) ?? Promise.resolve();
    const appended = before.then(async () => {
      const { inodes, onMoved } = this.options;
      if (file.clean) await inodes.getattr(inode, { signal }); // what it tells is known to the file
      const offset = await file.append(bytes, { signal });
      if (offset !== expected) onMoved(inode);
    });
    const settled = appended.catch(() => undefined); // told to who wrote; the next one has its own answer
    this.appends.set(inode, settled);
    void settled.then(() => {
      if (this.appends.get(inode) === settled) this.appends.delete(inode);
    });
    return appended;
  }

  private flushLater(file: OpenFile): void {
    const { inode } = file;
    if (this.timers.has(inode)) return;
    const { clock, writeBackMs } = this.options;
    const timer = clock.setTimer(writeBackMs, () => this.flushNow(file), { background: true });
    this.timers.set(inode, timer);
  }

  private flushNow(file: OpenFile): void {
    this.timers.delete(file.inode);
    try {
      file.startFlush();
    } catch (error) {
      if (!isDfsError(error, "invalid")) throw error; // this handle has been closed, and with that flushed
    }
  }
}
