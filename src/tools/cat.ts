/**
 * `dfs cat`: write the content of files to standard output.
 */
import type { DfsClient } from "../client/api.ts";
import { defineCommand, value, type Context } from "./shared/command.ts";
import { clientOptions, withClient } from "./shared/connect.ts";
import type { ExitCode } from "./shared/exit-codes.ts";
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
      const outcome = new Outcome(context.messages);
      for (const path of paths) {
        await outcome.attempt(`cannot read ${quoted(path)}`, () => write(context, client, path));
      }
      return outcome.exitCode;
    };
    return withClient(context, work, wish);
  },
});

async function write(
  { options: chosen, out, signal }: Context<typeof options>,
  client: DfsClient,
  path: Uint8Array,
): Promise<void> {
  const file = await client.open(path);
  try {
    const offset = chosen.offset ?? 0;
    if (chosen.length === undefined) {
      for await (const chunk of file.stream({ offset, signal })) await out.bytes(chunk);
      return;
    }
    const end = offset + chosen.length;
    for (let at = offset; at < end;) {
      const chunk = await file.read(at, Math.min(end - at, RANGE_BYTES));
      if (chunk.length === 0) return;
      await out.bytes(chunk);
      at += chunk.length;
    }
  } finally {
    await file.close();
  }
}
