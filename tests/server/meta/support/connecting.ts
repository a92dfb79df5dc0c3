/** Connections to a metadata server, and how quick tests have it be. */
import { systemClock } from "../../../../src/base/clock.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { systemRandom } from "../../../../src/base/random.ts";
import { connectPeer, type HandlerTable } from "../../../../src/protocol/endpoint.ts";
import type { Peer, PeerIdentity } from "../../../../src/protocol/peer.ts";
import { tcpTransport } from "../../../../src/protocol/transports/tcp.ts";

export const TIMEOUT_MS = 20_000;

const transport = tcpTransport(systemClock);

/** Quick enough for tests, slow enough for a busy machine. */
export const FAST = {
  heartbeatIntervalMs: 100,
  downDelayMs: 300,
  reaperIntervalMs: 20,
  repairIntervalMs: 20,
  graceMs: 50,
} as const;

const ANONYMOUS: PeerIdentity = {
  role: "client",
  cluster: undefined,
  server: undefined,
  incarnation: undefined,
  instance: undefined,
  reign: undefined,
  label: "test client",
};

export function connect(
  address: string,
  identity: Partial<PeerIdentity> = {},
  handlers?: HandlerTable,
): Promise<Peer> {
  return connectPeer({
    transport,
    address,
    identity: { ...ANONYMOUS, ...identity },
    expect: { role: "meta" },
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    timeoutMs: TIMEOUT_MS,
    ...(handlers === undefined ? {} : { handlers }),
  });
}
