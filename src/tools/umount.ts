/**
 * `dfs umount`: take a mount away.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { mountPointPath } from "../base/mounts/table.ts";
import { unmount, type Unmounted } from "./mounting/unmount.ts";
import { defineCommand, flag, value } from "./shared/command.ts";
import { generalOptions, jsonOption } from "./shared/connect.ts";
import { isNotFound } from "./shared/errors.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { localPath } from "./mounting/local-path.ts";
import { seconds, text } from "./shared/values.ts";

const DEFAULT_TIMEOUT_MS = 60_000;

export const umount = defineCommand({
  usage: "umount [--lazy | --force] MOUNTPOINT...",
  description: `
Takes a mount away and returns when the process that served it has written everything back and ended. A mount that is in
use is refused: --lazy takes it out of the tree at once, and its process goes on until nobody uses it any more. --force gives
errors to whoever uses it and loses what has not been written back.
A mount whose process has died, or whose cluster is away, is unmounted all the same. umount(8) works too, but does not wait
for what is still written back.`,
  options: {
    lazy: flag("take it out of the tree now; it ends when nobody uses it any more", {
      short: "l",
      env: "DFS_UMOUNT_LAZY",
    }),
    force: flag("end it at once, whoever uses it; what is not written back is lost", {
      short: "f",
      env: "DFS_UMOUNT_FORCE",
    }),
    timeout: value("<seconds>", seconds, "wait so long for what is written back (default: 60)"),
    ...jsonOption,
    ...generalOptions,
    type: value("<type>", text, "from umount(8), without effect", {
      short: "t",
      env: "DFS_UMOUNT_TYPE",
    }),
    skipMtab: flag("from umount(8), without effect", { short: "n", env: "DFS_UMOUNT_SKIP_MTAB" }),
    remount: flag("from umount(8), without effect", { short: "r", env: "DFS_UMOUNT_REMOUNT" }),
    verbose: flag("from umount(8), without effect", { short: "v", env: "DFS_UMOUNT_VERBOSE" }),
  },
  operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs umount /mnt/dfs", "dfs umount --lazy /mnt/dfs"],
  json: [
    "mountPoint, pid (of the process that served it, or null), process (stopped, killed, still running,",
    "serving: it goes on until nobody uses the mount, was not running)",
  ],
  exits: [
    [0, "it is unmounted and its process has ended (--lazy: will end)"],
    [1, "it is in use, another user's, or still writing back"],
    [3, "some of several were unmounted"],
    [4, "nothing is mounted there"],
  ],
  async run(context) {
    const { options: chosen, messages, out, signal } = context;
    if (chosen.lazy && chosen.force) {
      throw new DfsError("usage", "--lazy and --force exclude each other: see dfs umount --help");
    }
    const how = chosen.force ? "force" : chosen.lazy ? "lazy" : "plain";
    const timeoutMs = chosen.timeout ?? DEFAULT_TIMEOUT_MS;
    const one = async (path: string): Promise<void> => {
      const unmounted = await unmount(mountPointPath(path), how, { timeoutMs, signal });
      if (chosen.json) {
        await out.row({ ...unmounted, pid: unmounted.pid ?? null });
      } else messages.note(told(unmounted));
      if (unmounted.process === "still running") {
        throw new DfsError("io", `process ${unmounted.pid} cannot be ended`);
      }
    };
    const errors: unknown[] = [];
    for (const path of context.args.map(localPath)) {
      try {
        await one(path);
      } catch (error) {
        if (context.args.length === 1 || signal.aborted || !isDfsError(error)) throw error;
        messages.error(error.message);
        errors.push(error);
      }
    }
    if (errors.length === 0) return EXIT.done;
    if (errors.length < context.args.length) return EXIT.partly;
    return errors.every(isNotFound) ? EXIT.notFound : EXIT.failed;
  },
});

function told({ mountPoint, pid, process }: Unmounted): string {
  if (process === "was not running") return `${mountPoint} unmounted; its process was gone`;
  if (process === "serving") {
    return `${mountPoint} unmounted; process ${pid} ends when nobody uses it any more`;
  }
  return `${mountPoint} unmounted (process ${pid} ${process})`;
}
