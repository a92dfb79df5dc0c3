// Parts of files on the wire: the right bytes between others, over streams that can send files and those that cannot, also when the
// system has dropped them from its memory meanwhile; and what happens when the file is not what it was.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { realDisk, type DiskFile } from "../../src/base/disk.ts";
import type { FilePart } from "../../src/base/file-part.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { request } from "../../src/protocol/message.ts";
import { record, uint } from "../../src/protocol/schema.ts";
import type { ByteStream } from "../../src/protocol/transport.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { ManualClock } from "../support/manual-clock.ts";
import {
  connectedPair,
  connectTo,
  eventually,
  failureOf,
  later,
  listenFor,
  patterned,
  TIMEOUT_MS,
  TRANSPORTS,
} from "./support.ts";

const MIB = 1024 * 1024;
const content = patterned(24 * MIB, 7);

let folder: string;
let file: DiskFile;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dfs-send-file-test-"));
  writeFileSync(join(folder, "file"), content);
  file = realDisk.open(join(folder, "file"), "read");
});

afterAll(async () => {
  await file.close();
  rmSync(folder, { recursive: true });
});

/** A part of the file; with `changes` it is not what it seems. */
function partOf(position: number, length: number, changes: Partial<FilePart> = {}): FilePart {
  const part = file.part!(position, length);
  if (part === undefined) throw new Error("what was just written is not in the system's memory");
  return { ...part, ...changes };
}

/** A file of its own, `length` bytes long, of which `lost` are gone since the part was made. */
function shortened(length: number, lost: number, changes: Partial<FilePart> = {}): FilePart {
  const path = join(folder, `short-${length}-${lost}`);
  writeFileSync(path, content.subarray(0, length));
  const short = realDisk.open(path, "read");
  later(() => short.close());
  const part = short.part!(0, length)!;
  truncateSync(path, length - lost);
  return { ...part, isCached: () => true, ...changes };
}

describe("a part of a file", () => {
  test("there is none of what is not there, nor where nothing is known of the system's memory", () => {
    expect(file.part!(0, content.length + 1)).toBeUndefined();
    expect(file.part!(content.length - 1, 2)).toBeUndefined();
    expect(file.part!(content.length - 1, 1)?.length).toBe(1);
  });

  test("can be read from any place on", async () => {
    const part = partOf(12_345, MIB);
    expect(part.isCached(0)).toBe(true);
    expect(part.isCached(MIB - 1)).toBe(true);
    for (const from of [0, 1, 4096, MIB - 1]) {
      expect(Bun.hash(await part.read(from))).toBe(
        Bun.hash(content.subarray(12_345 + from, 12_345 + MIB)),
      );
    }
  });
});

/** A sending stream and what has come at the other end, which can be told to pause. */
async function streams() {
  const received: Uint8Array[] = [];
  let other: ByteStream | undefined;
  let room = 0;
  let ends = 0;
  const listener = await tcpTransport(systemClock).listen("127.0.0.1:0", (stream) => {
    other = stream;
    return { onData: (chunk) => received.push(chunk), onWritable: () => 0, onClose: () => 0 };
  });
  later(() => listener.close());
  const events = { onData: () => 0, onWritable: () => room++, onClose: () => ends++ };
  const stream = await tcpTransport(systemClock).connect(listener.address, events, TIMEOUT_MS);
  later(() => stream.terminate());
  await eventually(() => other !== undefined, "the stream is accepted");
  const sendAll = async (part: FilePart): Promise<void> => {
    for (let at = 0; at < part.length;) {
      const before = room;
      const count = stream.sendFile!(part, at);
      if (count < 0) throw new Error("the stream has ended");
      at += count;
      if (at < part.length) await eventually(() => room > before, "there is room again");
    }
  };
  return { stream, other: other!, received, sendAll, room: () => room, ends: () => ends };
}

describe("a tcp stream", () => {
  test("sends a part of a file between other bytes, more than fits, and says when there is room", async () => {
    const { stream, other, received, sendAll } = await streams();
    other.pause();
    const part = partOf(1001, 20 * MIB);
    stream.write(Buffer.from("before"));
    const sending = sendAll(part);
    other.resume();
    await sending;
    stream.write(Buffer.from("behind"));
    const length = part.length + 12;
    const arrived = (): number => received.reduce((sum, chunk) => sum + chunk.length, 0);
    await eventually(() => arrived() === length, "everything arrives");
    const expected = Buffer.concat([
      Buffer.from("before"),
      content.subarray(1001, 1001 + part.length),
      Buffer.from("behind"),
    ]);
    expect(Buffer.compare(Buffer.concat(received), expected)).toBe(0);
  });

  test("sends the rest of a part from anywhere on", async () => {
    const { stream, received } = await streams();
    const part = partOf(5, 70_000);
    for (const from of [69_999, 65_536, 65_535, 1])
      expect(stream.sendFile!(part, from)).toBe(70_000 - from);
    const expected = Buffer.concat(
      [69_999, 65_536, 65_535, 1].map((from) => content.subarray(5 + from, 70_005)),
    );
    const arrived = (): Buffer => Buffer.concat(received);
    await eventually(() => arrived().length === expected.length, "everything arrives");
    expect(Buffer.compare(arrived(), expected)).toBe(0);
  });

  test("says that the file has become shorter, and that the other end has gone", async () => {
    const { stream, other, ends } = await streams();
    expect(() => stream.sendFile!(shortened(10_000, 10_000), 0)).toThrow(
      "cannot send a part of a file: it has become shorter",
    );
    other.terminate();
    await eventually(() => ends() === 1, "the end is seen");
    expect(stream.sendFile!(partOf(0, MIB), 0)).toBeLessThanOrEqual(0);
  });
});

