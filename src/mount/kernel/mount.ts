/**
 * The driver `kernel`: a mount served by this process through the FUSE protocol of the Linux kernel. No library, no compiler.
 *
 *   protocol/    bytes: constants, requests, replies, negotiation
 *   connection/  the device, the thread that waits for requests, the thread that sends notices
 *   operations/  one handler for each kind of request
 *   system/      system calls; mounting, unmounting, mount points
 *   session.ts   requests in, replies out
 *
 * The process that serves a mount must never touch it synchronously: it would wait for itself.
 */
import { closeSync, writeFileSync } from "node:fs";

import { systemClock, type Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { InodeId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import { mountAt } from "../../base/mounts/table.ts";
import type { UnmountOptions } from "../../base/mounts/unmount.ts";
import type { MountedFileSystem } from "../file-system.ts";
import { Device } from "./connection/device.ts";
import { Notifier } from "./connection/notifier.ts";
import type { Context } from "./operations/context.ts";
import { KnownInodes } from "./operations/known-inodes.ts";
import { PosixLockOwners } from "./operations/lock-owners.ts";
import { presentationOf } from "./protocol/attributes.ts";
import { INIT_FLAG, MAX_TRANSFER_BYTES } from "./protocol/constants.ts";
import type { CacheMode } from "./protocol/negotiation.ts";
import { Session, type SessionEnd } from "./session.ts";
import { mountFuse, type MountingOptions } from "./system/mounting.ts";
import { prepareMountPoint } from "./system/mount-point.ts";
import { unmountPath } from "./system/unmount.ts";

/** Longest reply that is encoded: a part of a directory. Content of files is not encoded. */
const LARGEST_REPLY_BYTES = 256 * 1024;

export interface KernelMountOptions extends Omit<MountingOptions, "fsname" | "subtype"> {
  readonly fileSystem: MountedFileSystem;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Default `dfs`. */
  readonly fsname?: string;
  /** Default `dfs`: the type is then `fuse.dfs`. */
  readonly subtype?: string;
  /** Largest write, in bytes; at most and by default 1 MiB. */
  readonly maxWriteBytes?: number;
  /** How far the kernel reads ahead, in bytes. Above 128 KiB only root can set it; default 1 MiB. */
  readonly readAheadBytes?: number;
  /** What the kernel keeps of contents; default `auto`. */
  readonly cache?: CacheMode;
  /** Called when the mount has ended, whatever the reason. */
  readonly onEnd?: (end: SessionEnd) => void;
}

export interface KernelMount {
  /** The path without links. */
  readonly mountPoint: string;
  /**
   * Resolves when the mount is gone and the file system has stopped: `unmounted` by whomever, `aborted` (the connection was
   * cut, by umount -f or through /sys/fs/fuse), or `failed`.
   */
  readonly ended: Promise<SessionEnd>;
  /** @throws DfsError `busy`, `notFound`, `accessDenied`. Await `ended` to see it gone. */
  unmount(options?: UnmountOptions): Promise<void>;
}

function contextFor(fileSystem: MountedFileSystem, device: Device, uncached: boolean): Context {
  return {
    fileSystem,
    presentation: presentationOf(fileSystem.timeouts, fileSystem.blockSize),
    known: new KnownInodes(),
    dropAttributes: (inode) => device.dropAttributes(inode),
    posixLockOwners: new PosixLockOwners(),
    largestReplyBytes: LARGEST_REPLY_BYTES,
    uncached,
  };
}

/** The kernel reads at most 128 KiB ahead, and so asks for at most that much at a time, unless root says otherwise. */
function raiseReadAhead(mountPoint: string, bytes: number, logger: Logger): void {
  const device = mountAt(mountPoint)?.device;
  if (process.getuid?.() !== 0 || device === undefined) return;
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(Math.floor(bytes / 1024)));
  } catch (error) {
    logger.debug("the kernel's read-ahead stays as it is", { reason: messageOf(error) });
  }
}

/** Serves the device until the mount ends. */
class Service {
  readonly ended: Promise<SessionEnd>;
  private readonly options: KernelMountOptions;
  private readonly device: Device;
  private readonly session: Session;
  private readonly notifier: Notifier;

  constructor(options: KernelMountOptions, fd: number) {
    const { fileSystem, logger, clock = systemClock } = options;
    this.options = options;
    this.device = new Device(fd, LARGEST_REPLY_BYTES);
    const context = contextFor(fileSystem, this.device, options.cache === "none");
    const known = (): Iterable<InodeId> => context.known.all();
    this.notifier = new Notifier({ fd: this.device.duplicate(), known, logger });
    fileSystem.start(this.notifier);
    const wishes = {
      maxWriteBytes: Math.min(options.maxWriteBytes ?? MAX_TRANSFER_BYTES, MAX_TRANSFER_BYTES),
      cache: options.cache ?? "auto",
    };
    this.session = new Session({ device: this.device, context, wishes, clock, logger });
    this.ended = this.cleanUp();
  }

  /** Waits for the kernel's hello. @throws DfsError `unsupported`. */
  async begin(): Promise<void> {
    const { minor, maxWriteBytes, flags } = await this.session.agreed;
    this.notifier.expireOnly = (flags & INIT_FLAG.HAS_EXPIRE_ONLY) !== 0n;
    this.options.logger.debug("the kernel has agreed", {
      minor,
      maxWriteBytes,
      flags: `0x${flags.toString(16)}`,
    });
  }

  private async cleanUp(): Promise<SessionEnd> {
    let end = await this.session.ended;
    await this.session.stop();
    await this.notifier.stop();
    this.device.close();
    try {
      await this.options.fileSystem.stop();
    } catch (error) {
      end = { reason: "failed", error };
    }
    this.options.onEnd?.(end);
    return end;
  }
}

/**
 * Mounts the file system and serves it. Resolves when the mount is in use.
 * @throws DfsError `notFound`, `invalid` (no directory), `busy` (already mounted), `accessDenied`, `notSupported` (no FUSE),
 * `unsupported` (kernel too old).
 */
export async function mountKernel(options: KernelMountOptions): Promise<KernelMount> {
  const { clock = systemClock, fsname = "dfs", subtype = "dfs", logger } = options;
  const mountPoint = await prepareMountPoint(options.mountPoint, `fuse.${subtype}`, clock, logger);
  const fd = await mountFuse({ ...options, mountPoint, fsname, subtype });
  let service: Service | undefined;
  try {
    service = new Service(options, fd);
    await service.begin();
  } catch (error) {
    await unmountPath(mountPoint, { lazy: true });
    if (service === undefined) closeSync(fd);
    else await service.ended;
    throw error;
  }
  raiseReadAhead(mountPoint, options.readAheadBytes ?? MAX_TRANSFER_BYTES, logger);
  return {
    mountPoint,
    ended: service.ended,
    unmount: (how) => unmountPath(mountPoint, how),
  };
}
