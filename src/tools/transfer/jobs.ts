/**
 * What uploads and downloads share: the surroundings, the count of what was done, and steps that tell their failures.
 */
import type { DfsClient } from "../../client/api.ts";
import type { FileType } from "../../protocol/messages/common.ts";
import type { Outcome } from "../shared/outcome.ts";
import type { Progress } from "../shared/progress.ts";
import type { Exclusion } from "../shared/exclude.ts";
import type { Step } from "../shared/tree.ts";
import type { Rehearsal } from "./rehearsal.ts";

/**
 * Files in transfer at once. Small files wait for disks most of the time, and what waits together shares one fdatasync: 10,000
 * files of 4 KiB took four times as long with 24 at a time, and no less time with 256.
 */
export const TRANSFER_WIDTH = 96;

export interface TransferOptions {
  /** Trees: directories, symbolic links and special files as such. */
  readonly recursive: boolean;
  /** Modes, times, hard links, user.* attributes, and owners for the superuser. */
  readonly preserve: boolean;
}

/** What of a tree is transferred, and what counts as there already. */
export interface TransferWish extends TransferOptions {
  readonly exclusion: Exclusion;
  /**
   * Which files at the target are complete already: none; those of the source's length and time of change; or those of its
   * content. Times can tell because files of a tree keep them: a file gets its name and its time together, when it is whole.
   */
  readonly skipping: "nothing" | "sameTime" | "sameContent";
  /** Given: nothing is done, all is told. */
  readonly rehearsal: Rehearsal | undefined;
}

export interface Surroundings {
  readonly client: DfsClient;
  readonly outcome: Outcome;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Things transferred, by what they are. */
export class Tally {
  files = 0;
  directories = 0;
  symlinks = 0;
  others = 0;
  hardLinks = 0;
  /** Files that were there already. */
  skipped = 0;

  count(type: FileType): void {
    if (type === "file") this.files++;
    else if (type === "directory") this.directories++;
    else if (type === "symlink") this.symlinks++;
    else this.others++;
  }
}

/** The row that `put --json` and `get --json` print at the end. */
export function tallyRow(tally: Tally, { outcome, progress }: Surroundings): object {
  return {
    files: tally.files,
    directories: tally.directories,
    symlinks: tally.symlinks,
    others: tally.others,
    hardLinks: tally.hardLinks,
    bytes: progress.bytes,
    failed: outcome.failed,
    seconds: Math.round(progress.elapsedMs) / 1000,
  };
}

/** Runs `work`; a failure is told as "cannot ..." and counted, and the walk goes on without what was to be inside. */
export async function attempt(
  outcome: Outcome,
  what: string,
  work: () => ReturnType<Step>,
): ReturnType<Step> {
  try {
    return await work();
  } catch (error) {
    outcome.fail(what, error);
    return undefined;
  }
}

/** First copies of things with several names, so that their other names become hard links to them. */
export class HardLinks<Place> {
  readonly #copies = new Map<string, Promise<Place>>();

  /**
   * Makes the first copy of the thing `key` with `make`; for every further name, `link`s it to the first copy once
   * that is there. A name whose first copy failed gets one of its own. Resolves with true when it was linked.
   */
  async place(
    key: string,
    place: Place,
    make: () => Promise<void>,
    link: (first: Place) => Promise<void>,
  ): Promise<boolean> {
    const first = this.#copies.get(key);
    if (first === undefined) {
      const made = make();
      this.#copies.set(
        key,
        made.then(() => place),
      );
      this.#copies.get(key)?.catch(() => undefined); // told by the maker, below
      await made;
      return false;
    }
    let copy: Place;
    try {
      copy = await first;
    } catch {
      await make(); // the failure of the first copy has been told there
      return false;
    }
    await link(copy);
    return true;
  }
}
