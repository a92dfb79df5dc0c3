/**
 * A simple copy through sockets, to measure a rebuild beside it: three processes read files and send them over loopback to a
 * fourth one, which hashes what comes, writes it to one file, and syncs that once at the end. No frames, no answers, no record of
 * what was done. It is no lower bound: nothing overlaps with that sync.
 *
 * Senders are started before, as the servers are that a rebuild copies from; the start of the receiver counts.
 */
import { fdatasyncSync, openSync, readdirSync, readSync, statSync, writevSync } from "node:fs";
import { join } from "node:path";

const SENDERS = 3;
const CHUNK_BYTES = 1024 * 1024;

/** Copies all files below `dir` into the file `target`; resolves with the milliseconds that it took. */
export async function plainCopy(dir: string, target: string): Promise<number> {
  const files = filesBelow(dir);
  const shares = Array.from({ length: SENDERS }, (_, at) =>
    files.filter((_file, index) => index % SENDERS === at),
  ).filter((share) => share.length > 0);
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  const senders = shares.map((share) => run(["send", ...share], "pipe"));
  for (const sender of senders) await firstLine(sender);
  const beganMs = performance.now();
  const receiver = run(["receive", target, String(bytes)], "ignore");
  const port = await firstLine(receiver);
  for (const { stdin } of senders) {
    stdin!.write(`${port}\n`);
    void stdin!.end();
  }
  const codes = await Promise.all([receiver, ...senders].map((each) => each.exited));
  if (codes.some((code) => code !== 0)) throw new Error(`a plain copy failed: ${codes.join(", ")}`);
  return performance.now() - beganMs;
}

function run(words: readonly string[], stdin: "pipe" | "ignore") {
  const command = [process.execPath, import.meta.path, ...words];
  return Bun.spawn(command, { stdin, stdout: "pipe", stderr: "inherit" }) as Running;
}

interface Running {
  readonly stdin: { write(text: string): unknown; end(): unknown } | undefined;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly exited: Promise<number>;
}

async function firstLine({ stdout }: Running): Promise<string> {
  const reader = stdout.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  return new TextDecoder().decode(value).trim();
}

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((file) => statSync(file).size > 0);
}

/** Reads the files one after the other into one buffer, and writes it to the socket as that takes it. */
async function send(files: readonly string[]): Promise<void> {
  console.log("ready");
  const port = Number((await Bun.stdin.text()).trim());
  const buffer = new Uint8Array(CHUNK_BYTES);
  const rest = files.map((file) => openSync(file, "r"));
  let [sent, filled] = [0, 0];
  const refill = (): boolean => {
    for (; rest.length > 0; rest.shift()) {
      filled = readSync(rest[0]!, buffer);
      sent = 0;
      if (filled > 0) return true;
    }
    return false;
  };
  const pump = (socket: Bun.Socket): void => {
    for (;;) {
      if (sent === filled && !refill()) return socket.shutdown();
      sent += Math.max(0, socket.write(buffer.subarray(sent, filled)));
      if (sent < filled) return;
    }
  };
  const events = { open: pump, drain: pump, data: () => undefined, close: () => process.exit(0) };
  await Bun.connect({ hostname: "127.0.0.1", port, socket: events });
}

function receive(target: string, bytes: number): void {
  const file = openSync(target, "w");
  let [written, waiting] = [0, 0];
  let chunks: Uint8Array[] = [];
  const write = (): void => {
    for (const chunk of chunks) Bun.hash.xxHash3(chunk);
    if (waiting > 0) written += writevSync(file, chunks, written);
    [chunks, waiting] = [[], 0];
  };
  const data = (_: unknown, chunk: Uint8Array): void => {
    chunks.push(chunk);
    waiting += chunk.length;
    if (waiting >= CHUNK_BYTES || written + waiting === bytes) write();
    if (written < bytes) return;
    fdatasyncSync(file);
    process.exit(0);
  };
  const socket = { binaryType: "uint8array", data } as const;
  console.log(Bun.listen({ hostname: "127.0.0.1", port: 0, socket }).port);
}

if (import.meta.main) {
  const [role, ...words] = process.argv.slice(2);
  if (role === "send") await send(words);
  else receive(words[0]!, Number(words[1]));
}
