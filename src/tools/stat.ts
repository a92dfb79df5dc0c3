/**
 * `dfs stat`: all attributes of files.
 */
import type { DfsClient } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import {
  countText,
  deviceNumbers,
  isoTime,
  jsonAttributes,
  modeText,
  octalMode,
} from "./shared/format.ts";
import { Outcome } from "./shared/outcome.ts";
import { OwnerNames } from "./shared/owners.ts";
import { endsInSlash, remotePath } from "./shared/paths.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";

const options = {
  follow: flag("of what a symbolic link leads to, instead of the link's own", { short: "L" }),
  ...clientOptions,
  ...jsonOption,
};

export const stat = defineCommand({
  usage: "stat [-L] PATH...",
  description: `
Shows everything that is known of a file, directory or symbolic link. Times are in UTC, to the nanosecond.`,
  options,
  operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs stat /file", "dfs stat --json /file"],
  json: [
    "path              as typed; pathBase64 when not UTF-8",
    "type              file, directory, symlink, fifo, socket, characterDevice, blockDevice",
    "mode              permission bits, octal text",
    "nlink uid gid size allocated rdev    numbers",
    "inode version     64-bit numbers as text",
    "atime mtime ctime                    UTC with nanoseconds; atimeNs ...: since 1970, as text",
    "base              hash of the path at creation, decides the placement",
    "target            of a symbolic link; targetBase64 when not UTF-8",
  ],
  exits: [
    [0, "all were shown"],
    [3, "some could not be shown"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const paths = context.args.map(remotePath);
    return withClient(context, async (client) => {
      const outcome = new Outcome(context);
      for (const path of paths) {
        await outcome.attempt(`cannot show ${quoted(path)}`, () => show(context, client, path));
      }
      return outcome.exitCode;
    });
  },
});

async function show(
  context: Context<typeof options>,
  client: DfsClient,
  path: Uint8Array,
): Promise<void> {
  const follow = context.options.follow || endsInSlash(path);
  const attributes = await client.stat(path, { follow });
  const target = attributes.type === "symlink" ? await client.readlink(path) : undefined;
  if (context.options.json) {
    const link = target === undefined ? {} : jsonName("target", target);
    await context.out.row({ ...jsonName("path", path), ...jsonAttributes(attributes), ...link });
    return;
  }
  for (const line of blockOf(path, attributes, target)) await context.out.line(line);
}

/** The lines for people. */
function blockOf(path: Uint8Array, attributes: Attributes, target?: Uint8Array): string[] {
  const names = new OwnerNames();
  const { type, mode, uid, gid } = attributes;
  const { major, minor } = deviceNumbers(attributes.rdev);
  const isDevice = type === "characterDevice" || type === "blockDevice";
  const rows: [string, string][] = [
    ["path", `${escaped(path)}${target === undefined ? "" : ` -> ${escaped(target)}`}`],
    ["type", type],
    ["size", `${countText(attributes.size)} bytes, ${countText(attributes.allocated)} allocated`],
    ...(isDevice ? [["device", `${major}, ${minor}`] as [string, string]] : []),
    ["mode", `${octalMode(mode)} ${modeText(type, mode)}`],
    ["owner", `${uid} (${names.user(uid)}), group ${gid} (${names.group(gid)})`],
    ["links", String(attributes.nlink)],
    ["inode", `${attributes.inode}, version ${attributes.version}`],
    ...(type === "file" ? [["placement", `base ${attributes.base}`] as [string, string]] : []),
    ["accessed", isoTime(attributes.atimeNs)],
    ["modified", isoTime(attributes.mtimeNs)],
    ["changed", isoTime(attributes.ctimeNs)],
  ];
  return rows.map(([title, text]) => `${`${title}:`.padEnd(11)}${text}`);
}
