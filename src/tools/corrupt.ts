/**
 * `dfs corrupt`: damage copies of a block on purpose, to see that it is noticed.
 */
import { DfsError } from "../base/errors.ts";
import { seededRandom, systemRandom, type Random } from "../base/random.ts";
import type { DfsClient, ExplainRow, InjectedFault } from "../client/api.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { Reason } from "./shared/errors.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { counted } from "./shared/format.ts";
import { Outcome, sentence } from "./shared/outcome.ts";
import { remotePath } from "./shared/paths.ts";
import { jsonName, printable, quoted } from "./shared/text.ts";
import { count } from "./shared/values.ts";

const MAX_UINT32 = 2 ** 32 - 1;
const SEEDS = 2 ** 32;

const options = {
  block: value(
    "<index>",
    count(0, Number.MAX_SAFE_INTEGER),
    "index of the block in the file, from 0 (default: one at random)",
  ),
  replica: value(
    "<r>",
    count(0, MAX_UINT32),
    "the copy by its place, from 0, in the SERVERS of dfs explain (default: one at random)",
  ),
  server: value("<id>", count(1, MAX_UINT32), "the copy on this server"),
  all: flag("all copies"),
  delete: flag("lose the copy instead of damaging it"),
  header: flag("damage the record's header instead of the block's bytes"),
  seed: value(
    "<n>",
    count(0, MAX_UINT32),
    "decides everything that is left to chance; the same does the same (default: a random one, printed)",
  ),
  ...clientOptions,
  ...jsonOption,
};

type CorruptContext = Context<typeof options>;
type Replica = ExplainRow["replicas"][number];

/** One copy to be damaged. */
interface Target {
  readonly row: ExplainRow;
  readonly replica: Replica;
  /** Its place in the row. */
  readonly place: number;
}

