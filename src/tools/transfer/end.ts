/**
 * The last words of `dfs put` and `dfs get`.
 */
import type { DfsError } from "../../base/errors.ts";
import type { Messages } from "../shared/messages.ts";
import type { Output } from "../shared/output.ts";
import { counted } from "../shared/format.ts";
import { interrupted } from "../shared/progress.ts";
import { tallyRow, type Surroundings, type Tally, type TransferWish } from "./jobs.ts";

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
  if (options.json) await out.row({ ...tallyRow(tally, around), skipped });
  else if (rehearsal !== undefined) await out.line(rehearsal.summary(tally));
  if (rehearsal === undefined) {
    around.progress.stop(verb);
    if (skipped > 0)
      messages.note(
        `skipped ${counted(skipped, "file")} that ${skipped === 1 ? "was" : "were"} there already`,
      );
  }
}

/** What Ctrl-C ends a transfer with. */
export function interruptedTransfer(
  verb: string,
  { recursive }: TransferWish,
  { progress }: Surroundings,
  tally: Tally,
): DfsError {
  const isNothing = tally.files + tally.symlinks + tally.others === 0;
  const done = isNothing ? `nothing was ${verb}` : `${verb} ${progress.summary()}, each whole`;
  return interrupted(
    done,
    recursive
      ? "to go on, give the same command again: what is there already is skipped"
      : "give the same command again to do it from the beginning",
  );
}
