/**
 * How the dfs command is called here, for lines that people can paste.
 */
import { realpathSync } from "node:fs";
import { join, relative } from "node:path";
import { systemCodeOf } from "../../base/errors.ts";
import { shellWord } from "../shared/connect.ts";

/** The project's folder. */
export const PROJECT = join(import.meta.dir, "../../..");

/** `dfs` where PATH leads to this project's launcher; else the shortest path to it from the current directory. */
export function dfsCommand(env: Readonly<Record<string, string | undefined>>): string {
  const launcher = join(PROJECT, "bin", "dfs");
  const onPath = Bun.which("dfs", { PATH: env["PATH"] ?? "" });
  if (onPath !== null && realPath(onPath) === realPath(launcher)) return "dfs";
  const fromHere = relative(process.cwd(), launcher);
  return shellWord(fromHere.startsWith("..") ? launcher : fromHere);
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return undefined;
  }
}
