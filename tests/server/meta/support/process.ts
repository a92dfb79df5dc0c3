/**
 * A metadata server in a process of its own, for tests that kill it.
 *
 *     bun process.ts DIR [--listen ADDRESS] [--fail-sync N]
 *
 * Prints "ready ADDRESS". With --fail-sync the Nth sync of the log fails.
 */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { parseArgs } from "node:util";
import { runMetaServer } from "../../../../src/server/meta/server.ts";
import { diskSync, type SyncFile } from "../../../../src/server/meta/wal-sync.ts";
import { FAST } from "./connecting.ts";

const READY = "ready ";

export interface MetaProcess {
  readonly address: string;
  readonly pid: number;
  /** What it wrote to its log so far. */
  readonly log: () => string;
  /** Sends a signal and waits for the end; returns the exit code, or null when a signal ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  /** Waits for the end. */
  readonly exited: Promise<number | null>;
}

/** Starts a server on `dir`; rejects with its log when it ends before it is ready. */
export async function startProcess(
  dir: string,
  args: readonly string[] = [],
): Promise<MetaProcess> {
  const child = Bun.spawn([process.execPath, import.meta.path, dir, ...args], {
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env },
  });
  let log = "";
  const logged = (async () => {
    for await (const chunk of child.stderr) log += new TextDecoder().decode(chunk);
  })();
  const exited = child.exited.then(async () => {
    await logged;
    return child.exitCode;
  });
  const lines = createInterface({ input: Readable.fromWeb(child.stdout as never) });
  for await (const line of lines) {
    if (!line.startsWith(READY)) continue;
    return {
      address: line.slice(READY.length),
      pid: child.pid,
      log: () => log,
      end: (signal) => {
        child.kill(signal);
        return exited;
      },
      exited,
    };
  }
  throw new Error(`the server ended with exit code ${await exited} before it was ready:\n${log}`);
}

function failingSync(failing: number): SyncFile {
  let count = 0;
  return (descriptor, done) => {
    if (++count === failing) queueMicrotask(() => done(new Error("EIO: i/o error, fdatasync")));
    else diskSync(descriptor, done);
  };
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2),
    options: { listen: { type: "string" }, "fail-sync": { type: "string" } },
    allowPositionals: true,
  });
  const failing = values["fail-sync"];
  try {
    await runMetaServer({
      dir: positionals[0]!,
      listen: values.listen,
      ...FAST,
      ...(failing === undefined ? {} : { syncFile: failingSync(Number(failing)) }),
      onReady: ({ address }) => console.log(READY + address),
    });
    process.exit(0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