export const corrupt = defineCommand({
  usage:
    "corrupt PATH [--block I] [--replica R | --server ID | --all] [--delete | --header] [--seed S]",
  description: `
Damages a stored copy on purpose: changes 1 to 8 bytes of a block where they lie on a data server's disk, behind the back
of everybody, as rot does. With --delete the copy vanishes from the server while metadata goes on counting on it. Readers
then get the right bytes from another copy, with a warning; when all copies are damaged, an error and no bytes.
Only servers that were started with --allow-faults do this; those of dfs up do. It prints exactly what was changed.`,
  options,
  operands: { least: 1, most: 1 },
  examples: [
    "dfs corrupt /file",
    "dfs corrupt /file --block 0 --replica 1 --seed 7",
    "dfs corrupt /file --block 0 --server 2 --delete",
    "dfs corrupt /file --block 0 --all && dfs cat /file    # an input/output error, never wrong bytes",
  ],
  json: [
    "one row for each copy that was damaged:",
    "path              as typed; pathBase64 when not UTF-8",
    "block offset id   index of the block, where its part of the file begins, its id as text",
    "server replica    id of the server, place of the copy in the block's servers, from 0",
    "fault             body, header or lose (--delete)",
    "seed              of the command, a number",
    "file record       segment file in the server's log directory, where the copy's record begins in it",
    "positions         of the changed bytes in that file, none when the copy was lost",
    "blockOffset       of the first one in the block, null when it is not in the block's bytes",
    "before after      the bytes as they were and are, hexadecimal",
  ],
  exits: [
    [0, "done as printed"],
    [
      1,
      "nothing was damaged: no such block or copy, a hole, a server that is down or does not allow it",
    ],
    [3, "some of the copies were damaged"],
    [4, "no such file"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    checkChoices(context.options);
    const path = remotePath(context.args[0]!);
    return withClient(context, async (client) => {
      try {
        return await run(context, client, path);
      } catch (error) {
        if (!(error instanceof DfsError)) throw error;
        const text = sentence(`cannot corrupt ${quoted(path)}`, error);
        throw new DfsError(error.kind, text, { cause: error });
      }
    });
  },
});

function checkChoices({
  replica,
  server,
  all,
  delete: lose,
  header,
}: CorruptContext["options"]): void {
  const chosen = [replica !== undefined, server !== undefined, all].filter(Boolean).length;
  if (chosen > 1) throw new DfsError("usage", "--replica, --server and --all exclude each other");
  if (lose && header) throw new DfsError("usage", "--delete and --header exclude each other");
}

async function run(
  context: CorruptContext,
  client: DfsClient,
  path: Uint8Array,
): Promise<ExitCode> {
  const { options: chosen, out } = context;
  const seed = chosen.seed ?? systemRandom.below(SEEDS);
  const random = seededRandom(seed);
  const row = await chooseBlock(client, path, chosen.block, random);
  const targets = chooseCopies(row, chosen, random);
  if (chosen.seed === undefined && !chosen.json) {
    await out.line(
      `seed ${seed}, chosen at random; on the same file --seed ${seed} chooses the same`,
    );
  }
  const outcome = new Outcome(context);
  for (const target of targets) {
    const { server } = target.replica;
    const what = `cannot damage the copy of block ${row.index} of ${quoted(path)} on server ${server}`;
    const own = random.below(SEEDS);
    await outcome.attempt(what, async () => {
      const fault = await inject(client, target, faultOf(chosen), own);
      if (chosen.json) await out.row(jsonFault(path, target, faultOf(chosen), seed, fault));
      else
        for (const line of faultLines(path, target, faultOf(chosen), fault)) await out.line(line);
    });
  }
  return outcome.exitCode;
}

type FaultName = "body" | "header" | "lose";

function faultOf({ delete: lose, header }: CorruptContext["options"]): FaultName {
  return lose ? "lose" : header ? "header" : "body";
}

/**
 * The block with this index, or one at random among all. Where several blocks have parts of one index, because only some
 * of it was written again, one of them at random.
 */
async function chooseBlock(
  client: DfsClient,
  path: Uint8Array,
  index: number | undefined,
  random: Random,
): Promise<ExplainRow> {
  const { type, size } = await client.stat(path, { follow: true });
  if (type !== "file") {
    throw new Reason(
      type === "directory" ? "isDirectory" : "invalid",
      `it is a ${type} and has no blocks`,
    );
  }
  if (size === 0) throw new Reason("invalid", "it is empty and has no blocks");
  const { blockSize } = client;
  const last = Math.ceil(size / blockSize) - 1;
  if (index !== undefined && index > last) {
    const there = last === 0 ? "only block 0" : `blocks 0 to ${last}`;
    throw new Reason("invalid", `it has no block ${index}; it has ${there}`);
  }
  let chosen: ExplainRow | undefined;
  let seen = 0;
  for await (const row of client.explain(path, { offset: (index ?? 0) * blockSize })) {
    if (index !== undefined && row.index > index) break;
    seen++;
    if (random.below(seen) === 0) chosen = row;
  }
  if (chosen !== undefined) return chosen;
  throw new Reason(
    "invalid",
    index === undefined
      ? "it is one hole: zeros, stored nowhere"
      : `its block ${index} is a hole: zeros, stored nowhere`,
  );
}

function chooseCopies(
  row: ExplainRow,
  { replica, server, all }: CorruptContext["options"],
  random: Random,
): Target[] {
  const copies = row.replicas.map((each, place): Target => ({ row, replica: each, place }));
  const block = `block ${row.index}`;
  if (copies.length === 0) throw new Reason("invalid", `no copy of its ${block} is on record`);
  if (all) return copies;
  const place =
    replica ??
    (server === undefined
      ? random.below(copies.length)
      : copies.findIndex((each) => each.replica.server === server));
  const found = copies[place];
  if (found !== undefined) return [found];
  const servers = copies.map((each) => each.replica.server).join(", ");
  throw new Reason(
    "invalid",
    server === undefined
      ? `its ${block} has no replica ${place}; it has ${counted(copies.length, "copy", "copies")}, counted from 0, on servers ${servers}`
      : `server ${server} has no copy of its ${block}; there are copies on servers ${servers}`,
  );
}

async function inject(
  client: DfsClient,
  { row, replica }: Target,
  fault: FaultName,
  seed: number,
): Promise<InjectedFault> {
  const { server, serverState } = replica;
  if (serverState === "down" || serverState === "out") {
    throw new Reason("io", `the server is ${serverState}`);
  }
  try {
    return await client.injectFault(server, { block: row.block, fault, seed });
  } catch (error) {
    // That one server does not answer does not make the cluster unreachable.
    if (error instanceof DfsError) throw new Reason("io", error.message, { cause: error });
    throw error;
  }
}

function faultLines(
  path: Uint8Array,
  { row, replica, place }: Target,
  fault: FaultName,
  { file, record, position, blockOffset, before, after }: InjectedFault,
): string[] {
  const copy = `server ${replica.server}: replica ${place} of block ${row.index} of ${quoted(path)} (id ${row.block})`;
  const at = `  in ${printable(file)}, record at ${record}`;
  if (fault === "lose") return [`${copy} is lost, and metadata does not know`, at];
  const where =
    fault === "header" ? "of its record's header" : `from byte ${blockOffset} of the block on`;
  return [
    `${copy} is damaged: ${counted(before.length, "byte")} ${where}`,
    `${at}: bytes ${position} to ${position + before.length - 1} were ${spaced(before)} and are ${spaced(after)}`,
  ];
}

function spaced(bytes: Uint8Array): string {
  return bytes.toHex().replace(/..(?=.)/g, "$& ");
}

function jsonFault(
  path: Uint8Array,
  { row, replica, place }: Target,
  fault: FaultName,
  seed: number,
  { file, record, position, blockOffset, before, after }: InjectedFault,
): object {
  return {
    ...jsonName("path", path),
    block: row.index,
    offset: row.offset,
    id: row.block.toString(),
    server: replica.server,
    replica: place,
    fault,
    seed,
    file,
    record,
    positions: Array.from(before, (_, index) => position + index),
    blockOffset: fault === "body" ? blockOffset : null,
    before: before.toHex(),
    after: after.toHex(),
  };
}
