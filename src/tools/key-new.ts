/**
 * `dfs key new`: a cluster key.
 */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { DfsError } from "../base/errors.ts";
import { defaultDirectory } from "./shared/cluster-file.ts";
import { KEY_FILE, writeNewKey } from "./shared/cluster-key.ts";
import { defineCommand, flag, value } from "./shared/command.ts";
import { generalOptions, jsonOption } from "./shared/connect.ts";
import { localError } from "./shared/errors.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { printable } from "./shared/text.ts";
import { directory } from "./shared/values.ts";

export const keyNew = defineCommand({
  usage: "key new [FILE] [--force]",
  description: `
Writes a new random key to FILE, which only its owner may read. Servers and clients that are given the file (--key-file,
DFS_KEY_FILE, key_file= of a mount) prove to each other that they know the key; everybody else is refused. Without FILE it
becomes the key of the local cluster: cluster.key in its directory, where dfs up and all commands for that cluster find it.
Copy the file to the other machines as it is, and keep it closed: one that others may read is refused.
A cluster takes a new key, or its first, when all of it is stopped and started again.`,
  options: {
    force: flag("replace the key that is there"),
    dir: value(
      "<dir>",
      directory,
      "directory of the local cluster (default: ~/.local/share/dfs, or dfs in XDG_DATA_HOME)",
    ),
    ...jsonOption,
    ...generalOptions,
  },
  operands: { least: 0, most: 1 },
  examples: ["dfs key new", "dfs key new /etc/dfs.key"],
  json: ["one row: keyFile"],
  exits: [
    [0, "the file is written"],
    [1, "not written, for example because there is one already"],
    [2, "usage"],
    [4, "the directory of FILE is missing"],
  ],
  async run({ args: [file], options: chosen, env, out }) {
    if (file?.text === "" || file?.text === "-") {
      throw new DfsError(
        "usage",
        "a key goes into a file: name one, or none for the local cluster",
      );
    }
    const keyFile =
      file === undefined ? ownKey(chosen.dir ?? defaultDirectory(env)) : resolve(file.text);
    writeNewKey(keyFile, chosen.force);
    if (chosen.json) await out.row({ keyFile });
    else await out.line(`wrote a new cluster key to ${printable(keyFile)}`);
    return EXIT.done;
  },
});

/** The path of the local cluster's key. Its directory is made when it is missing. */
function ownKey(dir: string): string {
  const path = resolve(dir);
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw localError(`cannot make ${path}`, error);
  }
  return join(path, KEY_FILE);
}
