/**
 * Requests to a metadata service, so many in flight on one connection, and how long each takes.
 */
import { systemClock } from "../src/base/clock.ts";
import { ROOT_INODE, type InodeId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/logger.ts";
import { systemRandom } from "../src/base/random.ts";
import { connectPeer } from "../src/protocol/endpoint.ts";
import { create, getattr, mkdir } from "../src/protocol/messages/namespace.ts";
import { sessionOpen } from "../src/protocol/messages/session.ts";
import type { Peer } from "../src/protocol/peer.ts";
import { tcpTransport } from "../src/protocol/transports/tcp.ts";

const TIMEOUT_MS = 30_000;

/** A session that numbers its operations; several may be in flight. */
export class MetadataClient {
  private readonly peer: Peer;
  private operation = 0n;
  private readonly open = new Set<bigint>();

  private constructor(peer: Peer) {
    this.peer = peer;
  }

  /** Connects to the service at an address and opens a session there. */
  static async connect(address: string): Promise<MetadataClient> {
    const peer = await connect(address);
    await peer.request(sessionOpen, { label: "bench" }, { timeoutMs: TIMEOUT_MS });
    return new MetadataClient(peer);
  }

  close(): void {
    this.peer.close("the measurement has ended");
  }

  async makeDirectory(name: string): Promise<InodeId> {
    const place = { parent: ROOT_INODE, name: Buffer.from(name), mode: 0o755, uid: 0, gid: 0 };
    const reply = await this.change((head) =>
      this.peer.request(mkdir, { ...head, ...place }, { timeoutMs: TIMEOUT_MS }),
    );
    return reply.body.attributes.inode;
  }

  async create(parent: InodeId): Promise<void> {
    const birth = { mode: 0o644, uid: 0, gid: 0, base: 0, exclusive: true, open: false };
    await this.change((head) => {
      const name = Buffer.from(`file-${head.operation}`);
      return this.peer.request(
        create,
        { ...head, parent, name, ...birth },
        { timeoutMs: TIMEOUT_MS },
      );
    });
  }

  async getattr(inode: InodeId): Promise<void> {
    await this.peer.request(getattr, { inode }, { timeoutMs: TIMEOUT_MS });
  }

  private async change<T>(
    send: (head: { operation: bigint; acknowledged: bigint }) => Promise<T>,
  ): Promise<T> {
    const operation = ++this.operation;
    this.open.add(operation);
    const [oldest = operation] = this.open;
    const result = await send({ operation, acknowledged: oldest - 1n });
    this.open.delete(operation);
    return result;
  }
}

/** What was done, and how long each request took, sorted. */
export interface Measured {
  readonly perSecond: number;
  readonly latenciesMs: Float64Array;
}

/** Keeps `depth` requests in flight for `seconds`. */
export async function keepInFlight(
  seconds: number,
  depth: number,
  request: () => Promise<void>,
): Promise<Measured> {
  const latencies: number[] = [];
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  const worker = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < endMs;) {
      await request();
      const doneMs = performance.now();
      latencies.push(doneMs - nowMs);
      nowMs = doneMs;
    }
  };
  await Promise.all(Array.from({ length: depth }, worker));
  const elapsed = (performance.now() - startMs) / 1000;
  return {
    perSecond: latencies.length / elapsed,
    latenciesMs: Float64Array.from(latencies).sort(),
  };
}

function connect(address: string): Promise<Peer> {
  return connectPeer({
    transport: tcpTransport(systemClock),
    address,
    identity: {
      role: "client",
      cluster: undefined,
      server: undefined,
      incarnation: undefined,
      instance: undefined,
      reign: undefined,
      label: "bench",
    },
    expect: { role: "meta" },
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    timeoutMs: TIMEOUT_MS,
  });
}
