/**
 * What a disk and the loopback do on their own, to measure transfers beside it.
 *
 * Started as a program with a number it is the far end of `loopback`.
 */
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { KiB, MiB, patterned } from "../tests/support/cluster.ts";

const SMALL_BYTES = 4 * KiB;

if (import.meta.main) sink(Number(process.argv[2]));

/** MiB per second of one stream to the disk. */
export function rawStream(dir: string, mib: number): number {
  const path = join(dir, "raw");
  const buffer = patterned(MiB);
  const startedMs = performance.now();
  const file = openSync(path, "w");
  for (let index = 0; index < mib; index++) writeSync(file, buffer);
  fdatasyncSync(file);
  closeSync(file);
  const seconds = (performance.now() - startedMs) / 1000;
  rmSync(path);
  return mib / seconds;
}

/** Files of 4 KiB per second, each synced, one after the other. They stay in `dir`. */
export function rawFiles(dir: string, count: number): number {
  const folder = mkdtempSync(join(dir, "raw-files-"));
  const buffer = patterned(SMALL_BYTES);
  const startedMs = performance.now();
  for (let index = 0; index < count; index++) {
    const file = openSync(join(folder, String(index)), "w");
    writeSync(file, buffer);
    fsyncSync(file);
    closeSync(file);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  return count / seconds;
}

/** MiB per second from this process to another one that reads and drops them. */
export async function loopback(mib: number): Promise<number> {
  const child = Bun.spawn([process.execPath, import.meta.path, String(mib * MiB)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = linesOf(child.stdout);
  const port = Number((await lines.next()).value);
  const buffer = patterned(MiB);
  const total = mib * MiB;
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    let sent = 0;
    const send = (socket: Bun.Socket): void => {
      while (sent < total) {
        const at = sent % MiB;
        const count = socket.write(buffer.subarray(at, Math.min(MiB, at + total - sent)));
        if (count <= 0) return;
        sent += count;
      }
    };
    Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: send,
        drain: send,
        data: () => resolve(),
        error: (_, error) => reject(error),
      },
    }).catch(reject);
    child.exited.then(() => resolve(), reject);
  });
  const seconds = (performance.now() - startedMs) / 1000;
  child.kill();
  await child.exited;
  return mib / seconds;
}

/** Reads so many bytes from whoever connects, then answers. */
function sink(total: number): void {
  let received = 0;
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: (socket, chunk) => {
        received += chunk.length;
        if (received === total) socket.write("!");
      },
    },
  });
  console.log(server.port);
}

/** Lines as they come. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string, undefined> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
  return undefined;
}
