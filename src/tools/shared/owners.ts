/**
 * Names of users and groups, from this machine's passwd(5) and group(5) files.
 */
import { readFileSync } from "node:fs";
import { systemCodeOf } from "../../base/errors.ts";
import { printable } from "./text.ts";

/** Looks up names by number; each file is read once, when it is first needed. */
export class OwnerNames {
  #users: ReadonlyMap<number, string> | undefined;
  #groups: ReadonlyMap<number, string> | undefined;

  /** The user's name, or the number where this machine knows none. */
  user(uid: number): string {
    this.#users ??= namesIn("/etc/passwd");
    return this.#users.get(uid) ?? String(uid);
  }

  group(gid: number): string {
    this.#groups ??= namesIn("/etc/group");
    return this.#groups.get(gid) ?? String(gid);
  }
}

/** Both files have lines `name:password:number:...`. The first name of a number counts. */
function namesIn(path: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const line of textOf(path).split("\n")) {
    const [name, , number] = line.split(":");
    if (name === undefined || name === "" || !/^\d+$/.test(number ?? "")) continue;
    if (!names.has(Number(number))) names.set(Number(number), printable(name));
  }
  return names;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return ""; // no such file, or not for us: numbers are shown
  }
}

/** Numbers of the user with this name on this machine and of the user's group. */
export function userNumbers(
  name: string,
): { readonly uid: number; readonly gid: number } | undefined {
  for (const [, uid, gid] of linesOf("/etc/passwd", name)) {
    if (isNumber(uid) && isNumber(gid)) return { uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/** The number of the group with this name on this machine. */
export function groupNumbers(name: string): number | undefined {
  const [, gid] = linesOf("/etc/group", name).find(([, number]) => isNumber(number)) ?? [];
  return gid === undefined ? undefined : Number(gid);
}

/** The fields behind the name, of lines with this name. */
function linesOf(path: string, name: string): string[][] {
  const lines = textOf(path).split("\n");
  return lines
    .filter((line) => line.startsWith(`${name}:`))
    .map((line) => line.split(":").slice(1));
}

function isNumber(text: string | undefined): boolean {
  return /^\d+$/.test(text ?? "");
}
