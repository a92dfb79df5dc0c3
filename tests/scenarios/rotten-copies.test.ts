// P2: bytes that rotted on a server's disk never reach a reader.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster } from "../support/local-cluster.ts";

setDefaultTimeout(120_000); // whole clusters and many commands; a busy machine is slow

const PIECE = 64 * 1024;
const SIZE = 200_000; // three whole pieces and a part of a fourth, in one block

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--block-size", "256K");
});
afterAll(() => cluster.stop());

/** All regular files of a data server's directory. */
function filesOf(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).isFile());
}

/** Flips a bit of the copy of `content` that lies in the log of the server in `dir`, `at` bytes from its start. */
function flip(dir: string, content: Uint8Array, at: number): void {
  const marker = Buffer.from(content.subarray(at, at + 64));
  for (const path of filesOf(dir)) {
    const position = readFileSync(path).indexOf(marker);
    if (position < 0) continue;
    const descriptor = openSync(path, "r+");
    writeSync(descriptor, Uint8Array.of(marker[0]! ^ 0x10), 0, 1, position);
    closeSync(descriptor);
    return;
  }
  throw new Error(`no file in ${dir} holds the content`);
}

async function stored(
  path: string,
  seed: number,
): Promise<{ content: Uint8Array; servers: number[] }> {
  const content = seededRandom(seed).bytes(SIZE);
  writeFileSync(cluster.path("content"), content);
  await cluster.ok("put", cluster.path("content"), path);
  const [row] = await cluster.rows<{ servers: number[] }>("explain", path);
  return { content, servers: row!.servers };
}

describe("a bit flipped by hand in a stored copy", () => {
  test("of one server, in each piece: the reader gets the right bytes and one warning", async () => {
    for (let piece = 0; piece * PIECE < SIZE; piece++) {
      const { content, servers } = await stored(`/one-${piece}`, 100 + piece);
      for (const id of servers.slice(0, 1))
        flip(cluster.server(id).dir, content, piece * PIECE + 7);
      for (let read = 0; read < 3; read++) {
        const { stdout } = await cluster.ok("cat", `/one-${piece}`);
        expect(Buffer.compare(stdout, content)).toBe(0);
      }
    }
  });

  test("of two of three servers: the right bytes still", async () => {
    const { content, servers } = await stored("/two", 200);
    for (const id of servers.slice(0, 2)) flip(cluster.server(id).dir, content, 70_000);
    const { stdout, stderr } = await cluster.ok("cat", "/two");
    expect(Buffer.compare(stdout, content)).toBe(0);
    expect(stderr).toContain("warning");
  });

  test("of all three: an error that names the file, the offset and the servers, and no wrong byte", async () => {
    const { content, servers } = await stored("/three", 300);
    for (const id of servers) flip(cluster.server(id).dir, content, 70_000);
    const { code, stdout, stderr } = await cluster.run(["cat", "/three"]);
    expect(code).toBe(1);
    expect(Buffer.compare(stdout, Buffer.from(content.subarray(0, stdout.length)))).toBe(0);
    expect(stderr).toContain("/three");
    expect(stderr).toMatch(/offset/);
    for (const id of servers) expect(stderr).toMatch(new RegExp(`server ${id}\\b`));
  });
});
