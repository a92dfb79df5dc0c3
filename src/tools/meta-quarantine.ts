/**
 * `dfs meta quarantine`: blocks that data servers hold and metadata knows nothing of.
 */
import { isDfsError, messageOf } from "../base/errors.ts";
import type { DfsClient, ServerList } from "../client/api.ts";
import { defineCommand, type Context, type OptionSet } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { counted, sizeText } from "./shared/format.ts";

export const metaQuarantine = defineCommand({
  usage: "meta quarantine",
  description: `
Lists the blocks that data servers hold and that metadata knows nothing of: after dfs meta restore or --accept-older these
are the blocks of files that were stored after the backup was made. Nothing deletes them. Every block of every data server
is looked at, so it takes a moment.`,
  options: { ...clientOptions, ...jsonOption },
  operands: { least: 0, most: 0 },
  examples: ["dfs meta quarantine", "dfs meta quarantine --json | wc -l"],
  json: [
    "server            id, a number",
    "block             64-bit number as text",
    "length            bytes",
    "checksum          16 hexadecimal digits",
  ],
  exits: [
    [0, "listed, be it that there is none"],
    [3, "some data servers could not be asked"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    return withClient(context, async (client) => list(context, client, await client.servers()));
  },
});

async function list(
  context: Context<OptionSet>,
  client: DfsClient,
  servers: ServerList,
): Promise<ExitCode> {
  const { out, messages, options } = context;
  let copies = 0;
  let bytes = 0;
  let failed = 0;
  for (const { server } of servers) {
    try {
      for await (const { block, length, checksum } of client.quarantined(server)) {
        copies++;
        bytes += length;
        const sum = checksum.toString(16).padStart(16, "0");
        if (options["json"] === true) {
          await out.row({ server, block: block.toString(), length, checksum: sum });
        } else {
          await out.line(`data server ${server}  block ${block}  ${sizeText(length)}  ${sum}`);
        }
      }
    } catch (error) {
      if (!isDfsError(error)) throw error; // nobody reads the list any more, say
      failed++;
      messages.warning(`data server ${server}: ${messageOf(error)}`);
    }
  }
  if (options["json"] !== true) {
    await out.line(
      copies === 0
        ? `metadata knows every block that is held${failed === 0 ? "" : " by those that could be asked"}`
        : `${counted(copies, "copy", "copies")} of blocks that metadata does not know, ${sizeText(bytes)}; they are kept`,
    );
  }
  return failed === 0 ? EXIT.done : EXIT.partly;
}
