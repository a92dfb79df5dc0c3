/**
 * `dfs scrub`: what the data servers' scrubs are doing, and what they are told to do.
 */
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import { serverId, type ServerId } from "../base/ids.ts";
import type { DfsClient, ScrubStatus, ServerList } from "../client/api.ts";
import type { ScrubAction } from "../protocol/messages/data.ts";
import type { Argument } from "./shared/arguments.ts";
import { green, red, yellow } from "./shared/colours.ts";
import { defineCommand, value } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { countText, durationText, isoTime, localTime, sizeText } from "./shared/format.ts";
import { tableLines, type Column } from "./shared/table.ts";

const ACTIONS: readonly ScrubAction[] = ["start", "pause", "resume", "status"];

const MIB = 1024 * 1024;
const LEAST_RATE = 1024;
const MOST_RATE_MIB = 1_000_000;

const COLUMNS: readonly Column[] = [
  { title: "SERVER", align: "right" },
  { title: "STATE" },
  { title: "PROGRESS", align: "right" },
  { title: "RATE", align: "right" },
  { title: "ENDS" },
  { title: "LAST PASS" },
  { title: "RECORDS", align: "right" },
  { title: "DAMAGE", align: "right" },
  { title: "ROTTEN", align: "right" },
];

export const scrub = defineCommand({
  usage: "scrub [SERVER...] start|pause|resume|status",
  description: `
A scrub verifies everything that a data server has stored, so that rot is found and mended while there are other copies.
It runs by itself, all of a server's data once in 14 days. "start" begins a pass over everything now, as fast as the rate
allows; "pause" and "resume" keep the place, also over restarts. Without SERVER all data servers are told or asked.
DAMAGE and ROTTEN count damage of any kind and bad copies of blocks, in the pass under way or the last one.`,
  options: {
    ...clientOptions,
    ...jsonOption,
    rate: value("<MiB/s>", rate, "the fastest that it may read from now on (at first: 16)"),
  },
  operands: { least: 1, most: Infinity },
  examples: [
    "dfs scrub status",
    "dfs scrub 2 start --rate 100",
    "dfs scrub 1 3 pause",
    "dfs scrub --json status",
  ],
  json: [
    "server            id, a number",
    "state             idle (between two passes), running or paused",
    "hurried           true for a pass that was started by hand",
    "segment position  where it is: number of the segment, and bytes of it that are done",
    "doneBytes totalBytes bytesPerSecond    of the pass under way, and the rate in force",
    "started expected next lastPass         times in UTC, or null: begin and end of the pass, of the next, of the last",
    "records damage rotten                  of the pass under way or the last one",
    "rottenEver        bad copies found by all passes, each once a pass",
    "error             why a server did not answer; only this and server are there then",
  ],
  exits: [
    [0, "done, or shown (also when rot was found: dfs status judges)"],
    [1, "no server could be reached or would do it"],
    [3, "some servers did it, others could not be reached"],
    [4, "no such server"],
    [5, "cluster unreachable"],
  ],
  async run(context) {
    const { options, out, messages, typed } = context;
    const { action, servers } = readOperands(context.args);
    if (action === "status" && typed.has("rate")) {
      throw new DfsError("usage", "--rate goes with start, pause and resume, not with status");
    }
    const bytesPerSecond = action === "status" ? undefined : options.rate;
    return withClient(context, async (client) => {
      const chosen = choose(await client.servers(), servers);
      const answers = await Promise.all(
        chosen.map((server) => told(client, server, action, bytesPerSecond)),
      );
      const good = answers.filter((answer) => answer.status !== undefined);
      if (options.json) {
        for (const { server, status, error } of answers) {
          await out.row(status === undefined ? { server, error } : jsonStatus(status));
        }
      } else if (chosen.length === 0) {
        await out.line("no data server has registered yet; start one: dfs data --new --dir DIR");
      } else if (good.length > 0) {
        for (const line of tableLines(
          COLUMNS,
          good.map(({ status }) => cells(status)),
        )) {
          await out.line(line);
        }
      }
      const what = action === "status" ? "ask" : action;
      for (const { server, error } of answers) {
        if (error !== undefined)
          messages.error(`cannot ${what} the scrub of server ${server}: ${error}`);
      }
      return exitCode(good.length, answers.length);
    });
  },
});

type Answer =
  | { readonly server: ServerId; readonly status: ScrubStatus; readonly error?: undefined }
  | { readonly server: ServerId; readonly status?: undefined; readonly error: string };

