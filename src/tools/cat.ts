/**
 * `dfs cat`: write the content of files to standard output.
 */
import type { DfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import { defineCommand, value, type Context } from "./shared/command.ts";
import { clientOptions, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
import { interrupted, interruptedTelling, tellingInterruption } from "./shared/interruption.ts";
import { Outcome } from "./shared/outcome.ts";
import { remotePath } from "./shared/paths.ts";
import { quoted } from "./shared/text.ts";
import { size } from "./shared/values.ts";
import { checkReadQuorum, readQuorumOf, readQuorumOption } from "./shared/votes.ts";

const options = {
  offset: value("<bytes>", size, "begin this far into each file"),
  length: value("<bytes>", size, "at most so much of each file"),
  ...readQuorumOption,
  ...clientOptions,
};

/** Ranges are read in pieces of this size. */
const RANGE_BYTES = 1024 * 1024;

export const cat = defineCommand({
  usage: "cat [--offset N] [--length N] [--read-quorum Q] PATH...",
  description: `
Writes files one after the other. Only bytes that were verified are written; where a file cannot be read, the output
ends there and the error names file, offset and the servers that were tried. With a read quorum Q, Q servers must answer for
each block; what they say is compared with the block's checksum, and one right copy among wrong ones is enough.`,
  options,
  operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs cat /notes.txt", "dfs cat --offset 1M --length 4K /disk.img | xxd"],
  exits: [
    [0, "all was written"],
    [1, "a file could not be read"],
    [3, "some of the files could not be read"],
    [4, "no such file"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const paths = context.args.map(remotePath);
    const wish = readQuorumOf(context.options);
    const work = async (client: DfsClient): Promise<ExitCode> => {
      checkReadQuorum(client);
      const outcome = new Outcome(context);
      const place: Place = { path: undefined, offset: 0, isWriting: false };
      await tellingInterruption(
        context.signal,
        () => interruptedAt(place),
        async () => {
          for (const path of paths) {
            await outcome.attempt(`cannot read ${quoted(path)}`, () =>
              write(context, client, path, place),
            );
          }
        },
      );
      return outcome.exitCode;
    };
    return withClient(context, work, wish);
  },
});

/** How far the output is. */
interface Place {
  path: Uint8Array | undefined;
  offset: number;
  /** Bytes are being handed to a reader that does not take them: how many it has taken nobody can tell. */
  isWriting: boolean;
  /** What --length leaves to do; undefined: up to the end of the file. */
  left?: number;
}

function interruptedAt({ path, offset, left, isWriting }: Place): DfsError {
  if (path === undefined || isWriting) return interruptedTelling("written");
  const length = left === undefined ? "" : ` --length ${left}`;
  return interrupted(
    `the output ends in ${quoted(path)}, at offset ${offset}`,
    `the rest of this file is written by: dfs cat --offset ${offset}${length} ${quoted(path)}`,
  );
}

async function write(
  { options: chosen, out, signal }: Context<typeof options>,
  client: DfsClient,
  path: Uint8Array,
  place: Place,
): Promise<void> {
  const put = async (chunk: Uint8Array): Promise<void> => {
    place.isWriting = true;
    await out.bytes(chunk);
    place.isWriting = false;
  };
  const file = await client.open(path);
  try {
    const offset = chosen.offset ?? 0;
    Object.assign(place, { path, offset });
    if (chosen.length === undefined) {
      for await (const chunk of file.stream({ offset, signal })) {
        await put(chunk);
        place.offset += chunk.length;
      }
      return;
    }
    const end = offset + chosen.length;
    place.left = chosen.length;
    for (let at = offset; at < end;) {
      const chunk = await file.read(at, Math.min(end - at, RANGE_BYTES), { signal });
      if (chunk.length === 0) return;
      await put(chunk);
      at += chunk.length;
      Object.assign(place, { offset: at, left: end - at });
    }
  } finally {
    await file.close();
  }
}
