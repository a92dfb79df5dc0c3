/**
 * `dfs truncate`: make files shorter or longer.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { argument } from "./shared/arguments.ts";
import {
  change,
  CHANGED_KEYS,
  forEachPath,
  modelOf,
  Teller,
  typedPaths,
} from "./shared/changing.ts";
import { defineCommand, flag, value } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { Reason } from "./shared/errors.ts";
import { behindLinks } from "./shared/links.ts";
import { ownOwner } from "./shared/ownership.ts";
import { remotePath } from "./shared/paths.ts";
import { parseResizing, resized, type Resizing } from "./shared/resize.ts";
import { quoted } from "./shared/text.ts";
import { text } from "./shared/values.ts";

export const truncate = defineCommand({
  usage: "truncate [-c] [-r REMOTE] -s SIZE PATH...",
  description: `
Sets the length of files. What is behind a new end is gone for good; what is new is a hole, which reads as zeros and takes
no room. A file that is missing is made. A symbolic link is followed.
SIZE is a number of bytes, or of K, M, G, T, P, E (1,024 each; KB, MB, ...: 1,000). With a sign in front it is what is
added (+) or taken away (-), the most (<) or the least (>) that the file shall have, or what its length is rounded down (/)
or up (%) to a multiple of; < and > need quotes in a shell.`,
  options: {
    size: value("<size>", parseResizing, "the new length, or how it follows from the old one", {
      short: "s",
    }),
    reference: value(
      "<remote>",
      text,
      "the length of this file in the cluster; a sign in -s counts from it",
      { short: "r" },
    ),
    noCreate: flag("make no file that is missing; that is no error", { short: "c" }),
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs truncate -s 0 /log", "dfs truncate -s +10M /disk.img"],
  json: CHANGED_KEYS,
  exits: [
    [0, "all have their new length"],
    [1, "nothing could be changed"],
    [3, "some could not be changed"],
    [4, "a directory, or the file of -r, is missing"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const { size, reference, noCreate } = context.options;
    checkUsage(size, reference);
    const model = reference === undefined ? undefined : remotePath(argument(reference));
    const paths = typedPaths(context.args);
    const teller = new Teller(context);
    return withClient(context, async (client) => {
      const from = model === undefined ? undefined : await lengthOf(client, model);
      const resizing: Resizing = size ?? { sign: "+", bytes: 0n };
      const truncated = await forEachPath(paths, context, "truncate", async (path) => {
        const file = await fileAt(client, path, !noCreate);
        if (file === undefined) return;
        const wanted = resized(resizing, from ?? file.size);
        const attributes = await change(client, file.inode, { size: wanted });
        await teller.changed(path, attributes);
      });
      return truncated.exitCode;
    });
  },
});

function checkUsage(size: Resizing | undefined, reference: string | undefined): void {
  if (size === undefined && reference === undefined) {
    throw new DfsError("usage", "no length is given: dfs truncate -s SIZE PATH...");
  }
  if (size?.sign === "" && reference !== undefined) {
    throw new DfsError("usage", "-r and -s both name a length: give one, or -s with a sign");
  }
}

/** The length of the file at `path`. That of a directory is 0 and nobody's wish: files would be emptied by it. */
async function lengthOf(client: DfsClient, path: Uint8Array): Promise<number> {
  const { type, size } = await modelOf(client, path, "length");
  if (type === "file") return size;
  throw new DfsError("invalid", `cannot take the length of ${quoted(path)}: it is a ${type}`);
}

/** The regular file at `path`, made if it is missing and may be; undefined when it may not. */
async function fileAt(
  client: DfsClient,
  path: Uint8Array,
  mayCreate: boolean,
): Promise<Attributes | undefined> {
  try {
    const attributes = await client.stat(path, { follow: true });
    if (attributes.type === "file") return attributes;
    if (attributes.type === "directory") throw new Reason("isDirectory", "is a directory");
    throw new Reason("invalid", `it is a ${attributes.type}; only files have a length to set`);
  } catch (error) {
    if (!isDfsError(error, "notFound")) throw error;
  }
  if (!mayCreate) return undefined;
  const file = await client.create(await behindLinks(client, path), ownOwner(0o666));
  await file.close();
  return file.attributes;
}
