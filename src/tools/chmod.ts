/**
 * `dfs chmod`: change permission bits.
 */
import { DfsError, messageOf } from "../base/errors.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { change, CHANGED_KEYS, Teller, typedPaths } from "./shared/changing.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { descend, descentProgress } from "./shared/descent.ts";
import { modeText, octalMode } from "./shared/format.ts";
import { changedMode, parseModeChange, type ModeChange } from "./shared/modes.ts";
import { Outcome } from "./shared/outcome.ts";
import { progressOption } from "./shared/progress.ts";
import { escaped, printable } from "./shared/text.ts";

export const chmod = defineCommand({
  usage: "chmod [-R] [-v] MODE PATH...",
  description: `
Changes the permission bits of files and directories. MODE is octal (755), or clauses separated by commas: for whom (u, g, o,
a; none: all, less your umask), what (+, -, =), and r, w, x, X (x for directories and for what somebody may execute
already), s, t, or u, g, o for the permissions that those have.
Symbolic links that are named are followed; those inside directories are passed over, for they have no permissions of
their own. The set-id bits of a directory stay unless MODE names them (g-s, =755, 00755).`,
  options: {
    recursive: flag("everything in directories as well", { short: "R" }),
    verbose: flag("tell each mode, before and afterwards", { short: "v" }),
    ...progressOption,
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  // -x and -w are modes and no options, as for chmod(1).
  operandPattern: /^-(?:[rwxXst]+|[ugo]|[0-7]+)(?:[-+=,].*)?$/,
  examples: ["dfs chmod 640 /secret", "dfs chmod -R u=rwX,go=rX /project"],
  json: [...CHANGED_KEYS, "before            the mode before, octal text"],
  exits: [
    [0, "all are changed"],
    [1, "nothing could be changed"],
    [3, "some could not be changed"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
    [130, "interrupted: it tells how much is changed"],
  ],
  run(context) {
    const [mode, ...files] = context.args;
    const wish = modeOf(mode?.text ?? "");
    const paths = typedPaths(files);
    const teller = new Teller(context);
    const umask = process.umask();
    return withClient(context, async (client) => {
      const outcome = new Outcome(context);
      const { recursive, progress: style } = context.options;
      const follow = true;
      const descent = {
        client,
        outcome,
        progress: descentProgress(context, client, paths, { style, recursive, follow }),
        signal: context.signal,
        what: "cannot change the mode of",
        recursive,
        follow,
        change: async (path: Uint8Array, before: Attributes, isNamed: boolean) => {
          if (before.type === "symlink" && !isNamed) return;
          const wanted = changedMode(wish, before.mode, before.type === "directory", umask);
          const after = await change(client, before.inode, { mode: wanted });
          const was = { before: octalMode(before.mode) };
          await teller.changed(path, after, told(path, before, after), was);
        },
      };
      await descend(descent, paths);
      return outcome.exitCode;
    });
  },
});

function modeOf(text: string): ModeChange {
  try {
    return parseModeChange(text);
  } catch (error) {
    throw new DfsError("usage", `mode ${printable(text)}: ${messageOf(error)}`, { cause: error });
  }
}

/** For --verbose. */
function told(path: Uint8Array, before: Attributes, after: Attributes): string {
  const shown = ({ type, mode }: Attributes): string =>
    `${octalMode(mode)} (${modeText(type, mode).slice(1)})`;
  const how =
    before.mode === after.mode
      ? `stays ${shown(after)}`
      : `was ${shown(before)}, is ${shown(after)}`;
  return `${escaped(path)}: mode ${how}`;
}
