// Who gets in, who does not, and what they are told.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { DfsError } from "../../src/base/errors.ts";
import { incarnationId, instanceId, reignId, serverId } from "../../src/base/ids.ts";
import { MAX_HELLO_FRAME_BYTES } from "../../src/base/limits.ts";
import { isProof, makeProof, transcript } from "../../src/protocol/authentication.ts";
import { decodeBody, FRAME_KINDS, type Frame } from "../../src/protocol/cbor.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { decodeError } from "../../src/protocol/error-body.ts";
import { HELLO_TIMEOUT_MS } from "../../src/protocol/handshake.ts";
import {
  auth,
  hello,
  type HelloReply,
  type HelloRequest,
} from "../../src/protocol/messages/hello.ts";
import type { Peer } from "../../src/protocol/peer.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import type { ByteStream, StreamEvents, Transport } from "../../src/protocol/transport.ts";
import { StillClock } from "./still-clock.ts";
import {
  CLUSTER_A,
  CLUSTER_B,
  connectTo,
  DEFAULT_HANDLERS,
  echo,
  eventually,
  failureOf,
  helloBody,
  identity,
  later,
  listenFor,
  patterned,
  poke,
  RawPeer,
  recordingLogger,
  TIMEOUT_MS,
  TRANSPORTS,
} from "./support.ts";

const KEY = patterned(32, 11);
const OTHER_KEY = patterned(32, 12);
const options = { timeoutMs: TIMEOUT_MS };
const tcp = tcpTransport(systemClock);

const SERVER = identity("data", {
  server: serverId(3),
  incarnation: incarnationId(33n),
  instance: instanceId(333n),
  reign: reignId(3333n),
  label: "dfs data 3",
});
const CLIENT = identity("client", { label: "dfs put, pid 4711" });

for (const [name, transport] of TRANSPORTS) {
  for (const key of [undefined, KEY]) {
    describe(`hello over ${name} ${key === undefined ? "without" : "with"} a key`, () => {
      test("tells each side who the other is, and lets requests through both ways", async () => {
        const made = transport();
        const listener = await listenFor({ transport: made, identity: SERVER, key });
        const peer = await connectTo(listener.address, {
          transport: made,
          identity: CLIENT,
          handlers: DEFAULT_HANDLERS,
          key,
        });
        expect(peer.identity).toEqual(SERVER);
        const [other] = listener.peers;
        expect(other!.identity).toEqual(CLIENT);
        expect((await peer.request(echo, { value: 1 }, options)).body.value).toBe(1);
        expect((await other!.request(echo, { value: 2 }, options)).body.value).toBe(2);
      });

      test("lets the owner veto, telling the caller why", async () => {
        const made = transport();
        const { logger, lines } = recordingLogger();
        const listener = await listenFor({
          transport: made,
          key,
          logger,
          accept: (peer) => {
            expect(peer.identity.role).toBe("client");
            throw new DfsError("busy", "too many clients; try again later");
          },
        });
        const error = await failureOf(connectTo(listener.address, { transport: made, key }));
        expect([error.kind, error.message]).toEqual(["busy", "too many clients; try again later"]);
        expect(listener.peers.size).toBe(0);
        expect(lines.filter((line) => line.includes("too many clients"))).toHaveLength(1);
      });

      test("puts what the owner sends at once behind the answer to the hello", async () => {
        const made = transport();
        const seen: number[] = [];
        const handlers = new HandlerTable();
        handlers.onNotice(poke, ({ value }) => seen.push(value));
        handlers.onRequest(echo, ({ body }) => ({ body }));
        const answered: number[] = [];
        const listener = await listenFor({
          transport: made,
          key,
          accept: (peer) => {
            peer.notify(poke, { value: 1 });
            peer.notify(poke, { value: 2 });
            void peer
              .request(echo, { value: 3 }, options)
              .then((reply) => answered.push(reply.body.value));
          },
        });
        await connectTo(listener.address, { transport: made, key, handlers });
        await eventually(() => answered.length === 1, "the owner's request is answered");
        expect(seen).toEqual([1, 2]);
      });
    });
  }
}

