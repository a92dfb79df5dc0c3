/**
 * Byte streams inside one process: for tests, for a cluster in one process, and under a simulator's clock.
 *
 * A stream behaves as a socket does: it takes at most a window of bytes that the other end has not consumed, delivers
 * them later and in order, and stops delivering while the reader has paused. Every node has its own transport, and the
 * network can be partitioned, healed and cut around any node or listening address.
 */
import type { Clock } from "../../base/clock.ts";
import { DfsError } from "../../base/errors.ts";
import { formatAddress, parseAddress } from "../address.ts";
import type { Address, ByteStream, Listener, StreamEvents, Transport } from "../transport.ts";

/** Bytes that a stream takes before the other end has consumed any: about what a loopback socket does. */
const DEFAULT_WINDOW_BYTES = 256 * 1024;

const FIRST_FREE_PORT = 10_000;

export interface MemoryNetworkOptions {
  readonly clock: Clock;
  readonly windowBytes?: number;
  /** Delay of every delivery; without it bytes arrive in the next turn of the event loop. */
  readonly latencyMs?: number;
  /** How "in the next turn" is done; a simulator passes its own. */
  readonly defer?: (callback: () => void) => void;
}

export interface MemoryNetwork {
  /** The network as the node `name` sees it. Without a name, a node that is never partitioned by name. */
  transport(name?: string): Transport;
  /** From now on nothing passes to or from a node or listening address. Bytes wait; new connections time out. */
  partition(where: string): void;
  /** Ends a partition; what waited is delivered. */
  heal(where: string): void;
  /** Ends all streams to and from a node or listening address, with an error at both ends. */
  cut(where: string): void;
}

/** A network without listeners. */
export function memoryNetwork(options: MemoryNetworkOptions): MemoryNetwork {
  const network = new Network(options);
  return {
    transport: (name = "") => ({
      connect: (address, events, timeoutMs) => network.connect(name, address, events, timeoutMs),
      listen: (address, accept) => network.listen(name, address, accept),
    }),
    partition: (where) => network.partitioned.add(where),
    heal: (where) => network.heal(where),
    cut: (where) => network.cut(where),
  };
}

interface ListenerEntry {
  readonly node: string;
  readonly accept: (stream: ByteStream) => StreamEvents;
}

class Network {
  readonly options: MemoryNetworkOptions;
  readonly windowBytes: number;
  readonly partitioned = new Set<string>();
  private readonly listeners = new Map<Address, ListenerEntry>();
  private readonly ends = new Set<End>();
  private nextPort = FIRST_FREE_PORT;

  constructor(options: MemoryNetworkOptions) {
    this.options = options;
    this.windowBytes = options.windowBytes ?? DEFAULT_WINDOW_BYTES;
  }

  /** Calls `callback` when something sent now arrives. */
  later(callback: () => void): void {
    const { latencyMs, clock, defer } = this.options;
    if (latencyMs !== undefined) clock.setTimer(latencyMs, callback);
    else if (defer !== undefined) defer(callback);
    else setImmediate(callback);
  }

  async listen(
    node: string,
    address: Address,
    accept: (stream: ByteStream) => StreamEvents,
  ): Promise<Listener> {
    const { host, port } = parseAddress(address);
    const actual = formatAddress({ host, port: port === 0 ? this.nextPort++ : port });
    if (this.listeners.has(actual)) {
      throw new DfsError("locked", `cannot listen on ${actual}: port ${port} is in use`);
    }
    const entry = { node, accept };
    this.listeners.set(actual, entry);
    return {
      address: actual,
      close: () => {
        if (this.listeners.get(actual) === entry) this.listeners.delete(actual);
      },
    };
  }

  connect(
    node: string,
    address: Address,
    events: StreamEvents,
    timeoutMs: number,
  ): Promise<ByteStream> {
    parseAddress(address);
    return new Promise((resolve, reject) => {
      const timer = this.options.clock.setTimer(timeoutMs, () => {
        reject(
          new DfsError("timeout", `cannot connect to ${address}: no answer within ${timeoutMs} ms`),
        );
      });
      this.later(() => {
        const entry = this.listeners.get(address);
        if (this.isPartitioned([node, address, entry?.node])) return; // the timer answers
        timer.cancel();
        if (entry === undefined) {
          reject(new DfsError("unreachable", `cannot connect to ${address}: nobody listens there`));
        } else {
          resolve(this.open(node, address, entry, events));
        }
      });
    });
  }

