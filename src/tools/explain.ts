/**
 * `dfs explain`: where each block of a file is, and why it is there.
 */
import type { CopyVote, DfsClient, ExplainRow, OpenFile } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { DfsError } from "../base/errors.ts";
import { PLACEMENT_GROUPS } from "../base/limits.ts";
import { Reason } from "./shared/errors.ts";
import { red, yellow } from "./shared/colours.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { counted, countText } from "./shared/format.ts";
import { sentence } from "./shared/outcome.ts";
import { remotePath } from "./shared/paths.ts";
import { tableLines, type Column } from "./shared/table.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";
import { voteNumber, votesText } from "./shared/votes.ts";

const options = {
  votes: flag(
    "read every copy as a whole and show which are right: always done with a read quorum above 1",
  ),
  ...clientOptions,
  ...jsonOption,
};
type ExplainContext = Context<typeof options>;

/** Blocks up to this length are shown as text: those of the 8-byte blocks that the placement is taught with. */
const SHOWN_BYTES = 16;
const ROWS_AT_ONCE = 1000;

const COLUMNS: readonly Column[] = [
  { title: "BLOCK", align: "right" },
  { title: "OFFSET", align: "right" },
  { title: "LENGTH", align: "right" },
  { title: "ID", align: "right" },
  { title: "GROUP", align: "right" },
  { title: "SERVERS" },
  { title: "WHY" },
];

export const explain = defineCommand({
  usage: "explain [--votes] PATH",
  description: `
Shows for each block of a file which servers hold it. The rule: hash the path that the file was created under, add the
block's index; the remainder modulo ${PLACEMENT_GROUPS} is the placement group, and a table names the servers of each group. In a fresh
cluster of N servers group g is on servers number g, g+1 and g+2 modulo N, so each block starts one server further on.
A server that was down or full is replaced by a stand-in. Blocks of up to ${SHOWN_BYTES} bytes are shown as text.
With --votes each copy is read and compared with the block's checksum: 1 for a right one, 0 for one that is rotten, missing
or out of reach, in the order of SERVERS. Wrong copies are reported for repair.`,
  options,
  operands: { least: 1, most: 1 },
  examples: ["dfs explain /file", "dfs explain --votes /file", "dfs explain --json /file"],
  json: [
    "path              as typed; pathBase64 when not UTF-8",
    "block             index in the file, from 0",
    "offset length     of the part of the file that is in this block",
    "id                the block's id, a 64-bit number as text",
    "blockOffset       where that part begins in the block",
    "checksum          of the whole block, 16 hexadecimal digits",
    "group             placement group",
    "servers           ids of the servers that have it, in placement order",
    "states            of these replicas: present, adding, removing, bad",
    "serverStates      of these servers: up, suspect, down, out, draining",
    "wanted            ids of the servers that the placement table names",
    "why               as the table for people says it",
    "votes             with --votes: for each server 1 right, 0 wrong, missing or out of reach, null not asked",
    "verdicts          with --votes: right, rotten, missing, unreadable, unreachable, notAsked",
    "text              the bytes, when there are at most 16; textBase64 when not UTF-8",
  ],
  exits: [
    [0, "shown (also when copies are missing: dfs status judges)"],
    [1, "not a file, or its blocks could not be looked up"],
    [4, "no such file"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const path = remotePath(context.args[0]!);
    return withClient(context, async (client) => {
      try {
        await new Explainer(context, client, path).run();
        return EXIT.done;
      } catch (error) {
        if (!(error instanceof DfsError)) throw error;
        const text = sentence(`cannot explain ${quoted(path)}`, error);
        throw new DfsError(error.kind, text, { cause: error });
      }
    });
  },
});

class Explainer {
  readonly #context: ExplainContext;
  readonly #client: DfsClient;
  readonly #path: Uint8Array;

  constructor(context: ExplainContext, client: DfsClient, path: Uint8Array) {
    this.#context = context;
    this.#client = client;
    this.#path = path;
  }

  async run(): Promise<void> {
    const attributes = await this.#client.stat(this.#path, { follow: true });
    if (attributes.type === "directory") {
      throw new Reason("isDirectory", "it is a directory and has no blocks");
    }
    if (attributes.type !== "file") {
      throw new Reason("invalid", `it is a ${attributes.type} and has no blocks`);
    }
    if (!this.#context.options.json) await this.#introduction(attributes);
    const file = await this.#client.open(this.#path);
    try {
      await this.#blocks(file);
    } finally {
      await file.close();
    }
  }

  async #introduction(attributes: Attributes): Promise<void> {
    const { out } = this.#context;
    const { blockSize, replicas } = this.#client;
    const { base, size } = attributes;
    await out.line(
      `${escaped(this.#path)}: ${counted(size, "byte")}, blocks of ${counted(blockSize, "byte")}, ` +
        `${counted(replicas, "copy", "copies")} of each`,
    );
    if (size === 0) {
      await out.line("an empty file has no blocks");
      return;
    }
    await out.line(
      `placement base ${base} (hash of the path at creation); ` +
        `block i is in group (${base} + i) mod ${PLACEMENT_GROUPS}, ` +
        `so block 0 is in group ${base % PLACEMENT_GROUPS}`,
    );
    if (attributes.allocated < size) {
      await out.line(
        `${counted(size - attributes.allocated, "byte")} are holes: zeros, stored nowhere`,
      );
    }
    await out.line("");
  }

  async #blocks(file: OpenFile): Promise<void> {
    let page: string[][] = [];
    for await (const row of this.#client.explain(this.#path)) {
      const bytes = row.length <= SHOWN_BYTES ? await this.#content(file, row) : undefined;
      const votes = this.#wantsVotes ? await this.#votes(row) : undefined;
      if (this.#context.options.json) {
        await this.#context.out.row(jsonBlock(this.#path, row, votes, bytes));
        continue;
      }
      page.push(cells(row, votes, bytes));
      if (page.length < ROWS_AT_ONCE) continue;
      await this.#print(page);
      page = [];
    }
    await this.#print(page);
  }

  get #wantsVotes(): boolean {
    return this.#context.options.votes || this.#client.readQuorum > 1;
  }

  /** A vote for each replica, in their order. */
  async #votes(row: ExplainRow): Promise<CopyVote[]> {
    const asked = row.replicas.filter(({ state, serverState }) => {
      const isThere = state === "present" || state === "bad";
      return isThere && serverState !== "down" && serverState !== "out";
    });
    const servers = asked.map(({ server }) => server);
    const votes = await this.#client.checkCopies(row, servers);
    return row.replicas.map(({ server, state, serverState }): CopyVote => {
      const vote = votes[servers.indexOf(server)];
      if (vote !== undefined) return vote;
      if (state !== "present" && state !== "bad") return { server, state: "notAsked", reason: "" };
      return { server, state: "unreachable", reason: `the server is ${serverState}` };
    });
  }

  /** The bytes of a small block; undefined when they cannot be read, which is no reason not to explain. */
  async #content(file: OpenFile, row: ExplainRow): Promise<Uint8Array | undefined> {
    try {
      return await file.read(row.offset, row.length);
    } catch (error) {
      if (!(error instanceof DfsError)) throw error;
      this.#context.messages.warning(sentence(`cannot read block ${row.index}`, error));
      return undefined;
    }
  }

  async #print(rows: readonly string[][]): Promise<void> {
    if (rows.length === 0) return;
    const votes = this.#wantsVotes ? [{ title: "VOTES" }] : [];
    const withVotes = [...COLUMNS, ...votes];
    const hasText = rows.some((row) => row.length > withVotes.length);
    const columns = hasText ? [...withVotes, { title: "TEXT" }] : withVotes;
    for (const line of tableLines(columns, rows)) await this.#context.out.line(line);
  }
}

