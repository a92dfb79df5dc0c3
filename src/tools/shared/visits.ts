/**
 * Going down a tree of the cluster in order: a directory, what is in it in the byte order of the names, its end.
 *
 * One page of each directory on the way down is in memory, however wide or deep the tree is. Whoever needs no order and
 * much speed takes `tree.ts`.
 */
import { isDfsError } from "../../base/errors.ts";
import type { DfsClient, DirectoryEntry } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import { joined } from "./paths.ts";
import { jsonAttributes } from "./format.ts";
import { jsonName } from "./text.ts";

/** What of a client is needed. */
export type Lister = Pick<DfsClient, "readdir" | "stat">;

/** A file, directory or link with what it is. */
export interface Item {
  readonly path: Uint8Array;
  /** What is shown for it: its name, or the path as typed. */
  readonly name: Uint8Array;
  readonly attributes: Attributes;
}

/** A moment of the way. */
export interface Visit {
  /**
   * `entry`: it was found, before what is in it. `leave`: all that is in a directory has been visited. `unlisted`: what is
   * in a directory cannot be told, or not all of it; `leave` follows.
   */
  readonly kind: "entry" | "leave" | "unlisted";
  readonly item: Item;
  /** 0 for the root. */
  readonly depth: number;
  /** True when nothing follows in the same directory; of `entry` alone. */
  readonly isLast: boolean;
  /** Why, for `unlisted`. */
  readonly error?: unknown;
}

export interface VisitOptions {
  /** Ends the way, between two moments of it. */
  readonly signal: AbortSignal;
  /** Whether to look into a directory; asked once for each. Without its answer everything is visited. */
  readonly into?: (directory: Item, depth: number) => boolean;
  /** What to leave out, with all that is in it; the roots are never asked for. */
  readonly without?: (entry: DirectoryEntry) => boolean;
}

/** A directory that is being looked into. */
interface Level {
  readonly directory: Visit;
  readonly entries: AsyncIterator<DirectoryEntry>;
  /** The entry that comes next, read ahead so that it is known whether one is the last. */
  next: DirectoryEntry | undefined;
}

/**
 * Visits `root` and, if it is a directory, everything below it. Symbolic links are visited, never followed.
 * @throws the reason of the signal once that is aborted.
 */
export async function* visitsBelow(
  client: Lister,
  root: Item,
  options: VisitOptions,
): AsyncGenerator<Visit, void> {
  const levels: Level[] = [];
  const first: Visit = { kind: "entry", item: root, depth: 0, isLast: true };
  yield first;
  if (isEntered(first, options)) yield* opened(client, first, levels, options);
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    options.signal.throwIfAborted();
    const { next, directory } = level;
    if (next === undefined) {
      levels.pop();
      yield { ...directory, kind: "leave" };
      continue;
    }
    const error = await advance(level);
    const item = itemOf(directory.item.path, next);
    const isLast = level.next === undefined;
    const visit: Visit = { kind: "entry", item, depth: directory.depth + 1, isLast };
    yield visit;
    if (error !== undefined) yield { ...directory, kind: "unlisted", error: error.thrown };
    if (isEntered(visit, options)) yield* opened(client, visit, levels, options);
  }
}

/**
 * The entries of a directory. One that vanishes while it is listed is told as not found: the service's word for that is the
 * same as for a session that has expired, after which nothing can go on.
 */
export async function* entriesIn(
  client: Lister,
  path: Uint8Array,
  without?: VisitOptions["without"],
): AsyncGenerator<DirectoryEntry, void> {
  try {
    for await (const entry of client.readdir(path)) if (!without?.(entry)) yield entry;
  } catch (error) {
    if (isDfsError(error, "stale")) await client.stat(path);
    throw error;
  }
}

/** What a directory's entry is, with its full path. */
export function itemOf(directory: Uint8Array, entry: DirectoryEntry): Item {
  return {
    path: joined(directory, entry.name),
    name: entry.name,
    attributes: entry.attributes,
  };
}

/** An item as a row of --json. */
export function jsonItem(item: Item, target?: Uint8Array): Record<string, unknown> {
  return {
    ...jsonName("path", item.path),
    ...jsonName("name", item.name),
    ...jsonAttributes(item.attributes),
    ...(target === undefined ? {} : jsonName("target", target)),
  };
}

function isEntered({ item, depth }: Visit, { into }: VisitOptions): boolean {
  return item.attributes.type === "directory" && (into === undefined || into(item, depth));
}

async function* opened(
  client: Lister,
  directory: Visit,
  levels: Level[],
  options: VisitOptions,
): AsyncGenerator<Visit, void> {
  const entries = entriesIn(client, directory.item.path, options.without);
  const level: Level = { directory, entries, next: undefined };
  const error = await advance(level);
  levels.push(level);
  if (error !== undefined) yield { ...directory, kind: "unlisted", error: error.thrown };
}

/** Reads the entry that comes next. After an error there is none, and the error is returned. */
async function advance(level: Level): Promise<{ readonly thrown: unknown } | undefined> {
  level.next = undefined;
  try {
    const step = await level.entries.next();
    if (!step.done) level.next = step.value;
    return undefined;
  } catch (thrown) {
    return { thrown };
  }
}
