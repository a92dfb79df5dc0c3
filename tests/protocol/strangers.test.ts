// Callers that do not say hello as they should, and listeners that do not answer as they should.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { MAX_LINES } from "../../src/base/limited-lines.ts";
import { MAX_HELLO_FRAME_BYTES } from "../../src/base/limits.ts";
import { parseAddress } from "../../src/protocol/address.ts";
import { encodeHead, FRAME_KINDS } from "../../src/protocol/cbor.ts";
import { HELLO_TIMEOUT_MS } from "../../src/protocol/handshake.ts";
import { auth, hello } from "../../src/protocol/messages/hello.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { StillClock } from "./still-clock.ts";
import {
  connectTo,
  echo,
  eventually,
  failureOf,
  framed,
  helloBody,
  listenFor,
  poke,
  RawPeer,
  recordingLogger,
} from "./support.ts";
import { errorIn, KEY, options, rawListener, tcp } from "./handshake-support.ts";

describe("a stranger", () => {
  const openings: [what: string, send: (raw: RawPeer) => void][] = [
    ["asks something before saying hello", (raw) => raw.sendFrame(0, 1, echo.code, [1])],
    ["sends a notice first", (raw) => raw.sendFrame(3, 0, poke.code, [1])],
    ["sends a reply first", (raw) => raw.sendFrame(1, 1, 0, [])],
    ["proves itself first", (raw) => raw.sendFrame(0, 1, auth.code, [new Uint8Array(32)])],
    ["speaks another protocol", (raw) => raw.send(Buffer.from("GET / HTTP/1.1\r\n\r\n"))],
    [
      "announces more than a hello's length",
      (raw) => {
        const prefix = new Uint8Array(4);
        new DataView(prefix.buffer).setUint32(0, MAX_HELLO_FRAME_BYTES + 1);
        raw.send(prefix);
      },
    ],
  ];
  for (const [what, send] of openings) {
    test(`that ${what} is sent away without an answer, with one line in the log`, async () => {
      const { logger, lines } = recordingLogger();
      const listener = await listenFor({ logger });
      const raw = await RawPeer.open(tcp, listener.address);
      send(raw);
      await eventually(() => raw.ended, "the connection ends");
      expect(raw.frames).toEqual([]);
      expect(lines).toHaveLength(1);
    });
  }

  test("whose hello does not fit its schema is told so and sent away", async () => {
    const listener = await listenFor({});
    const raw = await RawPeer.open(tcp, listener.address);
    raw.sendFrame(FRAME_KINDS.request, 1, hello.code, [1, 1, 9]);
    await eventually(() => raw.ended, "the connection ends");
    expect(errorIn(raw.frames[0]!).message).toContain("role");
  });

  for (const key of [undefined, KEY]) {
    test(`that does not finish its hello in time is sent away, ${key ? "with" : "without"} a key`, async () => {
      const clock = new StillClock();
      const { logger, lines } = recordingLogger();
      const listener = await listenFor({ clock, logger, key });
      const raw = await RawPeer.open(tcp, listener.address);
      if (key !== undefined) await raw.ask(1, hello, helloBody);
      await eventually(() => clock.timers > 0, "the listener has accepted");
      clock.advance(HELLO_TIMEOUT_MS - 1);
      await Bun.sleep(1);
      expect(raw.ended).toBe(false);
      clock.advance(1);
      await eventually(() => raw.ended, "the connection ends");
      expect(lines[0]).toContain(`no hello within ${HELLO_TIMEOUT_MS} ms`);
    });
  }

  test("that said hello in time is not sent away later", async () => {
    const clock = new StillClock();
    const listener = await listenFor({ clock });
    const peer = await connectTo(listener.address);
    clock.advance(HELLO_TIMEOUT_MS * 10);
    expect((await peer.request(echo, { value: 1 }, options)).body.value).toBe(1);
  });
});

