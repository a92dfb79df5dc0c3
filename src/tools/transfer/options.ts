/**
 * The options that `dfs put` and `dfs get` have in common, and what they mean for a transfer.
 */
import { flag, value, type OptionValues } from "../shared/command.ts";
import { Exclusion, excludePattern } from "../shared/exclude.ts";
import type { Output } from "../shared/output.ts";
import { count } from "../shared/values.ts";
import { Rehearsal } from "./rehearsal.ts";
import { TRANSFER_WIDTH, type TransferWish } from "./jobs.ts";

/** More files at once would meet the limit of open files that a shell commonly sets, 1,024. */
const MOST_JOBS = 512;

export const transferOptions = {
  recursive: flag("trees: directories, symbolic links and fifos as such", { short: "r" }),
  preserve: flag("keep modes, times, hard links, user.* attributes, and owners as superuser", {
    short: "p",
  }),
  exclude: value(
    "<pattern>",
    excludePattern,
    "with -r: leave out what matches, as in a .gitignore; may be given several times",
    { join: (before, now) => [...before, ...now] },
  ),
  checksum: flag("compare contents, not lengths and times, to find out what is there already", {
    short: "c",
  }),
  dryRun: flag("tell what would be done, and do nothing", { short: "n" }),
  jobs: value("<n>", count(1, MOST_JOBS), `files at a time (default: ${TRANSFER_WIDTH})`, {
    short: "j",
  }),
};

/** What the options ask of a transfer; `verb` is what it does: `store`. */
export function transferWish(
  chosen: OptionValues<typeof transferOptions> & { readonly json: boolean },
  out: Output,
  verb: string,
): TransferWish {
  const { recursive, preserve, checksum, exclude, dryRun } = chosen;
  return {
    recursive,
    preserve,
    exclusion: new Exclusion(exclude ?? []),
    skipping: checksum ? "sameContent" : recursive ? "sameTime" : "nothing",
    rehearsal: dryRun ? new Rehearsal(out, chosen.json, verb) : undefined,
  };
}