const getPart = request(0x7001, "test.part", record({ length: uint() }), record({}), "reply");

for (const [name, transport] of TRANSPORTS) {
  describe(`a reply whose bytes lie in a file, over ${name}`, () => {
    /** A caller of `getPart`; `sent` counts how often a reply was said to have been sent. */
    async function answering(partFor: (length: number) => FilePart) {
      const handlers = new HandlerTable();
      let sent = 0;
      handlers.onRequest(
        getPart,
        ({ body: { length } }) => ({
          body: {},
          bulk: length === 0 ? new Uint8Array(3) : partFor(length),
          sent: () => sent++,
        }),
        { replyBytes: ({ length }) => length },
      );
      const { caller, listenerEnd } = await connectedPair(transport(), handlers);
      const ask = (length: number) =>
        caller.request(getPart, { length }, { timeoutMs: TIMEOUT_MS });
      return { ask, caller, listenerEnd, sent: () => sent };
    }

    test("comes whole and in its place, many of them at a time", async () => {
      const { ask, sent } = await answering((length) => partOf(length % 100, length));
      const lengths = [1, MIB, 0, 131_073, 4 * MIB, 7, MIB + 1, 2 * MIB, 0];
      const answers = await Promise.all(lengths.map(ask));
      for (const [index, length] of lengths.entries()) {
        const expected =
          length === 0
            ? new Uint8Array(3)
            : content.subarray(length % 100, (length % 100) + length);
        expect(Bun.hash(answers[index]!.bulk)).toBe(Bun.hash(expected));
      }
      await eventually(() => sent() === lengths.length, "each reply is told to have been sent");
    });

    test("is read first when the system has dropped it from its memory", async () => {
      let reads = 0;
      const { ask, sent } = await answering((length) => {
        const part = partOf(11, length);
        const read = (from: number): Promise<Uint8Array> => {
          reads++;
          return part.read(from);
        };
        return { ...part, isCached: () => false, read };
      });
      const answers = await Promise.all([ask(MIB), ask(0), ask(2 * MIB)]);
      expect(answers.map(({ bulk }) => bulk.length)).toEqual([MIB, 3, 2 * MIB]);
      expect(Bun.hash(answers[2].bulk)).toBe(Bun.hash(content.subarray(11, 11 + 2 * MIB)));
      expect(reads).toBe(2);
      await eventually(() => sent() === 3, "each reply is told to have been sent");
    });

    test("ends the connection when the file has become shorter, and tells whose part it was", async () => {
      for (const isCached of [true, false]) {
        let failures = 0;
        const changes = { isCached: () => isCached, failed: () => failures++ };
        const { ask, sent } = await answering((length) => shortened(length, 5000, changes));
        expect((await failureOf(ask(MIB))).kind).toBe("unreachable");
        expect(failures).toBe(1);
        await eventually(() => sent() === 1, "the part is given back");
      }
    });

    test("keeps the file until it has been read, when the connection ends before", async () => {
      const { promise, resolve } = Promise.withResolvers<Uint8Array>();
      let isReading = false;
      const { ask, sent, caller, listenerEnd } = await answering((length) => ({
        ...partOf(0, length),
        isCached: () => false,
        read: () => {
          isReading = true;
          return promise;
        },
      }));
      const answer = failureOf(ask(MIB));
      await eventually(() => isReading, "it is being read");
      caller.close("for the test");
      await listenerEnd.closed;
      expect(sent()).toBe(0);
      resolve(content.subarray(0, MIB));
      expect((await answer).kind).toBe("unreachable");
      await eventually(() => sent() === 1, "the part is given back");
    });

    test("that cannot be read does not keep a connection that is being closed", async () => {
      const { promise, reject } = Promise.withResolvers<Uint8Array>();
      let isReading = false;
      const read = (): Promise<Uint8Array> => {
        isReading = true;
        return promise;
      };
      const handlers = new HandlerTable();
      handlers.onRequest(getPart, ({ body: { length } }) => ({
        body: {},
        bulk: partOf(0, length, { isCached: () => false, read }),
      }));
      // On this clock the time after which the stream is cut off does not come.
      const clock = new ManualClock();
      const network = transport();
      const listener = await listenFor({ transport: network, handlers, clock });
      const caller = await connectTo(listener.address, { transport: network });
      const answer = failureOf(caller.request(getPart, { length: MIB }, { timeoutMs: TIMEOUT_MS }));
      await eventually(() => isReading, "it is being read");
      const closing = listener.close();
      reject(new Error("made by a test"));
      await closing;
      expect((await answer).kind).toBe("unreachable");
    });
  });
}