describe("hello", () => {
  test("without a cluster is for new ones: they learn the cluster", async () => {
    const listener = await listenFor({ identity: SERVER });
    const peer = await connectTo(listener.address, {
      identity: identity("client", { cluster: undefined }),
    });
    expect(peer.identity.cluster).toBe(CLUSTER_A);
    const young = await listenFor({ identity: identity("data", { cluster: undefined }) });
    const other = await connectTo(young.address);
    expect(other.identity.cluster).toBeUndefined();
  });

  test("of another cluster is refused, naming both", async () => {
    const listener = await listenFor({ identity: SERVER });
    const foreign = identity("client", { cluster: CLUSTER_B });
    const error = await failureOf(connectTo(listener.address, { identity: foreign }));
    expect(error.kind).toBe("wrongCluster");
    expect(error.message).toContain(CLUSTER_A);
    expect(error.message).toContain(CLUSTER_B);
    expect(error.details).toEqual({ caller: CLUSTER_B, listener: CLUSTER_A });
    const learner = identity("client", { cluster: undefined });
    const expecting = await failureOf(
      connectTo(listener.address, {
        identity: learner,
        expect: { role: "data", cluster: CLUSTER_B },
      }),
    );
    expect(expecting.details).toEqual({ caller: CLUSTER_B, listener: CLUSTER_A });
  });

  const strangers: [what: string, expectation: object, why: string][] = [
    ["another role", { role: "meta" }, "is a data server, not a metadata service"],
    ["another server", { role: "data", server: serverId(4) }, "this is data server 3, not 4"],
    ["another incarnation", { role: "data", incarnation: incarnationId(34n) }, "expected 34"],
  ];
  for (const [what, expectation, why] of strangers) {
    test(`to ${what} than was meant fails with wrongPeer`, async () => {
      const listener = await listenFor({ identity: SERVER });
      const error = await failureOf(
        connectTo(listener.address, { expect: expectation as { role: "data" } }),
      );
      expect(error.kind).toBe("wrongPeer");
      expect(error.message).toContain(why);
      await eventually(() => listener.peers.size === 0, "the listener sees the connection end");
    });
  }

  test("to exactly the server that was meant succeeds", async () => {
    const listener = await listenFor({ identity: SERVER });
    const expected = {
      role: "data",
      cluster: CLUSTER_A,
      server: serverId(3),
      incarnation: incarnationId(33n),
    } as const;
    expect((await connectTo(listener.address, { expect: expected })).identity).toEqual(SERVER);
  });

  test("asks the listener who it is each time", async () => {
    let own = identity("data", { cluster: undefined });
    const listener = await listenFor({ identity: () => own });
    expect((await connectTo(listener.address)).identity.server).toBeUndefined();
    own = SERVER;
    expect((await connectTo(listener.address)).identity.server).toBe(serverId(3));
  });

  const versions: [version: number, minVersion: number][] = [
    [0, 0],
    [7, 2],
  ];
  for (const [version, minVersion] of versions) {
    test(`of versions ${minVersion} to ${version} is refused, naming both ranges`, async () => {
      const listener = await listenFor({});
      const raw = await RawPeer.open(tcp, listener.address);
      const error = errorIn(await raw.ask(1, hello, { ...helloBody, version, minVersion }));
      expect(error.kind).toBe("unsupported");
      expect(error.message).toContain(`${minVersion} to ${version}`);
      expect(error.message).toContain("1 to 1");
      await eventually(() => raw.ended, "the connection ends");
    });
  }

  test("of a version whose other fields are unknown is refused for its version", async () => {
    const listener = await listenFor({});
    const raw = await RawPeer.open(tcp, listener.address);
    raw.sendFrame(FRAME_KINDS.request, 1, hello.code, [7, 2, "from the future", 99]);
    await eventually(() => raw.ended, "the connection ends");
    expect(errorIn(raw.frames[0]!).kind).toBe("unsupported");
  });

  test("refused with a long message is told a part of it that fits", async () => {
    const listener = await listenFor({
      accept: () => {
        throw new DfsError("busy", "€".repeat(4000), { details: { long: "x".repeat(4000) } });
      },
    });
    const error = await failureOf(connectTo(listener.address));
    expect([error.kind, error.message]).toEqual(["busy", "€".repeat(1000)]);
  });

  test("of a newer caller that still speaks our version is answered with ours", async () => {
    const listener = await listenFor({});
    const raw = await RawPeer.open(tcp, listener.address);
    const answer = await raw.ask(1, hello, { ...helloBody, version: 9, minVersion: 1 });
    expect(replyIn(answer).version).toBe(1);
  });

  test("answered with a version that we do not speak fails", async () => {
    const address = await impostor((request) => ({ ...replyTo(request), version: 2 }));
    const error = await failureOf(connectTo(address));
    expect(error.kind).toBe("unsupported");
  });
});

