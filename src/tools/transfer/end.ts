/**
 * The last words of `dfs put` and `dfs get`.
 */
import type { DfsError } from "../../base/errors.ts";
import type { Messages } from "../shared/messages.ts";
import type { Output } from "../shared/output.ts";
import { counted } from "../shared/format.ts";
import { joined, withoutTrailingSlashes } from "../shared/paths.ts";
import { interrupted } from "../shared/interruption.ts";
import { quoted } from "../shared/text.ts";
import { tallyRow, type Surroundings, type Tally, type TransferWish } from "./jobs.ts";

const DOT = new TextEncoder().encode(".");

/** `tree` as `tree/.`: the content of a directory, not the directory itself. */
export function contentOf(directory: Uint8Array): Uint8Array {
  return joined(withoutTrailingSlashes(directory), DOT);
}

interface Teller {
  readonly out: Output;
  readonly messages: Messages;
  readonly options: { readonly json: boolean };
}

/** What was done; `verb`: `stored`. */
export async function tellEnd(
  { out, messages, options }: Teller,
  verb: string,
  { rehearsal }: TransferWish,
  around: Surroundings,
  tally: Tally,
): Promise<void> {
  const { skipped } = tally;
  const planned = rehearsal === undefined ? {} : { bytes: rehearsal.bytes };
  if (options.json) await out.row({ ...tallyRow(tally, around), ...planned, skipped });
  else if (rehearsal !== undefined) await out.line(rehearsal.summary(tally));
  if (rehearsal === undefined) {
    around.progress.stop(verb);
    if (skipped > 0)
      messages.note(
        `skipped ${counted(skipped, "file")} that ${skipped === 1 ? "was" : "were"} there already`,
      );
  }
}

/**
 * What Ctrl-C ends a transfer with. A directory that did not exist before the command has the content of `source`; the same
 * command would make a directory in it now.
 */
export function interruptedTransfer(
  verb: string,
  { recursive }: TransferWish,
  { isInto, source }: { readonly isInto: boolean; readonly source: Uint8Array },
  { progress }: Surroundings,
  tally: Tally,
): DfsError {
  const isNothing = tally.files + tally.symlinks + tally.others === 0;
  const done = isNothing ? `nothing was ${verb}` : `${verb} ${progress.summary()}, each whole`;
  if (!recursive)
    return interrupted(done, "give the same command again to do it from the beginning");
  const content = quoted(contentOf(source));
  const how = isInto ? "" : `, with ${content} in place of ${quoted(source)}`;
  return interrupted(
    done,
    `to go on, give the same command again${how}: what is there already is skipped`,
  );
}
