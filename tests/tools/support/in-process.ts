// A command in this process, against a running cluster: what takes a second as a process of its own takes some
// milliseconds. It is parsed, run and reported as src/cli.ts does it, but for help, colours and signals.

import { parseArguments, argument } from "../../../src/tools/shared/arguments.ts";
import type { Command, OptionSet } from "../../../src/tools/shared/command.ts";
import { report } from "../../../src/tools/shared/errors.ts";
import { Messages } from "../../../src/tools/shared/messages.ts";
import { Output } from "../../../src/tools/shared/output.ts";
import type { LocalCluster } from "../../support/local-cluster.ts";

export interface InProcessResult {
  readonly code: number;
  readonly text: string;
  readonly stderr: string;
}

/** Runs a command on `cluster`. */
export async function runInProcess(
  cluster: LocalCluster,
  name: string,
  command: Command<OptionSet>,
  args: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<InProcessResult> {
  let text = "";
  let stderr = "";
  const write = (piece: Uint8Array | string): void => {
    text += typeof piece === "string" ? piece : Buffer.from(piece).toString();
  };
  const out = new Output({ write, flush: () => undefined });
  const messages = new Messages(`dfs ${name}`, (piece) => void (stderr += piece));
  const env = { HOME: cluster.root, DFS_DIR: cluster.dir };
  const run = async (): Promise<number> => {
    const { operands, options, typed } = parseArguments(
      args.map(argument),
      command.options,
      env,
      command,
    );
    messages.quiet = options["quiet"] === true;
    const shared = { name, args: operands, options, typed, out, messages, signal, env };
    return command.run(shared);
  };
  const code = await run().catch((error: unknown) => report(error, messages, false));
  await out.flush();
  return { code, text, stderr };
}
