// What the tests of the hello share: identities, keys, listeners that lie, and what is in an answer.

import { expect } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { DfsError } from "../../src/base/errors.ts";
import { incarnationId, instanceId, reignId, serverId } from "../../src/base/ids.ts";
import { decodeBody, FRAME_KINDS, type Frame } from "../../src/protocol/cbor.ts";
import { decodeError } from "../../src/protocol/error-body.ts";
import { hello, type HelloReply, type HelloRequest } from "../../src/protocol/messages/hello.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import type { ByteStream, StreamEvents, Transport } from "../../src/protocol/transport.ts";
import { identity, later, patterned, RawPeer, TIMEOUT_MS } from "./support.ts";

export const KEY = patterned(32, 11);
export const OTHER_KEY = patterned(32, 12);
export const options = { timeoutMs: TIMEOUT_MS };
export const tcp = tcpTransport(systemClock);

export const SERVER = identity("data", {
  server: serverId(3),
  incarnation: incarnationId(33n),
  instance: instanceId(333n),
  reign: reignId(3333n),
  label: "dfs data 3",
});
export const CLIENT = identity("client", { label: "dfs put, pid 4711" });

/** A listener of the test's own on TCP; returns its address. */
export async function rawListener(accept: (stream: ByteStream) => StreamEvents): Promise<string> {
  const transport: Transport = tcp;
  const listener = await transport.listen("127.0.0.1:0", accept);
  later(() => listener.close());
  return listener.address;
}

/** A listener that answers a hello with whatever `answer` says. */
export async function impostor(answer: (request: HelloRequest) => HelloReply): Promise<string> {
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

export function replyTo(request: HelloRequest): HelloReply {
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

export function replyIn(frame: Frame): HelloReply {
  expect(frame.kind).toBe(FRAME_KINDS.reply);
  return hello.reply.decode(decodeBody(frame));
}

export function errorIn(frame: Frame): DfsError {
  expect(frame.kind).toBe(FRAME_KINDS.error);
  return decodeError(frame.code, decodeBody(frame));
}
