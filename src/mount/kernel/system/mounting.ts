/**
 * Mounting: by mount(2) as root, through fusermount3 otherwise.
 */
import { closeSync, openSync, constants as files } from "node:fs";
import { constants } from "node:os";

import { DfsError, messageOf, systemCodeOf } from "../../../base/errors.ts";
import { mountByFusermount } from "./fusermount.ts";
import {
  cString,
  errnoName,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_RELATIME,
  MS_STRICTATIME,
  sys,
} from "./libc.ts";

export interface MountingOptions {
  readonly mountPoint: string;
  /** What /proc/mounts shows as the source: `dfs#HOST:PORT`. */
  readonly fsname: string;
  /** The type is `fuse.` and this. */
  readonly subtype: string;
  readonly readOnly: boolean;
  readonly allowOther: boolean;
  readonly defaultPermissions: boolean;
  /** Obey setuid bits, and device nodes. Root only. */
  readonly suid?: boolean;
  readonly dev?: boolean;
  readonly noexec?: boolean;
  /** What /proc/mounts shows. The kernel leaves access times to the server. */
  readonly accessTimes?: "noatime" | "relatime" | "strictatime";
}

const ACCESS_TIME_FLAG = {
  noatime: MS_NOATIME,
  relatime: MS_RELATIME,
  strictatime: MS_STRICTATIME,
} as const;

const FUSE_DEVICE = "/dev/fuse";

function mountFlags(options: MountingOptions): number {
  return (
    (options.readOnly ? MS_RDONLY : 0) |
    (options.suid ? 0 : MS_NOSUID) |
    (options.dev ? 0 : MS_NODEV) |
    (options.noexec ? MS_NOEXEC : 0) |
    ACCESS_TIME_FLAG[options.accessTimes ?? "relatime"]
  );
}

function openDevice(): number {
  try {
    // Bun, like Node, opens everything close-on-exec.
    return openSync(FUSE_DEVICE, files.O_RDWR | files.O_NONBLOCK);
  } catch (error) {
    const hint =
      systemCodeOf(error) === "ENOENT"
        ? "Load the kernel module (modprobe fuse); in a container, pass the device in"
        : "Run as root, or as a user who may open it";
    throw new DfsError(
      "notSupported",
      `cannot mount: ${FUSE_DEVICE} cannot be opened (${messageOf(error)}). ${hint}`,
      { cause: error },
    );
  }
}

function mountFailure(options: MountingOptions, errno: number): DfsError {
  const { EPERM, EACCES, ENODEV } = constants.errno;
  const kind = errno === -EPERM || errno === -EACCES ? "accessDenied" : "io";
  const hint =
    errno === -EPERM
      ? ". Mounting needs CAP_SYS_ADMIN, which containers seldom have"
      : errno === -ENODEV
        ? ". This kernel has no FUSE"
        : "";
  return new DfsError(kind, `cannot mount on ${options.mountPoint}: ${errnoName(errno)}${hint}`);
}

function mountAsRoot(options: MountingOptions): number {
  const fd = openDevice();
  const data = [
    `fd=${fd}`,
    "rootmode=40000",
    `user_id=${process.getuid?.() ?? 0}`,
    `group_id=${process.getgid?.() ?? 0}`,
    ...(options.allowOther ? ["allow_other"] : []),
    ...(options.defaultPermissions ? ["default_permissions"] : []),
  ].join(",");
  const result = sys.mount(
    cString(options.fsname),
    cString(options.mountPoint),
    cString(`fuse.${options.subtype}`),
    mountFlags(options),
    cString(data),
  );
  if (result === 0) return fd;
  closeSync(fd);
  throw mountFailure(options, result);
}

function fusermountOptions(options: MountingOptions): string[] {
  return [
    `fsname=${options.fsname.replaceAll("\\", "\\\\").replaceAll(",", "\\,")}`,
    `subtype=${options.subtype}`,
    ...(options.readOnly ? ["ro"] : []),
    ...(options.allowOther ? ["allow_other"] : []),
    ...(options.defaultPermissions ? ["default_permissions"] : []),
    ...(options.noexec ? ["noexec"] : []),
    // The only one that every fusermount3 knows.
    ...(options.accessTimes === "noatime" ? ["noatime"] : []),
  ];
}

/**
 * Mounts, and returns the open /dev/fuse of the mount: non-blocking, close-on-exec.
 * @throws DfsError `accessDenied`, `notSupported`, `io`.
 */
export async function mountFuse(options: MountingOptions): Promise<number> {
  if (process.getuid?.() === 0) return mountAsRoot(options);
  return mountByFusermount(options.mountPoint, fusermountOptions(options));
}
