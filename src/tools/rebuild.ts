/**
 * `dfs rebuild`: a data server gets back what it lost with its disk, or others get what a server had that is gone for good.
 */
import { DfsError } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import type { DfsClient, Holdings } from "../client/api.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { counted } from "./shared/format.ts";
import { neededOf, tellLost, without } from "./shared/leaving.ts";
import { LOSS_JSON } from "./shared/losses.ts";
import { progressOption } from "./shared/progress.ts";
import {
  checkRoom,
  serverOperand,
  showPlan,
  warnOfNowhere,
  watch,
  WATCH_JSON,
  type Left,
  type Surroundings,
} from "./shared/server-moves.ts";

export const rebuild = defineCommand({
  usage: "rebuild SERVER [--replace] [--dry-run]",
  description: `
Follows a data server that lost its disk and was started again with dfs data --recover SERVER: it is refilled from the
other servers by itself, takes new blocks meanwhile, and counts in no quorum until it has everything.
With --replace the server is declared gone for good, at once and without waiting for the out-delay: its place is given to
the other servers, and its copies are made there. It must not be running, and as many others as a block has copies must be
up and not full. When it comes back after all, nothing is lost: what it holds is moved away, and dfs server undrain makes it
a server as others again.
The plan is shown first. The work goes on whether this command runs or not: Ctrl-C ends the watching only, and the
same command shows the progress again. Blocks of which no other server has a copy cannot be made again; they are listed.`,
  options: {
    replace: flag("it will never come back: make its copies on other servers"),
    dryRun: flag("show the plan and change nothing"),
    ...progressOption,
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: 1 },
  examples: [
    "dfs data --recover 2 --dir /srv/dfs/data-2 --meta 127.0.0.1:7000    # in another terminal",
    "dfs rebuild 2",
    "dfs rebuild 3 --replace --dry-run",
    "dfs rebuild 3 --replace",
  ],
  json: [
    ...WATCH_JSON,
    "                  and lost, one for each file and block without any copy",
    ...LOSS_JSON,
  ],
  exits: [
    [0, "all copies are there (or, with --dry-run, the plan was shown)"],
    [
      1,
      "the server is not running, or with --replace: it is, or too few others are up, or they have no room",
    ],
    [3, "everything is copied of which there is a copy; blocks that have none are listed"],
    [4, "no such server"],
    [5, "cluster unreachable"],
    [130, "Ctrl-C: the work goes on"],
  ],
  run(context) {
    const { replace, dryRun, json, progress } = context.options;
    const server = serverOperand(context.args[0]!.text);
    const { out, messages, signal } = context;
    const surroundings: Surroundings = { out, messages, signal, json, progress };
    return withClient(context, async (client) => {
      await (replace
        ? replaceServer(surroundings, client, server, dryRun)
        : refill(surroundings, client, server, dryRun));
      return dryRun ? EXIT.done : tellLost(surroundings, client, server);
    });
  },
});

async function refill(
  surroundings: Surroundings,
  client: DfsClient,
  server: ServerId,
  dryRun: boolean,
): Promise<void> {
  const { out, json } = surroundings;
  const holdings = await client.holdings(server);
  if (!holdings.connected) throw notRunning(server, holdings);
  refuseDraining(server, holdings);
  const left = absent(holdings);
  if (json || dryRun || left === undefined || left.copies > 0) {
    const { copies, bytes } = left ?? total(holdings);
    await showPlan(surroundings, server, { copies, bytes, moves: [] });
  }
  if (dryRun) return;
  const again = `dfs rebuild ${server}`;
  const wasWhole = left?.copies === 0 && !holdings.filling;
  await watch(surroundings, {
    client,
    server,
    left: (now) => {
      refuseDraining(server, now);
      const lacking = absent(now);
      return now.filling && lacking?.copies === 0 ? undefined : lacking;
    },
    verb: "rebuilt",
    again,
    ifAway: "the work goes on when it is back",
  });
  if (json) return;
  const { present, lost } = await client.holdings(server);
  if (lost !== null && lost.copies > 0) return;
  const all = `all its copies, of ${counted(present.copies, "block")}`;
  await out.line(
    wasWhole
      ? `nothing to rebuild: data server ${server} has ${all}`
      : `data server ${server} has ${all}`,
  );
}

async function replaceServer(
  surroundings: Surroundings,
  client: DfsClient,
  server: ServerId,
  dryRun: boolean,
): Promise<void> {
  const { out, json, messages } = surroundings;
  const plan = await client.planServer(server, "replace");
  await showPlan(surroundings, server, plan);
  if (plan.state !== "out") checkRoom(`cannot replace data server ${server}`, plan);
  if (dryRun) return;
  await client.changeServer(server, "replace");
  if (plan.copies > 0) await warnOfNowhere(messages, client, server);
  let isBack = false;
  await watch(surroundings, {
    client,
    server,
    left: (now) => {
      if (now.state === "draining" && !isBack) {
        isBack = true;
        messages.note(
          `data server ${server} is back: what it holds counts again, and is moved away`,
        );
      }
      return neededOf(server, now);
    },
    verb: "copied",
    again: `dfs rebuild ${server} --replace`,
    ifAway: undefined,
  });
  if (json) return;
  const { lost } = await client.holdings(server);
  if (lost !== null && lost.copies > 0) return;
  await out.line(`data server ${server} is replaced: the others have what it had`);
  await out.line(`to strike it off the list of servers: dfs server remove ${server}`);
}

/** What a server should hold, does not, and can be made; undefined while that is being found out. */
function absent({ judging, bad, adding, lost }: Holdings): Left | undefined {
  if (judging) return undefined;
  const all = { copies: bad.copies + adding.copies, bytes: bad.bytes + adding.bytes };
  return without(all, lost);
}

/** Everything that it should hold. */
function total({ present, bad, adding }: Holdings): Left {
  return {
    copies: present.copies + bad.copies + adding.copies,
    bytes: present.bytes + bad.bytes + adding.bytes,
  };
}

/** @throws DfsError `invalid` when the server is being emptied: what it has lost is made elsewhere. */
function refuseDraining(server: ServerId, { state }: Holdings): void {
  if (state !== "draining") return;
  throw new DfsError(
    "invalid",
    `cannot rebuild data server ${server}: it is being drained, and what it had is made on the others\n` +
      `to see how far that is: dfs server drain ${server}; to have it refilled: dfs server undrain ${server}`,
  );
}

function notRunning(server: ServerId, { state }: Holdings): DfsError {
  return new DfsError(
    "invalid",
    `cannot rebuild data server ${server}: it is ${state === "up" ? "not connected" : state}\n` +
      `if its disk is lost, start it with: dfs data --recover ${server} --dir DIR --meta HOST:PORT\n` +
      `if it will never come back: dfs rebuild ${server} --replace`,
  );
}
