/**
 * Servers whose copies are made elsewhere because they are to go (`dfs server drain`, `dfs rebuild --replace`), and what has come of
 * it in the end. One that is drained may die and go out; one that was replaced may come back, and is drained then; and somebody may
 * take either in again.
 */
import { DfsError } from "../../base/errors.ts";
import type { ServerId } from "../../base/ids.ts";
import type { DfsClient, Holdings } from "../../client/api.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { counted, sizeText } from "./format.ts";
import { showLosses } from "./losses.ts";
import type { Left, Surroundings } from "./server-moves.ts";

/**
 * What there is to do until nothing is needed of a server that is to go; undefined while that is being found out.
 * @throws DfsError `invalid` when it is to stay after all.
 */
export function neededOf(server: ServerId, holdings: Holdings): Left | undefined {
  const { state, judging, lacking, lost } = holdings;
  if (state === "draining") return heldBy(holdings);
  if (state === "out") return judging ? undefined : without(lacking, lost);
  throw new DfsError(
    "invalid",
    `data server ${server} is not drained any more: it is ${state}, and gets new blocks again\n` +
      `somebody has taken it in again: dfs server undrain ${server}`,
  );
}

/**
 * What is on the server and not on enough others yet, and what has only to go: removals come behind all moves. Copies that were being made there when the draining began never count.
 */
function heldBy({ present, bad, removing, surplus }: Holdings): Left {
  const copies = present.copies + bad.copies;
  const bytes = present.bytes + bad.bytes;
  const spare = surplus ?? { copies: 0, bytes: 0 };
  return {
    copies: Math.max(0, copies - spare.copies),
    bytes: Math.max(0, bytes - spare.bytes),
    removals: spare.copies + removing.copies,
  };
}

/** What can still be made when these are lost. */
export function without(all: Left, lost: Left | null): Left {
  return {
    copies: Math.max(0, all.copies - (lost?.copies ?? 0)),
    bytes: Math.max(0, all.bytes - (lost?.bytes ?? 0)),
  };
}

/** Says which blocks have no copy, if there are such, and returns what the command comes to. */
export async function tellLost(
  surroundings: Surroundings,
  client: DfsClient,
  server: ServerId,
): Promise<ExitCode> {
  const { out, json, messages } = surroundings;
  const { lost, state } = await client.holdings(server);
  if (lost === null || lost.copies === 0) return EXIT.done;
  const isOne = lost.copies === 1;
  if (!json) {
    const what = `${counted(lost.copies, "block")} of data server ${server} ${isOne ? "has" : "have"} no copy anywhere`;
    await out.line(`everything else is there, but ${what}, ${sizeText(lost.bytes)}:`);
  }
  await showLosses(surroundings, client, server);
  await out.flush();
  messages.note(
    state === "out"
      ? `if server ${server} can be started again with its disk, they are back; to give them up: dfs server remove ${server} --force`
      : "they are back when a server that has a copy is started again; until then reading them is an error",
  );
  return EXIT.partly;
}
