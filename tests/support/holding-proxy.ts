// Stands between clients and a server, over real sockets, and holds back requests of some kinds: so a test can do something
// between two steps of a client, however fast or slow the machine is. It can also lose answers.
//
//     const proxy = await HoldingProxy.to(cluster.meta.address);
//     const client = await cluster.client({ metaAddress: proxy.address });
//     proxy.hold(put, commit);
//     ...
//     await proxy.untilHeld(1);
//     proxy.release();

import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { encode } from "cbor-x";
import { until } from "./cluster.ts";

/** What is known of a request's kind. */
interface Coded {
  readonly code: number;
}

/** Bytes of a frame's head in which its code lies: length, array, kind, id and code. */
const HEAD_BYTES = 16;

export class HoldingProxy {
  /** Where clients connect. */
  readonly address: string;
  private readonly server: Server;
  private readonly lines = new Set<Line>();
  /** Codes of the requests that are held back, as they are encoded. */
  private held: readonly Uint8Array[] = [];
  /** Requests of these kinds that still pass. */
  private passing = 0;
  /** Requests held back now. */
  private waiting = 0;
  /** While true, nothing that the server sends arrives. */
  private mute = false;

  private constructor(server: Server, target: string) {
    this.server = server;
    this.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("connection", (socket) => this.accept(socket, target));
  }

  static async to(target: string): Promise<HoldingProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new HoldingProxy(server, target);
  }

  /** Holds back requests of these kinds from now on; others overtake them. */
  hold(...kinds: Coded[]): void {
    this.holdAfter(0, ...kinds);
  }

  /** Lets so many requests of these kinds pass, and holds back those that follow. */
  holdAfter(passing: number, ...kinds: Coded[]): void {
    this.passing = passing;
    this.held = kinds.map(({ code }) => encode(code));
  }

  /** Waits until so many requests are held back. */
  untilHeld(requests: number): Promise<void> {
    return until(`${requests} requests are held back`, () => this.waiting >= requests);
  }

  /** Lets everything pass. */
  release(): void {
    this.held = [];
    this.waiting = 0;
    for (const line of this.lines) line.flush();
  }

  /** Lets everything pass to the server and nothing back, until `cut`. */
  releaseAndLoseAnswers(): void {
    this.mute = true;
    this.release();
  }

  /** Ends all connections; new ones pass. */
  cut(): void {
    this.mute = false;
    this.waiting = 0; // what is held back goes with its connection
    for (const line of this.lines) line.end();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private accept(client: Socket, target: string): void {
    const [host = "", port = ""] = target.split(":");
    const server = connect({ host, port: Number(port) });
    const line = new Line(client, server, (head) => this.holds(head));
    this.lines.add(line);
    server.on("data", (chunk) => {
      if (!this.mute) client.write(chunk);
    });
    const ended = (): void => {
      this.lines.delete(line);
      line.end();
    };
    for (const socket of [client, server]) socket.on("close", ended).on("error", ended);
  }

  private holds(head: Uint8Array): boolean {
    // [0, id, code, ...: the code is the third element, behind an id of one to five bytes.
    const rest = Buffer.from(head.subarray(6));
    const isOne = this.held.some((code) => rest.includes(code));
    if (!isOne || this.passing-- > 0) return false;
    this.waiting++;
    return true;
  }
}

/** One connection: cuts what the client sends into frames, and keeps those that are held back. */
class Line {
  private readonly client: Socket;
  private readonly server: Socket;
  private readonly holds: (head: Uint8Array) => boolean;
  private readonly kept: Uint8Array[] = [];
  /** The beginning of a frame that has not arrived whole. */
  private rest = Buffer.alloc(0);

  constructor(client: Socket, server: Socket, holds: (head: Uint8Array) => boolean) {
    this.client = client;
    this.server = server;
    this.holds = holds;
    client.on("data", (chunk: Uint8Array) => this.take(chunk));
  }

  flush(): void {
    for (const frame of this.kept.splice(0)) this.server.write(frame);
  }

  end(): void {
    this.client.destroy();
    this.server.destroy();
  }

  private take(chunk: Uint8Array): void {
    this.rest = Buffer.concat([this.rest, chunk]);
    while (this.rest.length >= 4) {
      const end = 4 + this.rest.readUInt32BE(0);
      if (this.rest.length < end) return;
      const frame = this.rest.subarray(0, end);
      this.rest = this.rest.subarray(end);
      if (this.holds(frame.subarray(0, HEAD_BYTES))) this.kept.push(frame);
      else this.server.write(frame);
    }
  }
}
