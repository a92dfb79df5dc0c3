/**
 * What must be so before something is mounted, checked first because the errors of the system calls themselves say little.
 */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { DfsError, systemCodeOf } from "../../base/errors.ts";
import { shellWord } from "../shared/connect.ts";
import { localError } from "../shared/errors.ts";
import { DFS_TYPE, mountAt, mountPointPath } from "../../base/mounts/table.ts";
import { servingProcess } from "./registry.ts";
import { detachDead, stateOfMount } from "./unmount.ts";

const DEVICE = "/dev/fuse";
const STICKY = 0o1000;

/**
 * The path of the directory to mount on, without symbolic links. What a killed process left there is taken away first, and
 * `onCleaned` told of it.
 * @throws DfsError `notFound`, `notDirectory`, `notPermitted`, `locked` when a dfs is mounted there.
 */
export async function usableMountPoint(path: string, onCleaned: () => void): Promise<string> {
  const mountPoint = mountPointPath(path);
  const entry = mountAt(mountPoint);
  if (entry?.type === DFS_TYPE) {
    if ((await stateOfMount(mountPoint)) !== "dead") {
      const pid = servingProcess(entry.uid ?? 0, mountPoint);
      throw new DfsError(
        "locked",
        `cannot mount on ${mountPoint}: the dfs of ${entry.source} is mounted there already` +
          `${pid === undefined ? "" : ` (process ${pid})`}\n` +
          `unmount it first: dfs umount ${shellWord(mountPoint)}`,
      );
    }
    await detachDead(entry);
    onCleaned();
    return usableMountPoint(mountPoint, onCleaned);
  }
  checkDirectory(mountPoint);
  checkOwn(mountPoint);
  return mountPoint;
}

function checkDirectory(path: string): void {
  try {
    if (statSync(path).isDirectory()) return;
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") throw localError(`cannot mount on ${path}`, error);
    throw new DfsError(
      "notFound",
      `cannot mount on ${path}: no such directory\nmake it first: mkdir -p ${shellWord(path)}`,
    );
  }
  throw new DfsError("notDirectory", `cannot mount on ${path}: it is not a directory`);
}

/** fusermount3 lets an ordinary user mount only where that user may write, and in no sticky directory of somebody else. */
function checkOwn(path: string): void {
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return;
  const { mode, uid: owner } = statSync(path);
  const isForeign = (mode & STICKY) !== 0 && owner !== uid;
  if (!isForeign && isWritable(path)) return;
  throw new DfsError(
    "notPermitted",
    `cannot mount on ${path}: it is not yours to write in, and only root can mount elsewhere\n` +
      "make a directory of your own, such as: mkdir -p ~/dfs",
  );
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false; // whatever the reason, it is what fusermount3 is told as well
  }
}

/** @throws DfsError `notSupported` when this machine, or this user, lacks what a mount needs; it says what to do. */
export function checkFuse(): void {
  if (process.platform !== "linux") {
    throw new DfsError("notSupported", "cannot mount: this is for Linux only");
  }
  if (!existsSync(DEVICE)) {
    throw new DfsError(
      "notSupported",
      `cannot mount: there is no ${DEVICE}\n` +
        "load the kernel's module: modprobe fuse (as root)\n" +
        "in a container: start it with --device /dev/fuse --cap-add SYS_ADMIN",
    );
  }
  if (process.getuid?.() !== 0 && Bun.which("fusermount3") === null) {
    throw new DfsError(
      "notSupported",
      "cannot mount: fusermount3 is not installed, and only root can do without it\n" +
        "install it (Debian: apt install fuse3; Fedora: dnf install fuse3), or mount as root",
    );
  }
}
