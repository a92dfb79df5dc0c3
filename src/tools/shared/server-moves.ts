/**
 * What `dfs rebuild`, `dfs server drain` and `dfs server remove` have in common: ids of servers, plans, and watching how far
 * the copies of a server have got. The copies are made by the metadata service; who watches may go away at any time.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import { serverId, type ServerId } from "../../base/ids.ts";
import type { DfsClient, Holdings, ServerPlan } from "../../client/api.ts";
import { counted, sizeText } from "./format.ts";
import { interrupted, tellingInterruption, unlessAborted } from "./interruption.ts";
import type { Messages } from "./messages.ts";
import type { Output } from "./output.ts";
import { Progress, type ProgressStyle } from "./progress.ts";
import { nowhere } from "./server-words.ts";
import { tableLines, type Column } from "./table.ts";
import { printable } from "./text.ts";
import { count } from "./values.ts";

const MAX_SERVER_ID = 2 ** 32 - 1;

const parseId = count(1, MAX_SERVER_ID);

/** The service counts copies each time it is asked: it is asked so often at most, and less when counting takes long. */
const EVERY_MS = 500;
const PAUSE_FACTOR = 10;

/** When nothing has got done for so long, that is told. */
const STUCK_MS = 60_000;

const COLUMNS: readonly Column[] = [
  { title: "TO SERVER", align: "right" },
  { title: "BLOCKS", align: "right" },
  { title: "BYTES", align: "right" },
  { title: "FREE THERE", align: "right" },
];

/** Keys of the rows of --json of the commands that watch. */
export const WATCH_JSON: readonly string[] = [
  "kind              plan (first), move (one for each server that gets copies), progress (now and then), done (last)",
  "server            id, a number; of a move the one that gets copies, or null: any that has room",
  "blocks bytes      of plan and move: copies to be made, and their bytes",
  "freeBytes         of a move: what that server can take",
  "doneBlocks doneBytes leftBlocks leftBytes bytesPerSecond secondsLeft    of progress and done; secondsLeft may be null",
  "leftRemovals      of progress and done: copies that are to be removed, when the others that are needed have been read",
];

/** Copies to be made, and the bytes of their blocks. */
export interface Left {
  readonly copies: number;
  readonly bytes: number;
  /** Copies that have to go then, which is done behind all that is to be made. */
  readonly removals?: number;
}

/** Where a command's words go, and when it ends. */
export interface Surroundings {
  readonly out: Output;
  readonly messages: Messages;
  readonly signal: AbortSignal;
  readonly json: boolean;
  readonly progress: ProgressStyle | undefined;
}

/** What is watched. */
export interface Watch {
  readonly client: DfsClient;
  readonly server: ServerId;
  /** What there is to do before it is done; undefined when that cannot be told yet. */
  readonly left: (holdings: Holdings) => Left | undefined;
  /** For the last line: `rebuilt`. */
  readonly verb: string;
  /** The command that shows the progress again. */
  readonly again: string;
  /** What becomes of the work while the server is away; undefined: it does not matter. */
  readonly ifAway: string | undefined;
}

/** The id in an operand. @throws DfsError `usage`. */
export function serverOperand(text: string): ServerId {
  try {
    return serverId(parseId(text));
  } catch (error) {
    if (!isDfsError(error, "usage")) throw error;
    throw new DfsError("usage", `${printable(text)} is no server's id: dfs server list shows them`);
  }
}

/** Prints what is going to be moved where. */
export async function showPlan(
  { out, json }: Pick<Surroundings, "out" | "json">,
  server: ServerId,
  { copies, bytes, moves }: Pick<ServerPlan, "copies" | "bytes" | "moves">,
): Promise<void> {
  if (json) {
    await out.row({ kind: "plan", server, blocks: copies, bytes });
    for (const move of moves) {
      const { copies: blocks, bytes: moved, freeBytes } = move;
      await out.row({ kind: "move", server: move.server, blocks, bytes: moved, freeBytes });
    }
  } else {
    const what = copies === 0 ? "no copies" : `copies of ${counted(copies, "block")}`;
    await out.line(`plan for data server ${server}: ${what} to be made, ${sizeText(bytes)}`);
    if (moves.length > 0) {
      const rows = moves.map((move) => [
        move.server === null ? "any" : String(move.server),
        String(move.copies),
        sizeText(move.bytes),
        sizeText(move.freeBytes),
      ]);
      for (const line of tableLines(COLUMNS, rows)) await out.line(line);
    }
  }
  await out.flush();
}

/**
 * Work that has begun is watched, however little room is left: the service knows none right after it was started anew.
 * @throws DfsError `noSpace` when the servers that are to get the copies have less room than these need.
 */
export function checkRoom(what: string, { state, bytes, moves }: ServerPlan): void {
  if (state === "draining") return;
  const anywhere = moves.find(({ server }) => server === null)?.freeBytes ?? 0;
  const free = Math.max(
    anywhere,
    moves.reduce((sum, { server, freeBytes }) => sum + (server === null ? 0 : freeBytes), 0),
  );
  if (bytes <= free) return;
  throw new DfsError(
    "noSpace",
    `${what}: its copies need ${sizeText(bytes)}, the other servers have ${sizeText(free)} free\n` +
      "add a server first: dfs data --new --dir DIR --meta HOST:PORT",
  );
}

