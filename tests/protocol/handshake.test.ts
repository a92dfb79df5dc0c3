// Who gets in, who does not, and what they are told.

import { describe, expect, test } from "bun:test";
import { DfsError } from "../../src/base/errors.ts";
import { incarnationId, serverId } from "../../src/base/ids.ts";
import { FRAME_KINDS } from "../../src/protocol/cbor.ts";
import { HandlerTable } from "../../src/protocol/endpoint.ts";
import { hello } from "../../src/protocol/messages/hello.ts";
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
  listenFor,
  poke,
  RawPeer,
  recordingLogger,
  TRANSPORTS,
} from "./support.ts";
import {
  CLIENT,
  errorIn,
  impostor,
  KEY,
  options,
  replyIn,
  replyTo,
  SERVER,
  tcp,
} from "./handshake-support.ts";

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
