/**
 * What is mounted where, from /proc/self/mountinfo (proc_pid_mountinfo(5)):
 *
 *     36 35 0:52 / /mnt rw,noatime shared:1 - fuse.dfs dfs#127.0.0.1:4000 rw,user_id=0
 *     id parent device root mount-point options optional... - type source super-options
 */
import { readFileSync } from "node:fs";

export interface Mount {
  /** Major and minor number of the device, `0:52`. */
  readonly device: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  /** File system and subtype, `fuse.dfs`. */
  readonly type: string;
  readonly source: string;
}

const octalEscape = /\\([0-7]{3})/g;

/** Undoes the escapes of blanks, tabs, newlines and backslashes (`\040` and so on). Bytes above 127 are UTF-8 already. */
export function unescapeMountField(field: string): string {
  return field.replace(octalEscape, (_all, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** One line; undefined when it is not one. */
export function parseMountLine(line: string): Mount | undefined {
  const [before, after] = line.split(" - ", 2);
  const left = before?.split(" ") ?? [];
  const [type, source] = after?.split(" ") ?? [];
  const [, , device, , mountPoint, options] = left;
  if (device === undefined || mountPoint === undefined || options === undefined) return undefined;
  if (type === undefined || source === undefined) return undefined;
  return {
    device,
    mountPoint: unescapeMountField(mountPoint),
    options: options.split(","),
    type,
    source: unescapeMountField(source),
  };
}

/** All mounts that this process sees, in the order in which they were made. */
export function readMounts(): Mount[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.map(parseMountLine).filter((mount) => mount !== undefined);
}

/** The uppermost mount at exactly this path, which must be absolute and without links; undefined when there is none. */
export function mountAt(path: string): Mount | undefined {
  return readMounts().findLast((mount) => mount.mountPoint === path);
}