describe("the cluster key", () => {
  const mismatches: [
    what: string,
    ours: Uint8Array | undefined,
    theirs: Uint8Array | undefined,
    why: string,
  ][] = [
    ["differs", KEY, OTHER_KEY, "keys differ"],
    ["is missing at the caller", undefined, KEY, "none was given"],
    ["is missing at the listener", KEY, undefined, "has no cluster key"],
  ];
  for (const [what, ours, theirs, why] of mismatches) {
    test(`that ${what} keeps the connection from being made`, async () => {
      const listener = await listenFor({ key: theirs });
      const error = await failureOf(connectTo(listener.address, { key: ours }));
      expect(error.kind).toBe("unauthorized");
      expect(error.message).toContain(why);
      await eventually(() => listener.peers.size === 0, "nobody is admitted");
    });
  }

  test("must be known to be let in, even by a caller that skips its own checks", async () => {
    const accepted: Peer[] = [];
    const { logger, lines } = recordingLogger();
    const listener = await listenFor({ key: KEY, logger, accept: (peer) => accepted.push(peer) });
    const raw = await RawPeer.open(tcp, listener.address);
    const reply = replyIn(await raw.ask(1, hello, helloBody));
    const proof = makeProof(OTHER_KEY, "caller", helloBody, reply);
    const error = errorIn(await raw.ask(2, auth, { proof }));
    expect(error.kind).toBe("unauthorized");
    await eventually(() => raw.ended, "the connection ends");
    expect(accepted).toEqual([]);
    expect(lines.filter((line) => line.includes("keys differ"))).toHaveLength(1);
  });

  test("is proved by the right proof, and nothing goes before it", async () => {
    const listener = await listenFor({ key: KEY });
    const raw = await RawPeer.open(tcp, listener.address);
    const reply = replyIn(await raw.ask(1, hello, helloBody));
    expect(isProof(reply.proof!, KEY, "listener", helloBody, reply)).toBe(true);
    expect(listener.peers.size).toBe(0);
    const answer = await raw.ask(2, auth, { proof: makeProof(KEY, "caller", helloBody, reply) });
    expect(answer.kind).toBe(FRAME_KINDS.reply);
    expect(listener.peers.size).toBe(1);

    const early = await RawPeer.open(tcp, listener.address);
    await early.ask(1, hello, helloBody);
    early.sendFrame(FRAME_KINDS.request, 2, echo.code, [1]);
    await eventually(() => early.ended, "the connection ends");
    expect(early.frames).toHaveLength(1);
  });

  test("is not proved by a proof that was used before, nor by the listener's own", async () => {
    const listener = await listenFor({ key: KEY });
    const first = await RawPeer.open(tcp, listener.address);
    const firstReply = replyIn(await first.ask(1, hello, helloBody));
    const proof = makeProof(KEY, "caller", helloBody, firstReply);
    expect((await first.ask(2, auth, { proof })).kind).toBe(FRAME_KINDS.reply);

    const replay = await RawPeer.open(tcp, listener.address);
    await replay.ask(1, hello, helloBody); // the same nonce, the same words
    expect(errorIn(await replay.ask(2, auth, { proof })).kind).toBe("unauthorized");

    const mirror = await RawPeer.open(tcp, listener.address);
    const mirrored = replyIn(await mirror.ask(1, hello, helloBody)).proof!;
    expect(errorIn(await mirror.ask(2, auth, { proof: mirrored })).kind).toBe("unauthorized");
  });

  test("is not proved by an impostor that repeats what a real listener once said", async () => {
    const listener = await listenFor({ key: KEY });
    const raw = await RawPeer.open(tcp, listener.address);
    const recorded = replyIn(await raw.ask(1, hello, helloBody));
    const address = await impostor(() => recorded);
    const error = await failureOf(connectTo(address, { key: KEY }));
    expect(error.kind).toBe("unauthorized");
  });

  test("is not proved when anything that either side said was changed on the way", () => {
    const request: HelloRequest = {
      ...helloBody,
      cluster: new Uint8Array(16).fill(1),
      server: serverId(1),
    };
    const reply = { ...replyTo(request), proof: null };
    const proof = makeProof(KEY, "caller", request, reply);
    expect(isProof(proof, KEY, "caller", request, reply)).toBe(true);
    expect(isProof(proof, KEY, "listener", request, reply)).toBe(false);
    expect(isProof(proof, OTHER_KEY, "caller", request, reply)).toBe(false);
    expect(isProof(proof.subarray(1), KEY, "caller", request, reply)).toBe(false);
    const changes: Partial<HelloReply & HelloRequest>[] = [
      { version: 2 },
      { role: "meta" },
      { cluster: new Uint8Array(16).fill(2) },
      { cluster: null },
      { server: serverId(2) },
      { incarnation: incarnationId(9n) },
      { instance: instanceId(9n) },
      { reign: reignId(9n) },
      { label: "another" },
      { nonce: new Uint8Array(32).fill(9) },
    ];
    for (const change of changes) {
      expect(isProof(proof, KEY, "caller", { ...request, ...change }, reply)).toBe(false);
      expect(isProof(proof, KEY, "caller", request, { ...reply, ...change })).toBe(
        "cluster" in change && change.cluster === null, // the listener's was null already
      );
    }
    for (const change of [{ minVersion: 0 }, { expectedServer: serverId(5) }]) {
      expect(isProof(proof, KEY, "caller", { ...request, ...change }, reply)).toBe(false);
    }
  });

  test("covers a transcript with the layout that docs/protocol.md gives", () => {
    const request: HelloRequest = { ...helloBody, label: "é", expectedServer: serverId(5) };
    const bytes = transcript("caller", request, replyTo(request));
    const identityLength = 1 + 16 + 4 + 3 * 8 + 32 + 2;
    expect(bytes.length).toBe(10 + 1 + 4 * 4 + 2 * identityLength + 2 + "imposter".length);
    expect(Buffer.from(bytes.subarray(0, 10)).toString()).toBe("dfs-auth-1");
    expect(bytes[10]).toBe(2);
    expect(bytes.subarray(19, 23).toHex()).toBe("00000005");
    expect(bytes.subarray(27 + identityLength - 2, 27 + identityLength + 2).toHex()).toBe(
      "0002c3a9",
    );
  });

  test("of too few bytes is refused at once", async () => {
    const key = new Uint8Array(15);
    expect((await failureOf(listenFor({ key }))).kind).toBe("invalid");
    expect((await failureOf(connectTo("127.0.0.1:1", { key }))).kind).toBe("invalid");
  });

  test("is needed to listen where other machines can connect", async () => {
    for (const address of ["0.0.0.0:0", "[::]:0", "192.168.1.2:0", "example.org:0"]) {
      const error = await failureOf(listenFor({ address }));
      expect(error.kind).toBe("invalid");
      expect(error.message).toContain("without a cluster key");
      expect(error.message).toContain("127.0.0.1");
    }
    expect((await listenFor({ address: "0.0.0.0:0", key: KEY })).address).toMatch(
      /^0\.0\.0\.0:\d+$/,
    );
  });
});

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

