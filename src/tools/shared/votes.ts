/**
 * Read quorums on the command line: the option, and how the votes of servers are shown.
 *
 * A vote is 1 when the server's copy is right, 0 when it is wrong, missing or out of reach, and - (null in JSON) when the
 * server was not asked, or not waited for.
 */
import { DfsError } from "../../base/errors.ts";
import { MAX_REPLICAS } from "../../base/limits.ts";
import type { CopyVote, DfsClient, ReadVotes } from "../../client/api.ts";
import { green, red } from "./colours.ts";
import { value } from "./command.ts";
import type { Messages } from "./messages.ts";
import type { Output } from "./output.ts";
import { count } from "./values.ts";

/** The option of commands that read. */
export const readQuorumOption = {
  readQuorum: value(
    "<n>",
    count(1, MAX_REPLICAS),
    "servers that must answer for each block (default: the cluster's read quorum)",
  ),
};

/** What of the option goes into the client's options. */
export function readQuorumOf(options: { readonly readQuorum: number | undefined }): {
  readonly readQuorum?: number;
} {
  return options.readQuorum === undefined ? {} : { readQuorum: options.readQuorum };
}

/** @throws DfsError `usage` when no block has as many copies. */
export function checkReadQuorum({ readQuorum, replicas }: DfsClient): void {
  if (readQuorum <= replicas) return;
  throw new DfsError(
    "usage",
    `--read-quorum ${readQuorum} cannot be reached: this cluster keeps ${replicas} copies of each block`,
  );
}

/** A vote for programs. */
export function voteNumber({ state }: CopyVote): 1 | 0 | null {
  return state === "notAsked" ? null : state === "right" ? 1 : 0;
}

/** Votes in the order of their servers: `1 0(rotten) -`. */
export function votesText(votes: readonly CopyVote[]): string {
  return votes
    .map((vote) => {
      const flag = voteNumber(vote);
      return flag === null ? "-" : flag === 1 ? green("1") : red(`0(${vote.state})`);
    })
    .join(" ");
}

/** Tells the votes of reads as they come: notes for people, rows for programs. */
export class VoteTeller {
  readonly #rows: Output | undefined;
  readonly #messages: Messages;
  #told: Promise<void> = Promise.resolve();

  /** With `rows`, they go there. */
  constructor(messages: Messages, rows: Output | undefined) {
    this.#messages = messages;
    this.#rows = rows;
  }

  /** For `ClientOptions.onVotes`. */
  readonly listen = (read: ReadVotes): void => {
    const { path, offset, length, block, votes } = read;
    const servers = votes.map((vote) => vote.server);
    const rows = this.#rows;
    if (rows === undefined) {
      this.#messages.note(
        `${path} at offset ${offset}, block ${block}: servers ${servers.join(" ")} vote ${votesText(votes)}`,
      );
      return;
    }
    const row = {
      path,
      offset,
      length,
      id: block.toString(),
      servers,
      votes: votes.map(voteNumber),
      verdicts: votes.map((vote) => vote.state),
    };
    this.#told = this.#told.then(() => rows.row(row));
    this.#told.catch(() => undefined); // `finish` tells
  };

  /** Resolves when all rows are out. @throws OutputClosed */
  finish(): Promise<void> {
    return this.#told;
  }
}