/** Warns when nothing can be made of copies of the server for now, because too few others take any. */
export async function warnOfNowhere(
  messages: Pick<Messages, "warning">,
  client: Pick<DfsClient, "replicas" | "servers">,
  server: ServerId,
): Promise<void> {
  const { replicas } = client;
  const lack = nowhere({ server }, { servers: await client.servers(), replicas });
  if (lack === undefined) return;
  messages.warning(`${lack}: they wait until there are more; dfs data --new adds one`);
}

/** Shows how far the work is until it is done. @throws DfsError `cancelled` on Ctrl-C; the work goes on all the same. */
export async function watch(surroundings: Surroundings, what: Watch): Promise<void> {
  const { messages, signal } = surroundings;
  const progress = new Progress(messages, {
    style: surroundings.progress,
    things: ["block", "blocks"],
  });
  const words = (): DfsError => {
    const seen = progress.files === 0 ? "" : `${what.verb} ${progress.summary()}; `;
    return interrupted(`${seen}the work goes on by itself`, `to see it again: ${what.again}`);
  };
  try {
    await tellingInterruption(signal, words, () =>
      new Watcher(surroundings, what, progress).toTheEnd(),
    );
  } finally {
    progress.end();
  }
  progress.stop(what.verb);
}

class Watcher {
  private readonly surroundings: Surroundings;
  private readonly what: Watch;
  private readonly progress: Progress;
  /** The most that was ever left. */
  private total: Left = { copies: 0, bytes: 0 };
  private last: Left | undefined;
  private movedMs = performance.now();
  private hasToldOfRemovals = false;
  private wasConnected = true;

  constructor(surroundings: Surroundings, what: Watch, progress: Progress) {
    this.surroundings = surroundings;
    this.what = what;
    this.progress = progress;
  }

  async toTheEnd(): Promise<void> {
    const { client, server, left } = this.what;
    for (;;) {
      const askedMs = performance.now();
      const holdings = await client.holdings(server);
      this.tellOfAbsence(holdings);
      const now = left(holdings);
      const isDone = now?.copies === 0 && (now.removals ?? 0) === 0;
      if (now !== undefined) await this.note(now, isDone);
      if (isDone) return;
      this.tellOfRemovals(now);
      this.tellIfStuck(now);
      const tookMs = performance.now() - askedMs;
      const pause = Bun.sleep(Math.max(EVERY_MS, tookMs * PAUSE_FACTOR));
      await unlessAborted(this.surroundings.signal, pause);
    }
  }

  private async note(left: Left, isDone: boolean): Promise<void> {
    const { out, json } = this.surroundings;
    this.total = {
      copies: Math.max(this.total.copies, left.copies),
      bytes: Math.max(this.total.bytes, left.bytes),
    };
    const doneBytes = this.total.bytes - left.bytes;
    this.progress.total = { things: this.total.copies, bytes: this.total.bytes };
    this.progress.files = this.total.copies - left.copies;
    this.progress.bytes = doneBytes;
    if (!json) return;
    const isRemoving = left.copies === 0 && !isDone;
    const rate = (doneBytes / Math.max(1, this.progress.elapsedMs)) * 1000;
    await out.row({
      kind: isDone ? "done" : "progress",
      server: this.what.server,
      doneBlocks: this.progress.files,
      doneBytes,
      leftBlocks: left.copies,
      leftBytes: left.bytes,
      bytesPerSecond: Math.round(rate),
      secondsLeft: rate < 1 || isRemoving ? null : Math.ceil(left.bytes / rate),
      leftRemovals: left.removals ?? 0,
    });
    await out.flush();
  }

  private tellOfRemovals(left: Left | undefined): void {
    if (left?.copies !== 0 || left.removals === undefined || this.hasToldOfRemovals) return;
    this.hasToldOfRemovals = true;
    const { server } = this.what;
    this.surroundings.messages.note(
      `the others have all that data server ${server} has; its ${counted(left.removals, "copy", "copies")} are removed ` +
        "as the others are read and found right",
    );
  }

  private tellOfAbsence({ connected }: Holdings): void {
    const { server, ifAway } = this.what;
    if (ifAway === undefined || connected === this.wasConnected) return;
    this.wasConnected = connected;
    const { messages } = this.surroundings;
    if (connected) messages.note(`data server ${server} is back; the work goes on`);
    else messages.warning(`data server ${server} is away: ${ifAway}`);
  }

  private tellIfStuck(left: Left | undefined): void {
    const { last } = this;
    const hasMoved =
      left?.copies !== last?.copies ||
      left?.bytes !== last?.bytes ||
      left?.removals !== last?.removals;
    this.last = left;
    if (hasMoved) this.movedMs = performance.now();
    if (performance.now() - this.movedMs < STUCK_MS) return;
    this.movedMs = performance.now();
    this.surroundings.messages.warning(
      "nothing has got done for a minute; dfs status tells whether servers are down or full",
    );
  }
}
