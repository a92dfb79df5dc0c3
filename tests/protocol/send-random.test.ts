// Frames of bytes and of parts of files, sent as the stream takes them and received by fits and starts: all of them, whole and in order;
// and when the stream is cut off anywhere, the first of them, and everything is given back once.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { realDisk, type DiskFile } from "../../src/base/disk.ts";
import { FileParts, type FilePart } from "../../src/base/file-part.ts";
import type { Random } from "../../src/base/random.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import { SendQueue } from "../../src/protocol/send-queue.ts";
import type { ByteStream } from "../../src/protocol/transport.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { eventually, later, patterned, randomFor, TIMEOUT_MS } from "./support.ts";

const MIB = 1024 * 1024;
const content = patterned(8 * MIB, 11);
const LONGEST_HEAD = 300;
const LENGTHS = [1, 5000, 128 * 1024, 128 * 1024 + 1, 400_000, MIB, 3 * MIB];

let folder: string;
let file: DiskFile;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dfs-send-random-test-"));
  writeFileSync(join(folder, "file"), content);
  file = realDisk.open(join(folder, "file"), "read");
});

afterAll(async () => {
  await file.close();
  rmSync(folder, { recursive: true });
});

interface Sent {
  readonly hash: number | bigint;
  released: number;
}

/** Queues a random frame, without bulk bytes, with some of memory, or of a file in one part or two, which are in the system's memory at times. */
function pushRandom(queue: SendQueue, random: Random): Sent {
  const head = patterned(1 + random.below(LONGEST_HEAD), random.below(1000));
  const position = random.below(4 * MIB);
  const length = LENGTHS[random.below(LENGTHS.length)]!;
  const bulk = content.subarray(position, position + length);
  const kind = random.below(4);
  const whole = kind === 0 ? head : Buffer.concat([head, bulk]);
  const sent: Sent = { hash: Bun.hash(whole), released: 0 };
  const release = (): void => void sent.released++;
  if (kind === 0) queue.push(head, undefined, release);
  else if (kind === 1) queue.push(head, bulk, release);
  else {
    const first = kind === 2 ? length : 1 + random.below(length);
    const parts = [partAt(position, first, random)];
    if (first < length) parts.push(partAt(position + first, length - first, random));
    queue.push(head, kind === 2 ? parts[0]! : new FileParts(parts), release);
  }
  return sent;
}

function partAt(position: number, length: number, random: Random): FilePart {
  const part = file.part!(position, length)!;
  return { ...part, isCached: (from) => random.below(4) > 0 && part.isCached(from) };
}

/** A receiver that pauses and refuses memory at random, and takes bytes directly where it can. */
function makeReceiver(random: Random) {
  const hashes: (number | bigint)[] = [];
  let stream: ByteStream | undefined;
  let bytes = 0;
  const parser: FrameParser = new FrameParser(
    16 * MIB,
    (buffer, start, end) => {
      hashes.push(Bun.hash(buffer.subarray(start, end)));
      if (random.below(5) > 0) return;
      stream!.pause();
      parser.pause();
      setTimeout(() => {
        parser.resume();
        if (!parser.waitsForMemory) stream!.resume();
      }, random.below(3));
    },
    {
      onHeld: () => undefined,
      mayBegin: () => {
        if (random.below(4) > 0) return true;
        stream!.pause();
        setTimeout(() => {
          parser.retry();
          if (!parser.waitsForMemory) stream!.resume();
        }, random.below(3));
        return false;
      },
    },
  );
  const onData = (chunk: Uint8Array): void => {
    bytes += chunk.length;
    parser.push(chunk);
    bytes += parser.fill((target, offset) => stream!.receive!(target, offset));
  };
  const attach = (accepted: ByteStream) => {
    stream = accepted;
    return { onData, onWritable: () => undefined, onClose: () => parser.stop() };
  };
  return { attach, hashes, bytes: () => bytes, terminate: () => stream!.terminate() };
}

async function connected(receiver: ReturnType<typeof makeReceiver>) {
  const listener = await tcpTransport(systemClock).listen("127.0.0.1:0", receiver.attach);
  later(() => listener.close());
  const broken: unknown[] = [];
  let isClosed = false;
  const queue = new SendQueue({
    onProgress: () => undefined,
    onBlocked: () => undefined,
    onBroken: (error) => broken.push(error),
  });
  const events = {
    onData: () => undefined,
    onWritable: () => queue.writable(),
    onClose: () => {
      isClosed = true;
      queue.clear();
    },
  };
  const stream = await tcpTransport(systemClock).connect(listener.address, events, TIMEOUT_MS);
  later(() => stream.terminate());
  queue.attach(stream);
  return { queue, broken, isClosed: () => isClosed };
}

test("all frames arrive, whole and in order, however they are sent and received", async () => {
  const random = randomFor("frames by fits and starts");
  const receiver = makeReceiver(random);
  const { queue, broken } = await connected(receiver);
  const sent: Sent[] = [];
  for (let round = 0; round < 12; round++) {
    for (let left = 1 + random.below(12); left > 0; left--) sent.push(pushRandom(queue, random));
    if (random.below(2) === 0) await Bun.sleep(random.below(3));
    await eventually(() => queue.bytes < 8 * MIB, "some of it is sent");
  }
  await eventually(() => receiver.hashes.length >= sent.length, "all frames arrive");
  expect(receiver.hashes).toEqual(sent.map(({ hash }) => hash));
  expect(sent.filter(({ released }) => released !== 1)).toEqual([]);
  expect(queue.bytes).toBe(0);
  expect(broken).toEqual([]);
});

test("what is cut off anywhere was right until then, and all of it is given back once", async () => {
  const random = randomFor("frames that are cut off");
  for (let round = 0; round < 8; round++) {
    const receiver = makeReceiver(random);
    const { queue, broken, isClosed } = await connected(receiver);
    const sent = Array.from({ length: 20 }, () => pushRandom(queue, random));
    const enough = random.below(queue.bytes / 2);
    await eventually(() => receiver.bytes() > enough, "some of it arrives");
    receiver.terminate();
    await eventually(isClosed, "the end is seen");
    await eventually(() => sent.every(({ released }) => released > 0), "all of it is given back");
    expect(receiver.hashes).toEqual(sent.map(({ hash }) => hash).slice(0, receiver.hashes.length));
    expect(sent.filter(({ released }) => released !== 1)).toEqual([]);
    expect(broken).toEqual([]);
  }
});
