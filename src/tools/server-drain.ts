/**
 * `dfs server drain` and `dfs server undrain`: move all copies of a data server to others, and take it in again.
 */
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { neededOf, tellLost } from "./shared/leaving.ts";
import { LOSS_JSON } from "./shared/losses.ts";
import { progressOption } from "./shared/progress.ts";
import {
  checkRoom,
  serverOperand,
  showPlan,
  warnOfNowhere,
  watch,
  WATCH_JSON,
} from "./shared/server-moves.ts";

export const serverDrain = defineCommand({
  usage: "server drain ID [--dry-run]",
  description: `
Empties a data server so that it can be removed: from now on it takes no new copies, and those that it has are copied to
other servers before they are removed from it. It serves reads meanwhile; files are read and written as always. Nothing but
its own copies is moved. The plan is shown first. When the server dies meanwhile and is out, its copies are made from the others.
The work goes on whether this command runs or not, also after restarts of any server: Ctrl-C ends the watching only, and
the same command shows the progress again. dfs server undrain stops it.`,
  options: {
    dryRun: flag("show the plan and change nothing"),
    ...progressOption,
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: 1 },
  examples: [
    "dfs server drain 3 --dry-run",
    "dfs server drain 3",
    "dfs server remove 3    # when it is empty",
  ],
  json: [
    ...WATCH_JSON,
    "                    and lost, one for each file and block without any copy, of a server that went out",
    ...LOSS_JSON,
  ],
  exits: [
    [0, "the server is empty (or, with --dry-run, the plan was shown)"],
    [
      1,
      "it is down, or the other servers are too few or too full to take its copies, or somebody has ended the draining",
    ],
    [
      3,
      "it is out by now, and everything is copied of which there is a copy; blocks that have none are listed",
    ],
    [4, "no such server"],
    [5, "cluster unreachable"],
    [130, "Ctrl-C: the work goes on"],
  ],
  run(context) {
    const { dryRun, json, progress } = context.options;
    const server = serverOperand(context.args[0]!.text);
    const { out, messages, signal } = context;
    const surroundings = { out, messages, signal, json, progress };
    return withClient(context, async (client) => {
      const plan = await client.planServer(server, "drain");
      await showPlan(surroundings, server, plan);
      checkRoom(`cannot drain data server ${server}`, plan);
      if (dryRun) return EXIT.done;
      await client.changeServer(server, "drain");
      if (plan.copies > 0) await warnOfNowhere(messages, client, server);
      await watch(surroundings, {
        client,
        server,
        left: (now) => neededOf(server, now),
        verb: "moved",
        again: `dfs server drain ${server}`,
        ifAway: "the work goes on when it is back, or elsewhere when it is out",
      });
      const { state, lost } = await client.holdings(server);
      if (!json && (lost === null || lost.copies === 0)) {
        const isOut = state === "out";
        await out.line(
          `data server ${server} is ${isOut ? "out: the others have what it had" : "empty"}`,
        );
        const first = isOut ? "to" : "to end it and";
        await out.line(`${first} strike it off the list: dfs server remove ${server}`);
      }
      return tellLost(surroundings, client, server);
    });
  },
});

export const serverUndrain = defineCommand({
  usage: "server undrain ID",
  description: `
Ends the draining of a data server, be it finished or not: it gets its share of the blocks again, as a new server does. Also
for a server that was replaced (dfs rebuild --replace) and has come back. Copies are moved to it in the background.`,
  options: { ...clientOptions, ...jsonOption },
  operands: { least: 1, most: 1 },
  examples: ["dfs server undrain 3"],
  json: ["server (id), blocks and bytes that are moved to it"],
  exits: [
    [0, "done: it is a server as others again"],
    [1, "it is not being drained"],
    [4, "no such server"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const server = serverOperand(context.args[0]!.text);
    const { out } = context;
    const { json } = context.options;
    return withClient(context, async (client) => {
      const plan = await client.planServer(server, "undrain");
      await client.changeServer(server, "undrain");
      if (json) await out.row({ server, blocks: plan.copies, bytes: plan.bytes });
      else {
        await showPlan({ out, json }, server, plan);
        await out.line(`data server ${server} takes new blocks again`);
      }
      return EXIT.done;
    });
  },
});
