/**
 * `dfs chown`: change owners and groups.
 */
import type { SetAttributes } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { change, CHANGED_KEYS, Teller, typedPaths } from "./shared/changing.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { descend, descentProgress } from "./shared/descent.ts";
import { Outcome } from "./shared/outcome.ts";
import { progressOption } from "./shared/progress.ts";
import { parseOwnerWish, type OwnerWish } from "./shared/owner-wish.ts";
import { OwnerNames } from "./shared/owners.ts";
import { escaped } from "./shared/text.ts";

const SET_UID = 0o4000;
const SET_GID = 0o2000;
const GROUP_EXECUTES = 0o010;

export const chown = defineCommand({
  usage: "chown [-R] [-h] [-v] OWNER[:GROUP] PATH...",
  description: `
Changes the owner and the group of files: OWNER alone leaves the group, OWNER: gives the group of that user, :GROUP leaves the
owner. Names are looked up on this machine, in /etc/passwd and /etc/group; the cluster keeps numbers. A number is taken
where no name is the same, and always when it is written +1000.
Symbolic links that are named are followed, unless with -h or -R. A program that runs as its owner or group (set-id bits) does
so no more afterwards, as with chown(1).`,
  options: {
    recursive: flag("everything in directories as well; symbolic links themselves", { short: "R" }),
    noDereference: flag("symbolic links themselves, not what they lead to", { short: "h" }),
    verbose: flag("tell each owner, before and afterwards", { short: "v" }),
    ...progressOption,
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 2, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs chown alice:staff /report", "dfs chown -R 1000:1000 /home/alice"],
  json: [...CHANGED_KEYS, "uidBefore gidBefore    numbers"],
  exits: [
    [0, "all are changed"],
    [1, "nothing could be changed"],
    [2, "this machine does not know the owner or group"],
    [3, "some could not be changed"],
    [4, "no such file or directory"],
    [5, "cluster unreachable"],
    [130, "interrupted: it tells how much is changed"],
  ],
  run(context) {
    const { recursive, noDereference, progress: style } = context.options;
    const [owner, ...files] = context.args;
    const wish = parseOwnerWish(owner?.text ?? "");
    const paths = typedPaths(files);
    const teller = new Teller(context);
    const names = new OwnerNames();
    return withClient(context, async (client) => {
      const outcome = new Outcome(context);
      const follow = !recursive && !noDereference;
      const descent = {
        client,
        outcome,
        progress: descentProgress(context, client, paths, { style, recursive, follow }),
        signal: context.signal,
        what: "cannot change the owner of",
        recursive,
        follow,
        change: async (path: Uint8Array, before: Attributes) => {
          const after = await change(client, before.inode, changeOf(wish, before));
          const was = { uidBefore: before.uid, gidBefore: before.gid };
          await teller.changed(path, after, told(names, path, before, after), was);
        },
      };
      await descend(descent, paths);
      return outcome.exitCode;
    });
  },
});

/** What chown(2) changes: set-id bits of anything but directories go; that of the group only where the group executes. */
function changeOf(wish: OwnerWish, { type, mode }: Attributes): SetAttributes {
  if (type === "directory" || type === "symlink") return wish;
  const lost = SET_UID | ((mode & GROUP_EXECUTES) === 0 ? 0 : SET_GID);
  return (mode & lost) === 0 ? wish : { ...wish, mode: mode & ~lost };
}

/** For --verbose. */
function told(names: OwnerNames, path: Uint8Array, before: Attributes, after: Attributes): string {
  const shown = ({ uid, gid }: Attributes): string => `${names.user(uid)}:${names.group(gid)}`;
  const stays = before.uid === after.uid && before.gid === after.gid;
  const how = stays ? `stays ${shown(after)}` : `was ${shown(before)}, is ${shown(after)}`;
  return `${escaped(path)}: owner ${how}`;
}
