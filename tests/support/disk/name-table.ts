// The names on the simulated disk: what programs see, and what a power cut leaves of it.
//
// Making, renaming and unlinking a file change its directory at once for programs, and durably with the next sync of that
// directory. Until then a power cut keeps any subset of these changes. A rename is one change: it happened or it did not.

import { dirname } from "node:path";
import type { FileState, Survival } from "./file-state.ts";

/** Names that get another file, or none. */
type Change = readonly (readonly [path: string, file: FileState | undefined])[];

interface Pending {
  readonly directory: string;
  readonly change: Change;
}

export class NameTable {
  readonly live = new Map<string, FileState>();
  readonly directories = new Set<string>();
  private durable = new Map<string, FileState>();
  private durableDirectories = new Set<string>();
  private pending: Pending[] = [];

  /** A copy with copies of all files. */
  clone(): NameTable {
    const copies = new Map<FileState, FileState>();
    const copyOf = (file: FileState): FileState => {
      const known = copies.get(file);
      if (known !== undefined) return known;
      const copy = file.clone();
      copies.set(file, copy);
      return copy;
    };
    const table = new NameTable();
    for (const [path, file] of this.live) table.live.set(path, copyOf(file));
    for (const [path, file] of this.durable) table.durable.set(path, copyOf(file));
    for (const path of this.directories) table.directories.add(path);
    table.durableDirectories = new Set(this.durableDirectories);
    table.pending = this.pending.map(({ directory, change }) => ({
      directory,
      change: change.map(([path, file]) => [path, file && copyOf(file)] as const),
    }));
    return table;
  }

  /** Changes names of one directory. */
  change(change: Change): void {
    apply(this.live, change);
    this.pending.push({ directory: dirname(change[0]![0]), change });
  }

  makeDirectory(path: string): void {
    this.directories.add(path);
  }

  /** The changes of files' names that a sync of `directory` which begins now covers; what `synced` wants to know. */
  unsynced(directory: string): ReadonlySet<unknown> {
    return new Set(this.pending.filter((each) => each.directory === directory));
  }

  /** A sync of `directory` that began when `changes` were its unsynced ones has succeeded. */
  synced(directory: string, changes: ReadonlySet<unknown>): void {
    for (const each of this.pending) if (changes.has(each)) apply(this.durable, each.change);
    this.pending = this.pending.filter((each) => !changes.has(each));
    for (const each of this.directories) {
      if (dirname(each) === directory) this.durableDirectories.add(each);
    }
  }

  powerCut(survival: Survival): void {
    const survives = (): boolean =>
      survival === "everything" || (survival !== "nothing" && survival.below(2) === 0);
    for (const { change } of this.pending) if (survives()) apply(this.durable, change);
    this.pending = [];
    for (const each of this.directories) if (survives()) this.durableDirectories.add(each);
    this.live.clear();
    this.directories.clear();
    for (const path of this.durableDirectories) this.directories.add(path);
    const reachable = (path: string): boolean => this.directories.has(dirname(path));
    for (const [path, file] of this.durable) if (reachable(path)) this.live.set(path, file);
    for (const file of new Set(this.live.values())) file.powerCut(survival);
    this.durable = new Map(this.live);
  }
}

function apply(names: Map<string, FileState>, change: Change): void {
  for (const [path, file] of change) {
    if (file === undefined) names.delete(path);
    else names.set(path, file);
  }
}
