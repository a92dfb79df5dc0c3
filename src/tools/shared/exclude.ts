/**
 * Patterns for what a transfer of a tree leaves out, by the rules of gitignore(5).
 *
 * - A pattern without a slash, or with one at its end only, is compared with names, however deep they are.
 * - Any other slash ties it to the tree's root: `/build` and `doc/*.pdf` are compared with whole paths in the tree.
 * - `*`, `?` and `[...]` match within one name; a part `**` stands for any number of directories.
 * - A slash at the end: directories only.
 * - `!` in front: what an earlier pattern left out is taken after all. The last pattern that matches decides.
 *
 * What is in a directory that is left out is never looked at, so no `!` brings it back.
 */
import { DfsError } from "../../base/errors.ts";
import { globMatcher } from "./glob.ts";
import { components } from "./paths.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** One name of a path, or any number of directories. */
type Part = ((name: string) => boolean) | "anyDepth";

interface Rule {
  readonly parts: readonly Part[];
  readonly directoriesOnly: boolean;
  readonly takesBack: boolean;
}

/** Parses the value of one `--exclude`. @throws DfsError `usage`. */
export function excludePattern(text: string): readonly string[] {
  ruleOf(text);
  return [text];
}

export class Exclusion {
  readonly #rules: readonly Rule[];

  constructor(patterns: readonly string[]) {
    this.#rules = patterns.map(ruleOf);
  }

  /** True when `path`, counted from the root of the tree, is left out. The root itself, an empty path, never is. */
  excludes(path: Uint8Array, isDirectory: boolean): boolean {
    if (this.#rules.length === 0 || path.length === 0) return false;
    const names = components(path).map((name) => decoder.decode(name));
    const last = this.#rules.findLast(
      (rule) => (isDirectory || !rule.directoriesOnly) && matches(rule.parts, names),
    );
    return last !== undefined && !last.takesBack;
  }
}

function ruleOf(text: string): Rule {
  const takesBack = text.startsWith("!");
  const typed = takesBack ? text.slice(1) : text;
  const bare = typed.replace(/\/+$/, "");
  const words = bare.split("/").filter((word) => word !== "");
  if (words.length === 0)
    throw new DfsError("usage", "expected a pattern, such as *.log or /build");
  if (words.some((word) => word === "." || word === "..")) {
    throw new DfsError(
      "usage",
      "expected a pattern without . and .., which no path in a tree has; /NAME is what lies right in the tree",
    );
  }
  const isTied = bare.includes("/");
  const parts = words.map((word): Part => (word === "**" ? "anyDepth" : globMatcher(word)));
  return {
    parts: isTied ? parts : ["anyDepth", ...parts],
    directoriesOnly: typed !== bare,
    takesBack,
  };
}

/** Goes through the names with the set of places in the pattern that the names until there lead to. */
function matches(parts: readonly Part[], names: readonly string[]): boolean {
  let places = reached(parts, [0]);
  for (const name of names) {
    const next: number[] = [];
    for (const place of places) {
      const part = parts[place];
      if (part === "anyDepth") next.push(place, ...(place + 1 === parts.length ? [place + 1] : []));
      else if (part?.(name)) next.push(place + 1);
    }
    places = reached(parts, next);
  }
  return places.includes(parts.length);
}

/** With the places behind each `**` that is not the last part: between names it may stand for nothing. */
function reached(parts: readonly Part[], from: readonly number[]): number[] {
  const found = new Set(from);
  for (const place of found) {
    if (parts[place] === "anyDepth" && place + 1 < parts.length) found.add(place + 1);
  }
  return [...found];
}
