/**
 * Ends a data server from afar, and sees it end: the connection on which it was asked is the last thing that it gives up.
 */
import { Cancellation } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import { dataStop } from "../protocol/messages/data.ts";
import type { Peer } from "../protocol/peer.ts";
import type { DirectRequests } from "./direct.ts";
import { pause } from "./retry.ts";

/** For the answer, and once more for the end: what was begun is finished first. */
const END_TIMEOUT_MS = 30_000;

/** As `DfsClient.stopServer`. */
export async function stopServer(
  direct: DirectRequests,
  clock: Clock,
  server: ServerId,
  how: "inGoodOrder" | "crash",
): Promise<{ pid: number | undefined }> {
  const peer = await direct.peer(server);
  const pid = await askToEnd(peer, how === "crash");
  const waiting = new Cancellation();
  const late = pause(clock, END_TIMEOUT_MS, waiting).then(
    () => true,
    () => false,
  );
  const isLate = await Promise.race([late, peer.closed.then(() => false)]);
  waiting.abort();
  if (!isLate) return { pid };
  throw new DfsError(
    "timeout",
    `it was asked to end and has not within ${END_TIMEOUT_MS / 1000} s; its log says what it is doing`,
  );
}

/** The id of its process, if it still said that. @throws DfsError when it will not end. */
async function askToEnd(peer: Peer, crash: boolean): Promise<number | undefined> {
  try {
    return (await peer.request(dataStop, { crash }, { timeoutMs: END_TIMEOUT_MS })).body.pid;
  } catch (error) {
    // A crash is not answered: that the connection has ended is the answer.
    if (crash && isDfsError(error, "unreachable") && !peer.open) return undefined;
    throw error;
  }
}
