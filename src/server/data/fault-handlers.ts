/**
 * What a data server answers to those who test it or take it down: `data.corrupt` and `data.stop`.
 *
 * Damage and a crash are for clusters that are there to be broken: the server must have been started with
 * `--allow-faults`. Stopping in good order is not: it loses nothing, and whoever can reach a server may do everything
 * else with it as well.
 */
import { DfsError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { HandlerTable } from "../../protocol/endpoint.ts";
import { blockCorrupt, dataStop } from "../../protocol/messages/data.ts";
import type { Peer } from "../../protocol/peer.ts";
import type { ServedLog } from "./handlers.ts";

export interface FaultOptions {
  readonly served: ServedLog;
  readonly allowFaults: boolean;
  /** Ends the server in good order; `asker` is to be the last to be hung up on. */
  readonly stop: (asker: Peer) => void;
  /** Ends the process at once; undefined when the server does not have one of its own. */
  readonly crash: (() => void) | undefined;
  readonly logger: Logger;
}

/** Adds the handlers to those of the server's own listener. */
export function addFaultHandlers(table: HandlerTable, options: FaultOptions): void {
  const { served, allowFaults, stop, crash, logger } = options;

  table.onRequest(blockCorrupt, async ({ body: { block, fault, seed }, peer }) => {
    const log = served.log();
    if (!allowFaults) throw notAllowed("damage a copy");
    const injected = await log.injectFault({ block, kind: fault, seed });
    const { file, record, position } = injected;
    logger.warn("damaged a copy on purpose", {
      by: peer.identity.label,
      block,
      fault,
      seed,
      file,
      record,
      position,
    });
    return { body: injected };
  });

  table.onRequest(dataStop, ({ body, peer }) => {
    const by = peer.identity.label;
    if (!body.crash) {
      logger.info("asked to end", { by });
      queueMicrotask(() => stop(peer)); // the answer is on its way by then
      return { body: { pid: process.pid } };
    }
    if (!allowFaults) throw notAllowed("crash");
    if (crash === undefined) {
      throw new DfsError("unsupported", "cannot crash: this server has no process of its own");
    }
    logger.warn("crashing on purpose", { by });
    crash();
    return { body: { pid: process.pid } }; // by nobody, unless a test stands in for the end
  });
}

function notAllowed(what: string): DfsError {
  return new DfsError(
    "notPermitted",
    `this data server does not allow faults to be made on purpose: it will not ${what}\n` +
      "start it with --allow-faults (dfs up always does that), in a cluster that is there for tests",
  );
}
