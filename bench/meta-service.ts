/**
 * How fast is the metadata service? The server in a process of its own, one client over the loopback, a disk under it.
 *
 *     bin/dfs-bun bench/meta-service.ts                    all of it, about 20 s
 *     bin/dfs-bun bench/meta-service.ts --seconds 1        shorter runs, more noise
 *     bin/dfs-bun bench/meta-service.ts --dir /srv/bench   on the disk that matters; default: the temporary directory
 *
 * Prints creates per second (each durable when it is answered) and getattrs per second at several depths (requests in
 * flight on one connection), with the latency of one request in the middle and at the 99th percentile.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT_INODE } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { runMetaServer } from "../src/server/meta/server.ts";
import { keepInFlight, MetadataClient, type Measured } from "./metadata-load.ts";

const DEPTHS = [1, 16, 64];
const WARM_UP_SECONDS = 0.5;

/** The process that is measured tells its address with this prefix. */
const READY = "ready ";

if (process.argv[2] === "--serve") {
  await runMetaServer({
    dir: process.argv[3]!,
    logger: silentLogger,
    onReady: ({ address }) => console.log(READY + address),
  });
} else {
  await measure(Number(option("--seconds") ?? 3), option("--dir") ?? tmpdir());
}

async function measure(seconds: number, parent: string): Promise<void> {
  const dir = mkdtempSync(join(parent, "dfs-bench-"));
  const server = Bun.spawn([process.execPath, import.meta.path, "--serve", dir], {
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const client = await MetadataClient.connect(await readyAddress(server.stdout));
    console.log(
      `${"".padEnd(10)}${"in flight".padStart(10)}${"per second".padStart(12)}${"p50 ms".padStart(9)}${"p99 ms".padStart(9)}`,
    );
    const first = await client.makeDirectory("warm-up");
    await keepInFlight(WARM_UP_SECONDS, 64, () => client.create(first));
    for (const depth of DEPTHS) {
      const directory = await client.makeDirectory(`creates-${depth}`);
      report("create", depth, await keepInFlight(seconds, depth, () => client.create(directory)));
    }
    for (const depth of DEPTHS) {
      report(
        "getattr",
        depth,
        await keepInFlight(seconds, depth, () => client.getattr(ROOT_INODE)),
      );
    }
  } finally {
    server.kill();
    await server.exited;
    rmSync(dir, { recursive: true });
  }
}

function report(what: string, depth: number, { perSecond, latenciesMs }: Measured): void {
  const percentile = (share: number): string =>
    (latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0).toFixed(2);
  console.log(
    what.padEnd(10) +
      String(depth).padStart(10) +
      perSecond.toFixed(0).padStart(12) +
      percentile(0.5).padStart(9) +
      percentile(0.99).padStart(9),
  );
}

async function readyAddress(stdout: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stdout) {
    text += new TextDecoder().decode(chunk);
    const line = text.split("\n").find((each) => each.startsWith(READY));
    if (line !== undefined && text.includes("\n")) return line.slice(READY.length);
  }
  throw new Error("the server ended before it was ready");
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
