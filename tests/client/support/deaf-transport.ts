// A transport that can go deaf: what it sends arrives, what is sent to it gets lost. So a request is executed and its
// answer never comes, until the connection is ended. It can also be cut off: then there are no connections at all.

import { DfsError } from "../../../src/base/errors.ts";
import type { Address, ByteStream, Transport } from "../../../src/protocol/transport.ts";

export class DeafTransport implements Transport {
  /** While true, nothing that arrives is heard. */
  deaf = false;
  connects = 0;
  private isCut = false;
  private deafAddress: Address | undefined;
  private readonly inner: Transport;
  private readonly streams = new Set<ByteStream>();

  constructor(inner: Transport) {
    this.inner = inner;
  }

  async connect(...[address, events, timeoutMs]: Parameters<Transport["connect"]>) {
    if (this.isCut) throw new DfsError("unreachable", `cannot connect to ${address}: cut off`);
    this.connects++;
    const stream = await this.inner.connect(
      address,
      {
        onData: (chunk) => {
          if (!this.deaf && address !== this.deafAddress) events.onData(chunk);
        },
        onWritable: () => events.onWritable(),
        onClose: (error) => {
          this.streams.delete(stream);
          events.onClose(error);
        },
      },
      timeoutMs,
    );
    this.streams.add(stream);
    return stream;
  }

  listen(...args: Parameters<Transport["listen"]>) {
    return this.inner.listen(...args);
  }

  /** Hears nothing from this address any more; what others say is heard. */
  deafTo(address: Address): void {
    this.deafAddress = address;
  }

  /** Ends all connections and makes no new ones. */
  cut(): void {
    this.isCut = true;
    for (const stream of this.streams) stream.terminate();
  }

  /** Ends all connections; new ones are made, and heard. */
  reconnect(): void {
    this.cut();
    this.isCut = false;
    this.deaf = false;
    this.deafAddress = undefined;
  }
}
