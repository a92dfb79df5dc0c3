/**
 * What is mounted where: the kernel's table, read from /proc/self/mountinfo (proc_pid_mountinfo(5)). Looking there touches
 * no mount, so it works also for one that does not answer.
 */
import { readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { systemCodeOf } from "../../base/errors.ts";

/** The type by which a mount of dfs is known. */
export const DFS_TYPE = "fuse.dfs";

/** One line of the table. */
export interface MountEntry {
  readonly mountPoint: string;
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
    const mountPoint = before.split(" ")[4];
    if (mountPoint === undefined || after === undefined) return [];
    const [type = "", source = "", options = ""] = after.split(" ");
    const uid = /(?:^|,)user_id=(\d+)/.exec(options)?.[1];
    return [
      {
        mountPoint: unescaped(mountPoint),
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
