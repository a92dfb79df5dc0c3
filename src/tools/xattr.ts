/**
 * `dfs xattr list`, `get`, `set`, `rm`: extended attributes of files and directories.
 */
import { DfsError } from "../base/errors.ts";
import { MAX_XATTR_BYTES, MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES } from "../base/limits.ts";
import type { DfsClient } from "../client/api.ts";
import type { Argument } from "./shared/arguments.ts";
import { defineCommand, flag, type Context, type OptionSet } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { Outcome } from "./shared/outcome.ts";
import { remotePath } from "./shared/paths.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";

const MANY = Number.MAX_SAFE_INTEGER;
const NAMESPACE = "user.";

const HEX_FLAG = { short: "x" };

/** What the four have in common when they are told of in the help. */
const NAMES_AND_LINKS = `Of a symbolic link it is what the link leads to.`;

const exits = (done: string, undone: string): readonly (readonly [number, string])[] => [
  [0, done],
  [1, undone],
  [3, "with some of the paths it could not be done"],
  [4, "no such file or directory"],
  [5, "cluster unreachable"],
];

const listOptions = { ...clientOptions, ...jsonOption };

export const xattrList = defineCommand({
  usage: "xattr list PATH...",
  description: `
Lists the names of extended attributes, one a line, behind the path when there are several. ${NAMES_AND_LINKS}`,
  options: listOptions,
  operands: { least: 1, most: MANY },
  examples: ["dfs xattr list /file"],
  json: [
    "path              as typed; pathBase64 when not UTF-8",
    "name              of the attribute; nameBase64 when not UTF-8",
  ],
  exits: exits("listed, also when there are none", "not listed"),
  run(context) {
    return forEach(context, context.args, "list the attributes of", async (client, path, front) => {
      for (const name of await client.xattrList(path)) {
        if (context.options.json) {
          await context.out.row({ ...jsonName("path", path), ...jsonName("name", name) });
        } else await context.out.line(front + escaped(name));
      }
    });
  },
});

const getOptions = {
  hex: flag("the value as hexadecimal digits", HEX_FLAG),
  raw: flag("the bytes of the value, with nothing added; for one path alone"),
  ...clientOptions,
  ...jsonOption,
};

export const xattrGet = defineCommand({
  usage: "xattr get [-x | --raw] NAME PATH...",
  description: `
Prints the value of an extended attribute as text, one line for each path, and behind the path when there are several. Bytes
that a terminal should not see are shown as \\n, \\xff, a backslash as \\\\; -x and --raw show all as it is.
${NAMES_AND_LINKS}`,
  options: getOptions,
  operands: { least: 2, most: MANY },
  examples: ["dfs xattr get user.origin /file", "dfs xattr get --raw user.icon /file > icon.png"],
  json: [
    "path              as typed; pathBase64 when not UTF-8",
    "name              of the attribute; nameBase64 when not UTF-8",
    "value             as text; valueBase64 when not UTF-8",
  ],
  exits: exits("shown", "there is no such attribute, or it cannot be shown"),
  run(context) {
    const { hex, raw, json } = context.options;
    const [name, paths] = nameAndPaths(context.args);
    checkName(name, false);
    if (raw && (paths.length > 1 || hex || json)) {
      throw new DfsError("usage", "--raw is for one path, without -x and --json");
    }
    const what = `get ${quoted(name)} of`;
    return forEach(context, paths, what, async (client, path, front) => {
      const value = await client.xattrGet(path, name);
      if (raw) return context.out.bytes(value);
      if (!json) return context.out.line(front + (hex ? value.toHex() : escaped(value)));
      const names = { ...jsonName("path", path), ...jsonName("name", name) };
      return context.out.row({ ...names, ...jsonName("value", value) });
    });
  },
});

const setOptions = {
  hex: flag("the value is given as hexadecimal digits", HEX_FLAG),
  create: flag("only where there is no such attribute yet"),
  replace: flag("only where there is such an attribute"),
  ...clientOptions,
};

