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
import { RecentRate } from "./recent-rate.ts";
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
  "doneBlocks doneBytes leftBlocks leftBytes    of progress and done, of copies to be made",
  "bytesPerSecond secondsLeft    of progress and done, by the last 10 s; secondsLeft is until they are made, then until the removals",
  "                  are done; null while that cannot be told",
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

/** Warns when some copies of the server cannot be made elsewhere for now, because too few others take any. */
export async function warnOfNowhere(
  messages: Pick<Messages, "warning">,
  client: Pick<DfsClient, "replicas" | "servers">,
  server: ServerId,
): Promise<void> {
  const { replicas } = client;
  const lack = nowhere({ server }, { servers: await client.servers(), replicas });
  if (lack === undefined) return;
  messages.warning(
    `not all of its copies have a place elsewhere (${lack}): the rest waits until there are more; dfs data --new adds one`,
  );
}

/**
 * Milliseconds until the service is asked again, when this answer took so long and the one before so long. One that took long
 * alone waited for something else than the counting: for a metadata server that was away, say.
 */
export function pauseMs(tookMs: number, beforeMs: number): number {
  return Math.max(EVERY_MS, Math.min(tookMs, beforeMs) * PAUSE_FACTOR);
}

/** Shows how far the work is until it is done. @throws DfsError `cancelled` on Ctrl-C; the work goes on all the same. */
export async function watch(surroundings: Surroundings, what: Watch): Promise<void> {
  const watcher = new Watcher(surroundings, what);
  const words = (): DfsError => {
    const seen = watcher.done === "" ? "" : `${watcher.done}; `;
    return interrupted(`${seen}the work goes on by itself`, `to see it again: ${what.again}`);
  };
  try {
    await tellingInterruption(surroundings.signal, words, () => watcher.toTheEnd());
  } finally {
    watcher.end();
  }
}

class Watcher {
  private readonly surroundings: Surroundings;
  private readonly what: Watch;
  /** Of the copies that are made. */
  private readonly making: Progress;
  /** Of those that go then, once nothing else is left. */
  private removing: Progress | undefined;
  /** The most that was ever left. */
  private total = { copies: 0, bytes: 0, removals: 0 };
  private readonly rates = { bytes: new RecentRate(), removals: new RecentRate() };
  private last: Left | undefined;
  private movedMs = performance.now();
  private wasConnected = true;

  constructor(surroundings: Surroundings, what: Watch) {
    this.surroundings = surroundings;
    this.what = what;
    const { messages, progress: style } = surroundings;
    this.making = new Progress(messages, { style, things: ["block", "blocks"] });
  }

  /** What was done while it was watched, in words; empty when that is nothing. */
  get done(): string {
    const { making, removing } = this;
    const parts = making.files === 0 ? [] : [`${this.what.verb} ${making.summary()}`];
    if (removing !== undefined && removing.files > 0) parts.push(`removed ${removing.summary()}`);
    return parts.join("; ");
  }

  /** Takes what is shown away. */
  end(): void {
    this.making.end();
    this.removing?.end();
  }

  async toTheEnd(): Promise<void> {
    const { client, server, left } = this.what;
    let beforeMs = Number.POSITIVE_INFINITY;
    for (;;) {
      const askedMs = performance.now();
      const holdings = await client.holdings(server);
      this.tellOfAbsence(holdings);
      const now = left(holdings);
      const isDone = now?.copies === 0 && (now.removals ?? 0) === 0;
      if (now === undefined) this.noteUnknown();
      else await this.note(now, isDone);
      if (isDone) {
        if (this.removing === undefined) this.making.stop(this.what.verb);
        else this.removing.stop("removed");
        return;
      }
      this.tellIfStuck(now);
      const tookMs = performance.now() - askedMs;
      await unlessAborted(this.surroundings.signal, Bun.sleep(pauseMs(tookMs, beforeMs)));
      beforeMs = tookMs;
    }
  }

  /** How much there is, and until when, is not shown as long as nobody knows. */
  private noteUnknown(): void {
    this.making.total = {};
    this.making.remark = "what is left is being found out";
  }

  private async note(left: Left, isDone: boolean): Promise<void> {
    const { out, json } = this.surroundings;
    const { making, rates } = this;
    const removals = left.removals ?? 0;
    this.total = {
      copies: Math.max(this.total.copies, left.copies),
      bytes: Math.max(this.total.bytes, left.bytes),
      removals: Math.max(this.total.removals, removals),
    };
    const doneBytes = this.total.bytes - left.bytes;
    making.total = { things: this.total.copies, bytes: this.total.bytes };
    making.remark = "";
    making.files = this.total.copies - left.copies;
    making.bytes = doneBytes;
    this.noteRemovals(left, removals);

    if (!json) return;
    rates.bytes.look(doneBytes, making.elapsedMs);
    rates.removals.look(this.total.removals - removals, making.elapsedMs);
    const secondsLeft =
      left.copies > 0 || isDone
        ? rates.bytes.secondsFor(left.bytes)
        : rates.removals.secondsFor(removals);
    await out.row({
      kind: isDone ? "done" : "progress",
      server: this.what.server,
      doneBlocks: making.files,
      doneBytes,
      leftBlocks: left.copies,
      leftBytes: left.bytes,
      bytesPerSecond: Math.round(rates.bytes.perSecond),
      secondsLeft: secondsLeft ?? null,
      leftRemovals: removals,
    });
    await out.flush();
  }

  /** Removals are shown from the moment on when nothing is left to be made: they come behind all that. */
  private noteRemovals(left: Left, removals: number): void {
    if (this.removing === undefined && left.copies === 0 && removals > 0)
      this.beginRemovals(removals);
    if (this.removing === undefined) return;
    this.removing.total = { things: this.total.removals };
    this.removing.files = this.total.removals - removals;
    this.removing.remark =
      left.copies === 0 ? "" : `${counted(left.copies, "block")} to be ${this.what.verb} again`;
  }

  private beginRemovals(removals: number): void {
    const { messages, progress: style } = this.surroundings;
    this.making.stop(this.what.verb);
    const copies = counted(removals, "copy is", "copies are");
    messages.note(
      `the others have all that data server ${this.what.server} has; its ${copies} removed as the others are read and found right`,
    );
    this.total.removals = removals;
    const things = ["copy", "copies"] as const;
    this.removing = new Progress(messages, { style, things, hasBytes: false, hasRate: true });
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
