/**
 * `dfs mkdir`: make directories.
 */
import { isDfsError } from "../base/errors.ts";
import type { DfsClient, FileOwner } from "../client/api.ts";
import { defineCommand, flag, value } from "./shared/command.ts";
import { clientOptions, withClient } from "./shared/connect.ts";
import { Outcome } from "./shared/outcome.ts";
import { ownOwner } from "./shared/ownership.ts";
import { components, joined, remotePath, ROOT_PATH } from "./shared/paths.ts";
import { escaped, quoted } from "./shared/text.ts";
import { mode } from "./shared/values.ts";

export const mkdir = defineCommand({
  usage: "mkdir [-p] [-m MODE] [-v] DIRECTORY...",
  description: `
Makes directories. Their owner is you; their mode is 777 less your umask, unless -m says otherwise.`,
  options: {
    parents: flag("make missing parents too; a directory that is there already is fine", {
      short: "p",
    }),
    mode: value("<mode>", mode, "permission bits in octal, of the last directory of each path", {
      short: "m",
    }),
    verbose: flag("tell each directory that is made", { short: "v" }),
    ...clientOptions,
  },
  operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs mkdir -p /project/results/2026"],
  exits: [
    [0, "all are there"],
    [1, "not made, for example because the name is taken"],
    [3, "some could not be made"],
    [4, "a parent directory is missing"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const { parents, mode: wanted, verbose } = context.options;
    const paths = context.args.map(remotePath);
    return withClient(context, async (client) => {
      const make = async (path: Uint8Array, owner: FileOwner): Promise<void> => {
        await client.mkdir(path, owner);
        if (verbose) await context.out.line(`made ${escaped(path)}`);
      };
      const outcome = new Outcome(context);
      for (const path of paths) {
        const owner = ownOwner(0o777);
        const last = wanted === undefined ? owner : { ...owner, mode: wanted };
        await outcome.attempt(`cannot make directory ${quoted(path)}`, () =>
          parents ? withParents(client, make, path, owner, last) : make(path, last),
        );
      }
      return outcome.exitCode;
    });
  },
});

type Make = (path: Uint8Array, owner: FileOwner) => Promise<void>;

/** Makes what is missing of a path, from the top down. */
async function withParents(
  client: DfsClient,
  make: Make,
  path: Uint8Array,
  owner: FileOwner,
  last: FileOwner,
): Promise<void> {
  const parts = components(path);
  let at = ROOT_PATH;
  for (const [index, part] of parts.entries()) {
    at = joined(at, part);
    const isDots = /^\.\.?$/.test(Buffer.from(part).toString("latin1"));
    if (!isDots) await ensureDirectory(client, make, at, index === parts.length - 1 ? last : owner);
  }
}

async function ensureDirectory(
  client: DfsClient,
  make: Make,
  path: Uint8Array,
  owner: FileOwner,
): Promise<void> {
  try {
    await make(path, owner);
  } catch (error) {
    if (!isDfsError(error, "exists")) throw error;
    // The name is taken: by a directory, or a link to one, that is as good.
    const there = await client.stat(path, { follow: true });
    if (there.type !== "directory") throw error;
  }
}