export const xattrSet = defineCommand({
  usage: "xattr set [-x] [--create | --replace] NAME VALUE PATH...",
  description: `
Gives files and directories an extended attribute, or another value for one that they have. Names begin with "user."; a value
is any text, or bytes with -x, ${MAX_XATTR_VALUE_BYTES / 1024} KiB at most, and all of one file together ${MAX_XATTR_BYTES / 1024 ** 2} MiB; - takes it from standard input,
every byte of it. A value that begins with - stands behind --. ${NAMES_AND_LINKS}`,
  options: setOptions,
  operands: { least: 3, most: MANY },
  examples: [
    "dfs xattr set user.origin https://example.org /file",
    "dfs xattr set user.icon - /file < icon.png",
  ],
  exits: exits("set", "not set, for example because of --create"),
  run(context) {
    const { hex, create, replace } = context.options;
    if (create && replace) throw new DfsError("usage", "--create and --replace exclude each other");
    const [name, [typed, ...paths]] = nameAndPaths(context.args);
    checkName(name, true);
    const isInput = typed?.text === "-";
    const given = isInput ? undefined : valueOf(typed?.bytes ?? new Uint8Array(), hex);
    const how = create ? "create" : replace ? "replace" : "any";
    /** Read once, when there is a cluster to give it to. */
    let value: Promise<Uint8Array> | undefined;
    const what = `set ${quoted(name)} of`;
    return forEach(context, paths, what, async (client, path) => {
      value ??= given === undefined ? inputValue(hex) : Promise.resolve(given);
      await client.xattrSet(path, name, await value, how);
    });
  },
});

export const xattrRm = defineCommand({
  usage: "xattr rm NAME PATH...",
  description: `
Removes an extended attribute, whose name begins with "user.". ${NAMES_AND_LINKS}`,
  options: clientOptions,
  operands: { least: 2, most: MANY },
  examples: ["dfs xattr rm user.origin /file"],
  exits: exits("removed", "there is no such attribute"),
  run(context) {
    const [name, paths] = nameAndPaths(context.args);
    checkName(name, true);
    const what = `remove ${quoted(name)} of`;
    return forEach(context, paths, what, (client, path) => client.xattrRemove(path, name));
  },
});

/** Does `work` with each of the paths; `front` is what stands before what is printed for it. */
function forEach(
  context: Context<typeof clientOptions & OptionSet>,
  typed: readonly Argument[],
  what: string,
  work: (client: DfsClient, path: Uint8Array, front: string) => Promise<void>,
): Promise<ExitCode> {
  const paths = typed.map(remotePath);
  return withClient(context, async (client) => {
    const outcome = new Outcome(context);
    for (const path of paths) {
      const front = paths.length > 1 ? `${escaped(path)}: ` : "";
      await outcome.attempt(`cannot ${what} ${quoted(path)}`, () => work(client, path, front));
    }
    return outcome.exitCode;
  });
}

function nameAndPaths([name, ...rest]: readonly Argument[]): [Uint8Array, readonly Argument[]] {
  return [name?.bytes ?? new Uint8Array(), rest];
}

/** @throws DfsError `usage` for what cannot be the name of an attribute, or is not for users to change. */
function checkName(name: Uint8Array, isChange: boolean): void {
  const text = Buffer.from(name).toString("latin1");
  if (name.length > MAX_XATTR_NAME_BYTES) {
    throw new DfsError("usage", `an attribute's name has at most ${MAX_XATTR_NAME_BYTES} bytes`);
  }
  if (text.startsWith(NAMESPACE) && text.length > NAMESPACE.length) return;
  if (!isChange && /^\w+\../.test(text)) return; // of another namespace: there is no harm in looking
  const hint = text.includes(".") || text === "" ? "" : `\ndid you mean user.${escaped(name)}?`;
  throw new DfsError("usage", `cannot use the name ${quoted(name)}: it begins with user.${hint}`);
}

/** @throws DfsError `usage` when the text is not what it is said to be, or too long. */
function valueOf(bytes: Uint8Array, hex: boolean): Uint8Array {
  const value = hex ? fromHex(Buffer.from(bytes).toString("latin1").trim()) : bytes;
  if (value.length <= MAX_XATTR_VALUE_BYTES) return value;
  throw tooLong();
}

function tooLong(): DfsError {
  return new DfsError("usage", `the value is too long: at most ${MAX_XATTR_VALUE_BYTES} bytes`);
}

function fromHex(text: string): Uint8Array {
  const digits = text.replace(/^0x/i, "");
  if (!/^([0-9a-f]{2})*$/i.test(digits)) {
    throw new DfsError("usage", "the value is not in hexadecimal: expected digits such as 00ff");
  }
  return Uint8Array.fromHex(digits);
}

/** The value on standard input, of which no more is read than can be one. */
async function inputValue(hex: boolean): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const most = MAX_XATTR_VALUE_BYTES * (hex ? 2 : 1) + (hex ? "0x\r\n".length : 0);
  let length = 0;
  for await (const part of Bun.stdin.stream()) {
    parts.push(part);
    length += part.length;
    if (length > most) throw tooLong();
  }
  return valueOf(Buffer.concat(parts), hex);
}
