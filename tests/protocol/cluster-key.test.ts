// The cluster key: who is let in, and which proofs prove nothing.

import { describe, expect, test } from "bun:test";
import { incarnationId, instanceId, reignId, serverId } from "../../src/base/ids.ts";
import { isProof, makeProof, transcript } from "../../src/protocol/authentication.ts";
import { FRAME_KINDS } from "../../src/protocol/cbor.ts";
import {
  auth,
  hello,
  type HelloReply,
  type HelloRequest,
} from "../../src/protocol/messages/hello.ts";
import type { Peer } from "../../src/protocol/peer.ts";
import {
  connectTo,
  echo,
  eventually,
  failureOf,
  helloBody,
  listenFor,
  RawPeer,
  recordingLogger,
} from "./support.ts";
import { errorIn, impostor, KEY, OTHER_KEY, replyIn, replyTo, tcp } from "./handshake-support.ts";

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