describe("connectPeer", () => {
  test("fails with timeout when the listener accepts but never answers, and leaves nothing behind", async () => {
    const clock = new StillClock();
    const network = memoryNetwork({ clock: systemClock });
    let ended = false;
    await network.transport().listen("127.0.0.1:7", () => ({
      onData: () => undefined,
      onWritable: () => undefined,
      onClose: () => (ended = true),
    }));
    const pending = failureOf(
      connectTo("127.0.0.1:7", { transport: network.transport(), clock, timeoutMs: 500 }),
    );
    await eventually(() => clock.timers > 0, "the hello is sent");
    clock.advance(500);
    const error = await pending;
    expect(error.kind).toBe("timeout");
    expect(error.message).toContain("127.0.0.1:7");
    await eventually(() => ended, "the stream is closed");
  });

  test("refuses a listener that asks before it has answered the hello", async () => {
    const address = await rawListener((stream) => ({
      onData: () => {
        const head = Uint8Array.fromHex("0000000884000119f0018101");
        stream.write(head);
      },
      onWritable: () => undefined,
      onClose: () => undefined,
    }));
    const error = await failureOf(connectTo(address));
    expect(error.kind).toBe("unreachable");
    expect(error.message).toContain("before the hello");
  });
});

// Each was logged at a level that is not shown, so that somebody could try a port thousands of times without a trace.
describe("a connection that its other side breaks off", () => {
  const request = framed(
    encodeHead(FRAME_KINDS.request, 1, hello.code, hello.request.encode(helloBody)),
  );
  const ways: [what: string, work: (raw: RawPeer) => unknown, line: RegExp | undefined][] = [
    ["without a word", () => undefined, /closed it before its hello/],
    [
      "inside its hello",
      (raw) => raw.send(request.subarray(0, 9)),
      /closed it in the middle of a frame before its hello/,
    ],
    [
      "in the middle of a later frame",
      async (raw) => {
        await raw.ask(1, hello, helloBody);
        raw.send(Uint8Array.of(0, 0, 9, 9, 1));
      },
      /closed it in the middle of a frame/,
    ],
    ["when all is said", (raw) => raw.ask(1, hello, helloBody), undefined],
  ];
  for (const [what, work, line] of ways) {
    test(`${what} has ${line === undefined ? "no line" : "one line"} in the log`, async () => {
      const { logger, lines } = recordingLogger();
      const listener = await listenFor({ logger });
      const raw = await RawPeer.open(tcp, listener.address);
      await work(raw);
      raw.stream.end();
      await eventually(() => raw.ended, "the connection ends");
      const other = await connectTo(listener.address); // what the listener has to say it has said by then
      expect((await other.request(echo, { value: 1 }, options)).body.value).toBe(1);
      expect(lines).toHaveLength(line === undefined ? 0 : 1);
      if (line !== undefined) {
        expect(lines[0]).toMatch(line);
        expect(lines[0]).toMatch(/ info  test: lost the connection from 127\.0\.0\.1:\d+: /);
      }
    });
  }

  test("is counted beyond the first ones, and the number told when the listener closes", async () => {
    const { logger, lines } = recordingLogger();
    const listener = await listenFor({ logger });
    for (let number = 0; number < MAX_LINES + 5; number++) {
      const raw = await RawPeer.open(tcp, listener.address);
      raw.stream.end();
      await eventually(() => raw.ended, "the connection ends");
    }
    await listener.close();
    expect(lines).toHaveLength(MAX_LINES + 1);
    expect(lines.at(-1)).toMatch(
      / info {2}test: 5 more connections from 127\.0\.0\.1 were refused, ended or lost in the last \d+ s: the other side closed it before its hello/,
    );
  });

  test("and that was reset before it was accepted has one line too", async () => {
    const { logger, lines } = recordingLogger();
    const listener = await listenFor({ logger });
    const script = `
      for (let left = 20; left > 0; left--) {
        const socket = await Bun.connect({ hostname: "127.0.0.1", port: ${parseAddress(listener.address).port}, socket: { data() {} } });
        socket.terminate();
      }`;
    Bun.spawnSync([process.execPath, "-e", script]); // this process accepts nothing meanwhile
    await eventually(() => lines.length >= 20, "all of them have a line");
    const other = await connectTo(listener.address);
    expect((await other.request(echo, { value: 1 }, options)).body.value).toBe(1);
    expect(lines).toHaveLength(20);
    expect(lines.every((line) => line.includes("lost the connection from unknown:0: "))).toBe(true);
  });
});
