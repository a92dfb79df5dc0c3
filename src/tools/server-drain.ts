/**
 * `dfs server drain` and `dfs server undrain`: move all copies of a data server to others, and take it in again.
 */
import type { Holdings } from "../client/api.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { progressOption } from "./shared/progress.ts";
import {
  checkRoom,
  serverOperand,
  showPlan,
  warnOfNowhere,
  watch,
  WATCH_JSON,
  type Left,
} from "./shared/server-moves.ts";

export const serverDrain = defineCommand({
  usage: "server drain ID [--dry-run]",
  description: `
Empties a data server so that it can be removed: from now on it takes no new copies, and those that it has are copied to
other servers before they are removed from it. It serves reads meanwhile; files are read and written as always. Nothing but
its own copies is moved. The plan is shown first.
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
  json: WATCH_JSON,
  exits: [
    [0, "the server is empty (or, with --dry-run, the plan was shown)"],
    [1, "it is down, or the other servers are too few or too full to take its copies"],
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
        left: held,
        verb: "moved",
        again: `dfs server drain ${server}`,
        needsServer: true,
      });
      if (!json) {
        await out.line(`data server ${server} is empty`);
        await out.line(`to end it and strike it off the list: dfs server remove ${server}`);
      }
      return EXIT.done;
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

/** What is on the server; copies that were being made there when the draining began never count. */
function held({ present, bad, removing }: Holdings): Left {
  return {
    copies: present.copies + bad.copies + removing.copies,
    bytes: present.bytes + bad.bytes + removing.bytes,
  };
}
