// A connection on which an attacker does what it likes: bytes as they are, read or not.

import type { Socket } from "bun";
import { parseAddress } from "../../src/protocol/address.ts";
import { encodeHead, FRAME_KINDS, parseFrame, type Frame } from "../../src/protocol/cbor.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import { hello, type HelloReply, type HelloRequest } from "../../src/protocol/messages/hello.ts";
import { decodeBody } from "../../src/protocol/cbor.ts";
import type { Item } from "../../src/protocol/schema.ts";

const MOST_ANSWER_BYTES = 2 ** 31;

/** What all attackers together have done. */
export const counts = { connections: 0, refused: 0, ended: 0, bytes: 0 };

/** A client's hello. */
export const HELLO: HelloRequest = {
  version: 1,
  minVersion: 1,
  role: "client",
  cluster: null,
  server: null,
  incarnation: null,
  instance: null,
  reign: null,
  label: "an attacker",
  nonce: new Uint8Array(32),
  expectedServer: null,
};

export class RawSocket {
  /** The other side has ended it, or we have. */
  closed = false;
  readonly whenClosed: Promise<void>;
  private socket!: Socket;
  private room = Promise.withResolvers<void>();
  private answers = new Map<number, (frame: Frame) => void>();
  private resolveClosed!: () => void;
  private readonly parser = new FrameParser(MOST_ANSWER_BYTES, (buffer, start, end) => {
    const frame = parseFrame(buffer, start, end);
    this.answers.get(frame.id)?.(frame);
    this.answers.delete(frame.id);
  });

  private constructor() {
    this.whenClosed = new Promise((resolve) => (this.resolveClosed = resolve));
  }

  /** Connects; undefined when it is refused. */
  static async open(address: string): Promise<RawSocket | undefined> {
    const raw = new RawSocket();
    const { host, port } = parseAddress(address);
    const onEnd = (): void => {
      if (raw.closed) return;
      raw.closed = true;
      counts.ended++;
      raw.room.resolve();
      raw.resolveClosed();
    };
    try {
      raw.socket = await Bun.connect({
        hostname: host,
        port,
        socket: {
          binaryType: "uint8array",
          data: (_, chunk) => raw.parser.push(chunk),
          drain: () => {
            raw.room.resolve();
            raw.room = Promise.withResolvers();
          },
          close: onEnd,
          error: onEnd,
        },
      });
    } catch {
      counts.refused++; // also when the listener takes no more: the attacker goes on all the same
      return undefined;
    }
    counts.connections++;
    return raw;
  }

  /** Sends all of `bytes`, waiting for room; false when the connection has ended before. */
  async send(bytes: Uint8Array): Promise<boolean> {
    let rest = bytes;
    while (!this.closed) {
      const count = this.socket.write(rest);
      if (count < 0) return false;
      counts.bytes += count;
      if (count === rest.length) return true;
      rest = rest.subarray(count);
      await this.room.promise;
    }
    return false;
  }

  /** Sends a request and waits for its answer; undefined when the connection ends before. */
  async ask(id: number, code: number, body: Item): Promise<Frame | undefined> {
    const answer = new Promise<Frame>((resolve) => this.answers.set(id, resolve));
    const sent = await this.send(framed(encodeHead(FRAME_KINDS.request, id, code, body)));
    return sent ? Promise.race([answer, this.whenClosed.then(() => undefined)]) : undefined;
  }

  /** Says hello; undefined when it is not answered with a reply. */
  async hello(request: HelloRequest = HELLO): Promise<HelloReply | undefined> {
    const frame = await this.ask(1, hello.code, hello.request.encode(request));
    return frame?.kind === FRAME_KINDS.reply ? hello.reply.decode(decodeBody(frame)) : undefined;
  }

  /** Reads nothing any more. */
  stopReading(): void {
    this.socket.pause();
  }

  close(): void {
    if (!this.closed) this.socket.terminate();
  }
}

/** The bytes of a frame, with its length in front, and after them those of `bulk`. */
export function framed(body: Uint8Array, bulk: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(4 + body.length + bulk.length);
  new DataView(bytes.buffer).setUint32(0, body.length + bulk.length);
  bytes.set(body, 4);
  bytes.set(bulk, 4 + body.length);
  return bytes;
}

/** The four bytes of a length. */
export function lengthBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
}