/** A listener of the test's own on TCP; returns its address. */
async function rawListener(accept: (stream: ByteStream) => StreamEvents): Promise<string> {
  const transport: Transport = tcp;
  const listener = await transport.listen("127.0.0.1:0", accept);
  later(() => listener.close());
  return listener.address;
}

/** A listener that answers a hello with whatever `answer` says. */
async function impostor(answer: (request: HelloRequest) => HelloReply): Promise<string> {
  return rawListener((stream) => {
    const raw = new RawPeer();
    raw.stream = stream;
    raw.onFrame = (frame) => {
      const request = hello.request.decode(decodeBody(frame));
      raw.sendFrame(FRAME_KINDS.reply, frame.id, 0, hello.reply.encode(answer(request)));
    };
    return raw.events;
  });
}

function replyTo(request: HelloRequest): HelloReply {
  return {
    version: request.version,
    role: "data",
    cluster: null,
    server: null,
    incarnation: null,
    instance: null,
    reign: null,
    label: "imposter",
    nonce: new Uint8Array(32).fill(7),
    proof: null,
  };
}

function replyIn(frame: Frame): HelloReply {
  expect(frame.kind).toBe(FRAME_KINDS.reply);
  return hello.reply.decode(decodeBody(frame));
}

function errorIn(frame: Frame): DfsError {
  expect(frame.kind).toBe(FRAME_KINDS.error);
  return decodeError(frame.code, decodeBody(frame));
}