/** One server's answer; in words why there is none. */
async function told(
  client: DfsClient,
  { server, state }: ServerList[number],
  action: ScrubAction,
  bytesPerSecond: number | undefined,
): Promise<Answer> {
  if (state === "down" || state === "out") return { server, error: `the server is ${state}` };
  try {
    return { server, status: await client.scrub(server, action, bytesPerSecond) };
  } catch (error) {
    if (!isDfsError(error) || error.kind === "internal" || error.kind === "cancelled") throw error;
    return { server, error: messageOf(error) };
  }
}

function exitCode(good: number, all: number): ExitCode {
  if (good === all) return EXIT.done;
  return good === 0 ? EXIT.failed : EXIT.partly;
}

/** The one operand that is an action, and the others, which are ids of servers. */
function readOperands(args: readonly Argument[]): {
  readonly action: ScrubAction;
  readonly servers: readonly ServerId[];
} {
  const words = args.map(({ text }) => text);
  const actions = ACTIONS.filter((each) => words.includes(each));
  const others = words.filter((word) => !actions.some((action) => action === word));
  const [action] = actions;
  if (action === undefined || words.length - others.length > 1) {
    throw new DfsError("usage", `say one of ${ACTIONS.join(", ")}: dfs ${scrub.usage}`);
  }
  return { action, servers: [...new Set(others.map(readServer))] };
}

function readServer(word: string): ServerId {
  const id = /^\d{1,10}$/.test(word) ? Number(word) : 0;
  if (id >= 1 && id < 2 ** 32) return serverId(id);
  throw new DfsError(
    "usage",
    `cannot use "${word}": neither the id of a server, such as 2, nor one of ${ACTIONS.join(", ")}`,
  );
}

/** @throws DfsError `notFound` when one of the wished servers is not there. */
function choose(all: ServerList, wished: readonly ServerId[]): ServerList {
  if (wished.length === 0) return all;
  return wished.map((id) => {
    const found = all.find(({ server }) => server === id);
    if (found !== undefined) return found;
    throw new DfsError(
      "notFound",
      `this cluster has no data server ${id}\ndfs server list tells which there are`,
    );
  });
}

/** A rate in MiB per second, as bytes per second. */
function rate(text: string): number {
  const mib = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  const bytes = Math.round(mib * MIB);
  if (bytes >= LEAST_RATE && mib <= MOST_RATE_MIB) return bytes;
  throw new DfsError("usage", "expected a number of MiB per second, such as 16 or 0.5");
}

function cells(status: ScrubStatus): string[] {
  const { server, doneBytes, totalBytes, bytesPerSecond, lastPassNs } = status;
  const hasPass = status.startedNs !== null;
  const share = totalBytes === 0 ? 1 : doneBytes / totalBytes;
  return [
    String(server),
    stateText(status),
    hasPass ? `${Math.floor(share * 100)} %` : "-",
    `${sizeText(bytesPerSecond)}/s`,
    endText(status),
    lastPassNs === null ? "never" : localTime(lastPassNs),
    countText(status.records),
    status.damage === 0 ? "0" : yellow(countText(status.damage)),
    status.rotten === 0 ? "0" : red(countText(status.rotten)),
  ];
}

function stateText({ state, hurried }: ScrubStatus): string {
  if (state === "paused") return yellow("paused");
  if (state === "idle") return "idle";
  return green(hurried ? "running" : "running, spread");
}

function endText({ state, expectedNs, nextNs }: ScrubStatus): string {
  if (state === "paused") return "-";
  if (expectedNs !== null) return `in ${timeTo(expectedNs)}`;
  return nextNs === null ? "-" : `next in ${timeTo(nextNs)}`;
}

function timeTo(timeNs: bigint): string {
  return durationText(Math.max(0, Number(timeNs / 1_000_000n) - Date.now()));
}

function jsonStatus(status: ScrubStatus): object {
  const time = (timeNs: bigint | null): string | null => (timeNs === null ? null : isoTime(timeNs));
  return {
    server: status.server,
    state: status.state,
    hurried: status.hurried,
    segment: status.segment,
    position: status.position,
    doneBytes: status.doneBytes,
    totalBytes: status.totalBytes,
    bytesPerSecond: status.bytesPerSecond,
    started: time(status.startedNs),
    expected: time(status.expectedNs),
    next: time(status.nextNs),
    lastPass: time(status.lastPassNs),
    records: status.records,
    damage: status.damage,
    rotten: status.rotten,
    rottenEver: status.rottenEver,
  };
}