function cells(
  row: ExplainRow,
  votes: readonly CopyVote[] | undefined,
  bytes: Uint8Array | undefined,
): string[] {
  return [
    String(row.index),
    countText(row.offset),
    countText(row.length),
    row.block.toString(),
    String(row.group),
    row.replicas.map(replicaText).join(" ") || red("none"),
    why(row),
    ...(votes === undefined ? [] : [votesText(votes) || "-"]),
    ...(bytes === undefined ? [] : [`"${escaped(bytes)}"`]),
  ];
}

/** A server's id, with what is not as it should be. */
function replicaText({ server, state, serverState }: ExplainRow["replicas"][number]): string {
  const notes = [
    ...(state === "present" ? [] : [state]),
    ...(serverState === "up" ? [] : [serverState]),
  ];
  if (notes.length === 0) return String(server);
  const text = `${server}(${notes.join(",")})`;
  return state === "bad" ? red(text) : yellow(text);
}

/** Why the copies are where they are, in a few words. */
function why(row: ExplainRow): string {
  const held = row.replicas.map((replica) => replica.server);
  const missing = row.wanted.filter((server) => !held.includes(server));
  const extra = held.filter((server) => !row.wanted.includes(server));
  if (missing.length === 0 && extra.length === 0) return "as the group says";
  const parts = extra.map((server, index) => {
    const instead = missing[index];
    return instead === undefined ? `${server} is surplus` : `${server} stands in for ${instead}`;
  });
  const absent = missing.slice(extra.length).map((server) => `the copy on ${server} is missing`);
  return [...parts, ...absent].join(", ");
}

function jsonBlock(
  path: Uint8Array,
  row: ExplainRow,
  votes: readonly CopyVote[] | undefined,
  bytes: Uint8Array | undefined,
): object {
  return {
    ...jsonName("path", path),
    block: row.index,
    offset: row.offset,
    length: row.length,
    id: row.block.toString(),
    blockOffset: row.blockOffset,
    checksum: row.checksum.toString(16).padStart(16, "0"),
    group: row.group,
    servers: row.replicas.map((replica) => replica.server),
    states: row.replicas.map((replica) => replica.state),
    serverStates: row.replicas.map((replica) => replica.serverState),
    wanted: row.wanted,
    why: why(row),
    ...(votes === undefined
      ? {}
      : { votes: votes.map(voteNumber), verdicts: votes.map((vote) => vote.state) }),
    ...(bytes === undefined ? {} : jsonName("text", bytes)),
  };
}