  isPartitioned(places: readonly (string | undefined)[]): boolean {
    return places.some((place) => place !== undefined && this.partitioned.has(place));
  }

  heal(where: string): void {
    this.partitioned.delete(where);
    for (const end of this.ends) end.wake();
  }

  cut(where: string): void {
    for (const end of this.ends) {
      if (end.places.includes(where)) end.break(new Error("the connection was cut"));
    }
  }

  forget(end: End): void {
    this.ends.delete(end);
  }

  private open(
    node: string,
    address: Address,
    entry: ListenerEntry,
    events: StreamEvents,
  ): ByteStream {
    const caller = formatAddress({ host: node === "" ? "memory" : node, port: this.nextPort++ });
    const places = [node, entry.node, address, caller].filter((place) => place !== "");
    const here = new End(this, address, places);
    const there = new End(this, caller, places);
    here.join(there);
    this.ends.add(here).add(there);
    there.events = entry.accept(there);
    here.events = events;
    return here;
  }
}

/** One end of a stream: what its owner writes, and what is on its way to its owner. */
class End implements ByteStream {
  readonly remoteAddress: Address;
  /** Names under which a partition or cut can hit this stream. */
  readonly places: readonly string[];
  events: StreamEvents | undefined;
  private readonly network: Network;
  private other: End | undefined;
  private readonly arriving: Uint8Array[] = [];
  private arrivingBytes = 0;
  private paused = false;
  private deliveryPlanned = false;
  private otherWasFull = false;
  /** The other end has ended its direction: onClose follows the last byte. */
  private endArriving = false;
  private ended = false;
  private gone = false;

  constructor(network: Network, remoteAddress: Address, places: readonly string[]) {
    this.network = network;
    this.remoteAddress = remoteAddress;
    this.places = places;
  }

  join(other: End): void {
    this.other = other;
    other.other = this;
  }

  write(bytes: Uint8Array): number {
    const other = this.other;
    if (this.ended || this.gone || other === undefined || other.gone) return -1;
    const count = Math.min(bytes.length, this.network.windowBytes - other.arrivingBytes);
    if (count > 0) {
      other.arriving.push(bytes.slice(0, count));
      other.arrivingBytes += count;
      other.wake();
    }
    if (count < bytes.length) other.otherWasFull = true;
    return count;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.wake();
  }

  end(): void {
    if (this.ended || this.gone) return;
    this.ended = true;
    if (this.other === undefined) return;
    this.other.endArriving = true;
    this.other.wake();
  }

  terminate(): void {
    const other = this.other;
    this.break(undefined);
    other?.break(new Error("connection reset by the other side"));
  }

  /** Ends this end now, with what was on its way lost. */
  break(error: Error | undefined): void {
    if (this.gone) return;
    this.gone = true;
    this.arriving.length = 0;
    this.network.forget(this);
    this.network.later(() => this.events?.onClose(error));
  }

  /** Plans a delivery if there is something to deliver. */
  wake(): void {
    if (this.deliveryPlanned || this.gone) return;
    if (this.arriving.length === 0 && !this.endArriving) return;
    this.deliveryPlanned = true;
    this.network.later(() => {
      this.deliveryPlanned = false;
      this.deliver();
    });
  }

  private deliver(): void {
    if (this.network.isPartitioned(this.places)) return; // heal() wakes us
    while (!this.paused && !this.gone && this.arriving.length > 0) {
      const chunk = this.arriving.shift()!;
      this.arrivingBytes -= chunk.length;
      this.events?.onData(chunk);
    }
    if (this.gone) return;
    this.tellWriter();
    if (this.endArriving && this.arriving.length === 0) this.finish();
  }

  private tellWriter(): void {
    if (!this.otherWasFull || this.arrivingBytes >= this.network.windowBytes) return;
    this.otherWasFull = false;
    const other = this.other;
    this.network.later(() => {
      if (other !== undefined && !other.gone) other.events?.onWritable();
    });
  }

  /** The other side has ended and all its bytes are delivered: this end closes too, as an accepted FIN does. */
  private finish(): void {
    this.gone = true;
    this.network.forget(this);
    this.events?.onClose(undefined);
    this.other?.break(undefined);
  }
}
