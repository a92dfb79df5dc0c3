/**
 * Changing attributes of what was named and, with -R, of everything in it: many at a time, what fails is told and the rest
 * goes on.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { DfsClient } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import type { TypedPath } from "./changing.ts";
import type { Context, OptionSet } from "./command.ts";
import { interrupted, tellingInterruption } from "./interruption.ts";
import type { Outcome } from "./outcome.ts";
import { endsInSlash, joined } from "./paths.ts";
import { Progress, THINGS, type ProgressStyle, type Total } from "./progress.ts";
import { quoted } from "./text.ts";
import { treeTotal } from "./tree-total.ts";
import { walkTree, type Step } from "./tree.ts";

/** Changes in flight; the service commits together what arrives together. */
const WIDTH = 64;

export interface Descent {
  readonly client: DfsClient;
  readonly outcome: Outcome;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** What is done to each, for errors: "cannot change the mode of". */
  readonly what: string;
  readonly recursive: boolean;
  /** Symbolic links that are named are followed. Those inside directories never are. */
  readonly follow: boolean;
  /** Changes one; `isNamed` is false inside of directories. Directories are changed before what is in them. */
  readonly change: (path: Uint8Array, attributes: Attributes, isNamed: boolean) => Promise<void>;
}

/** Changes what is at `paths`; without -R one after the other, so that a path may stand there twice. */
export async function descend(descent: Descent, paths: readonly TypedPath[]): Promise<void> {
  const { progress, recursive, signal } = descent;
  const words = (): DfsError =>
    interrupted(
      progress.files === 0 ? "nothing was changed" : `changed ${progress.summary()}`,
      "the rest is as it was; the same command begins from the start",
    );
  try {
    await tellingInterruption(signal, words, () =>
      walkTree(roots(descent, paths), recursive ? WIDTH : 1, signal),
    );
  } finally {
    progress.end();
  }
  progress.stop("changed");
}

/** What shows how far a descent is. */
export function descentProgress(
  { messages, signal }: Pick<Context<OptionSet>, "messages" | "signal">,
  client: DfsClient,
  paths: readonly TypedPath[],
  { style, recursive, follow }: DescentWish,
): Progress {
  const named = paths.filter((path) => path instanceof Uint8Array);
  const findTotal = (): Promise<Total | undefined> =>
    treeTotal(client, named, { signal, follow, countsDirectories: true });
  return new Progress(messages, { style, ...THINGS, ...(recursive ? { findTotal } : {}) });
}

interface DescentWish extends Pick<Descent, "recursive" | "follow"> {
  readonly style: ProgressStyle | undefined;
}

async function* roots(descent: Descent, paths: readonly TypedPath[]): AsyncIterable<Step> {
  for (const path of paths) {
    if (path instanceof DfsError) descent.outcome.fail(`${descent.what} what is named`, path);
    else yield () => attempt(descent, path, () => root(descent, path));
  }
}

async function root(descent: Descent, path: Uint8Array): ReturnType<Step> {
  const follow = descent.follow || endsInSlash(path);
  return one(descent, path, await descent.client.stat(path, { follow }), true);
}

async function one(
  descent: Descent,
  path: Uint8Array,
  attributes: Attributes,
  isNamed: boolean,
): ReturnType<Step> {
  await descent.change(path, attributes, isNamed);
  descent.outcome.succeed();
  descent.progress.files++;
  if (!descent.recursive || attributes.type !== "directory") return undefined;
  return { steps: inside(descent, path), leave: () => Promise.resolve() };
}

async function* inside(descent: Descent, directory: Uint8Array): AsyncIterable<Step> {
  try {
    for await (const { name, attributes } of descent.client.readdir(directory)) {
      const path = joined(directory, name);
      yield () => attempt(descent, path, () => one(descent, path, attributes, false));
    }
  } catch (error) {
    if (isDfsError(error, "notFound")) return; // removed meanwhile, with what was in it
    descent.outcome.fail(`cannot list ${quoted(directory)}`, error);
  }
}

async function attempt(
  descent: Descent,
  path: Uint8Array,
  work: () => ReturnType<Step>,
): ReturnType<Step> {
  try {
    return await work();
  } catch (error) {
    descent.outcome.fail(`${descent.what} ${quoted(path)}`, error);
    return undefined;
  }
}
