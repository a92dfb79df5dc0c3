/**
 * What is mounted where: the kernel's table, read from /proc/self/mountinfo (proc_pid_mountinfo(5)):
 *
 *     36 35 0:52 / /mnt rw,noatime shared:1 - fuse.dfs 127.0.0.1:4000 rw,user_id=0
 *     id parent device root mount-point options optional... - type source super-options
 *
 * Looking there touches no mount, so it works also for one that does not answer.
 */
import { readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { systemCodeOf } from "../errors.ts";

/** The type by which a mount of dfs is known. */
export const DFS_TYPE = "fuse.dfs";

/** One line of the table. */
export interface MountEntry {
  /** Major and minor number of the device, `0:52`. */
  readonly device: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  /** File system and subtype. */
  readonly type: string;
  /** What was mounted: of a dfs its metadata server. */
  readonly source: string;
  /** Whose FUSE mount it is. */
  readonly uid: number | undefined;
}

/** All mounts that this process sees, in the order in which they were mounted. */
export function mountTable(): MountEntry[] {
  return parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
}

/** The lines of a mountinfo file. */
export function parseMountTable(text: string): MountEntry[] {
  return text.split("\n").flatMap((line) => {
    const [before = "", after] = line.split(" - ", 2);
    const [, , device, , mountPoint, options] = before.split(" ");
    const [type, source, ofType = ""] = after?.split(" ") ?? [];
    if (device === undefined || mountPoint === undefined || options === undefined) return [];
    if (type === undefined || source === undefined) return [];
    const uid = /(?:^|,)user_id=(\d+)/.exec(ofType)?.[1];
    return [
      {
        device,
        mountPoint: unescaped(mountPoint),
        options: options.split(","),
        type,
        source: unescaped(source),
        uid: uid === undefined ? undefined : Number(uid),
      },
    ];
  });
}

/** The mount that is seen at `path`: of several on top of each other the last one. */
export function mountAt(
  path: string,
  table: readonly MountEntry[] = mountTable(),
): MountEntry | undefined {
  return table.findLast(({ mountPoint }) => mountPoint === path);
}

/**
 * A mount point's path without symbolic links, as the table has it. The last component is left as it is when it cannot be
 * looked at, as on a mount whose process has died.
 */
export function mountPointPath(path: string): string {
  const absolute = resolve(path);
  if (mountAt(absolute) !== undefined) return absolute;
  const inside = join(realPath(dirname(absolute)), basename(absolute));
  return mountAt(inside) === undefined ? realPath(inside) : inside;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return path; // whoever uses it is told why it cannot be used
  }
}

/** The table writes blanks, tabs, newlines and backslashes as three octal digits. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
