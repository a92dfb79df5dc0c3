/**
 * What commands that change files path by path have in common: the paths, and what they tell of what they did.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { DfsClient, SetAttributes } from "../../client/api.ts";
import type { Attributes } from "../../protocol/messages/common.ts";
import type { Argument } from "./arguments.ts";
import type { Context, OptionSet } from "./command.ts";
import { jsonAttributes } from "./format.ts";
import { Outcome, sentence } from "./outcome.ts";
import type { Output } from "./output.ts";
import { remotePath } from "./paths.ts";
import { jsonName, quoted } from "./text.ts";

/** Keys of the rows that {@link Teller} prints, for the help. */
export const CHANGED_KEYS = [
  "path              of what was changed; pathBase64 when not UTF-8",
  "type mode nlink uid gid size atime mtime ctime ...    afterwards, as dfs stat --json has them",
];

/** A path that was typed, or why it can be none. */
export type TypedPath = Uint8Array | DfsError;

/**
 * The paths that were typed. One that is too long fails by itself, when its turn comes.
 * @throws DfsError `usage` for an empty one.
 */
export function typedPaths(args: readonly Argument[]): TypedPath[] {
  return args.map((arg) => {
    try {
      return remotePath(arg);
    } catch (error) {
      if (!isDfsError(error, "nameTooLong")) throw error;
      return error;
    }
  });
}

/** Does `work` for each path, one after the other: "cannot VERB /x: ..." when it fails. Returns how that went. */
export async function forEachPath(
  paths: readonly TypedPath[],
  context: Pick<Context<OptionSet>, "messages" | "signal">,
  verb: string,
  work: (path: Uint8Array, outcome: Outcome) => Promise<unknown>,
): Promise<Outcome> {
  const outcome = new Outcome(context);
  for (const path of paths) {
    if (path instanceof DfsError) outcome.fail(`cannot ${verb} what is named`, path);
    else await outcome.attempt(`cannot ${verb} ${quoted(path)}`, () => work(path, outcome));
  }
  return outcome;
}

/** Attributes of the file whose `what` others shall have. @throws DfsError which says that they could not be taken from it. */
export async function modelOf(
  client: DfsClient,
  path: Uint8Array,
  what: string,
): Promise<Attributes> {
  try {
    return await client.stat(path, { follow: true });
  } catch (error) {
    if (!isDfsError(error)) throw error;
    const told = sentence(`cannot take the ${what} of ${quoted(path)}`, error);
    throw new DfsError(error.kind, told, { cause: error });
  }
}

/** Changes attributes of a file that was looked at before. @throws DfsError `notFound` when it has been removed since. */
export async function change(
  client: DfsClient,
  inode: Attributes["inode"],
  wanted: SetAttributes,
): Promise<Attributes> {
  try {
    return await client.inodes.setattr(inode, wanted);
  } catch (error) {
    if (!isDfsError(error, "stale")) throw error;
    throw new DfsError("notFound", "it has been removed meanwhile", { cause: error });
  }
}

interface Telling {
  readonly out: Output;
  readonly options: { readonly json: boolean; readonly verbose?: boolean };
}

/** Tells on standard output what was done: with --json a row, with -v a line, else nothing. */
export class Teller {
  readonly #out: Output;
  readonly #json: boolean;
  readonly #verbose: boolean;

  constructor({ out, options }: Telling) {
    this.#out = out;
    this.#json = options.json;
    this.#verbose = options.verbose ?? false;
  }

  /** `line` says it for people; `more` are further fields of the row. */
  async changed(
    path: Uint8Array,
    attributes: Attributes,
    line = "",
    more: object = {},
  ): Promise<void> {
    if (this.#json) {
      await this.#out.row({ ...jsonName("path", path), ...more, ...jsonAttributes(attributes) });
    } else if (this.#verbose) await this.#out.line(line);
  }
}
