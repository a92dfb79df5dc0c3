/**
 * Why several sources cannot go where the last argument says, and what to do: make the directory only where that is possible.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { DfsClient } from "../../client/api.ts";
import { withoutTrailingSlashes } from "./paths.ts";
import { quoted } from "./text.ts";

/** What there is instead of a directory: nothing, nothing behind a link, something else, or something else before it. */
export type InsteadOfDirectory = "nothing" | "danglingLink" | "other" | "belowOther";

const ANOTHER = "name a directory as the last argument, or one source and a new name";

/** An error that says `what` was not done ("cannot copy 2 sources to /x") since a directory is needed. */
export function noDirectory(
  what: string,
  found: InsteadOfDirectory,
  mkdirCommand: string,
): DfsError {
  if (found === "nothing") {
    const words = `${what}: there is no such directory\nmake it first: ${mkdirCommand}`;
    return new DfsError("notFound", words);
  }
  const why = {
    danglingLink: "it is a symbolic link that leads nowhere",
    other: "it is not a directory",
    belowOther: "what it would be in is not a directory",
  }[found];
  return new DfsError("notDirectory", `${what}: ${why}\n${ANOTHER}`);
}

/** As {@link noDirectory}, for a path in the cluster that leads to no directory. */
export async function noRemoteDirectory(
  client: DfsClient,
  verb: string,
  target: Uint8Array,
): Promise<DfsError> {
  const found = await insteadOfDirectory(client, withoutTrailingSlashes(target));
  return noDirectory(`cannot ${verb} ${quoted(target)}`, found, `dfs mkdir -p ${quoted(target)}`);
}

async function insteadOfDirectory(
  client: DfsClient,
  target: Uint8Array,
): Promise<InsteadOfDirectory> {
  try {
    await client.stat(target, { follow: true });
    return "other";
  } catch (error) {
    if (isDfsError(error, "notDirectory")) return "belowOther";
    if (!isDfsError(error, "notFound")) throw error;
  }
  try {
    const { type } = await client.stat(target, { follow: false });
    return type === "symlink" ? "danglingLink" : "other";
  } catch (error) {
    if (isDfsError(error, "notFound")) return "nothing";
    throw error;
  }
}
