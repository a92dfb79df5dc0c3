// A connection on which an attacker does what it likes: bytes as they are, read or not.

import type { Socket } from "bun";
import { parseAddress } from "../../src/protocol/address.ts";
import { encodeHead, FRAME_KINDS, parseFrame, type Frame } from "../../src/protocol/cbor.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import { hello, type HelloReply, type HelloRequest } from "../../src/protocol/messages/hello.ts";
import { decodeBody } from "../../src/protocol/cbor.ts";
import type { Item } from "../../src/protocol/schema.ts";

const MOST_ANSWER_BYTES = 2 ** 31;

/** How often a connection that waits for room is tried: one that is not read from may end without a word. */
const RETRY_MS = 500;
const PING_ID = 2 ** 20;
const PING_CODE = 0xfff0;

const SENDS_IN_A_TURN = 16;
let sends = 0;

/** What all attackers together have done. */
export const counts = {
  connections: 0,
  refused: 0,
  /** Connections that the server has ended. */
  ended: 0,
  /** Connections of which the log of the server must tell, each once. */
  offending: 0,
  /** Those of which it could not be found out in time. */
  unsettled: 0,
  bytes: 0,
};

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
  /** What was sent is certain to end the connection, as soon as the server has read it. */
  offends = false;
  /** A hello was said. */
  greeted = false;
  /** It has succeeded. */
  admitted = false;
  private leaving = false;
  private readonly sent = new FrameMeter();
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
    const onEnd = (): void => raw.end();
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
    open.add(raw);
    return raw;
  }

  private end(): void {
    if (this.closed) return;
    this.closed = true;
    open.delete(this);
    if (!this.leaving) {
      counts.ended++;
      counts.offending++;
    }
    this.room.resolve();
    this.resolveClosed();
  }

  /** Sends all of `bytes`, waiting for room; false when the connection has ended before. */
  async send(bytes: Uint8Array): Promise<boolean> {
    let rest = bytes;
    if (++sends % SENDS_IN_A_TURN === 0) await Bun.sleep(0); // others are to send, and to hear of their end
    while (!this.closed) {
      const count = this.socket.write(rest);
      if (count < 0) {
        await Promise.race([this.whenClosed, Bun.sleep(RETRY_MS)]);
        this.end();
        return false;
      }
      counts.bytes += count;
      this.sent.add(rest, count);
      if (count === rest.length) return true;
      rest = rest.subarray(count);
      await Promise.race([this.room.promise, Bun.sleep(RETRY_MS)]);
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
    this.greeted = true;
    const frame = await this.ask(1, hello.code, hello.request.encode(request));
    if (frame?.kind !== FRAME_KINDS.reply) return undefined;
    const reply = hello.reply.decode(decodeBody(frame));
    if (reply.proof === null) this.admitted = true;
    return reply;
  }

  /** Reads nothing any more. */
  stopReading(): void {
    this.socket.pause();
  }

  /** Cuts the connection off, as a process does that is killed. All that was sent must have been answered. */
  close(): void {
    if (this.closed) return;
    this.leaving = true;
    if (!this.admitted) counts.offending++;
    this.socket.terminate();
  }

  /** Ends the connection so that the server reads all that was sent before, and counts whether that was an offence. */
  async leave(withinMs: number): Promise<void> {
    const late = Bun.sleep(withinMs).then(() => "late" as const);
    if (!this.closed && !this.offends && this.greeted && !this.sent.insideFrame) {
      // An answer shows that the server has read all of it, and has not ended the connection for that.
      const answer = await Promise.race([this.ask(PING_ID, PING_CODE, []), late]);
      if (this.closed) return;
      if (answer === "late") counts.unsettled++;
    } else if (!this.closed) counts.offending++;
    if (this.closed) return;
    this.leaving = true;
    this.socket.shutdown();
    await Promise.race([this.whenClosed, late]);
    if (!this.closed) this.socket.terminate();
  }
}

/** Connections that nobody has come to the end of. */
export const open = new Set<RawSocket>();

/** Follows the frames in what is sent. */
class FrameMeter {
  private prefix: number[] = [];
  private rest = 0;

  get insideFrame(): boolean {
    return this.prefix.length > 0 || this.rest > 0;
  }

  add(bytes: Uint8Array, count: number): void {
    for (let at = 0; at < count;) {
      if (this.rest > 0) {
        const part = Math.min(this.rest, count - at);
        this.rest -= part;
        at += part;
      } else {
        this.prefix.push(bytes[at++]!);
        if (this.prefix.length < 4) continue;
        this.rest = this.prefix.reduce((length, byte) => length * 256 + byte, 0);
        this.prefix = [];
      }
    }
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
