/**
 * Where a data server listens: where it is told to, else where it did last time, else at a free port of this machine.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import { formatAddress, parseAddress } from "../../protocol/address.ts";
import { listenPeers, type ListenOptions, type PeerListener } from "../../protocol/endpoint.ts";

/** A free port, on this machine only. */
const DEFAULT_LISTEN = "127.0.0.1:0";

/** Hosts that mean "all addresses of this machine". */
const WILDCARDS: ReadonlySet<string> = new Set(["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "*"]);

/**
 * Listens at `wished`. Without a wish a port of last time that is taken by now is no error: the service is told the
 * address at each registration.
 * @throws DfsError `locked` (naming the port) or `invalid` when it cannot listen there.
 */
export async function listen(
  wished: string | undefined,
  last: string | undefined,
  options: Omit<ListenOptions, "address">,
): Promise<PeerListener> {
  const address = wished ?? last ?? DEFAULT_LISTEN;
  const { host } = parseAddress(address);
  if (WILDCARDS.has(host)) {
    throw new DfsError(
      "invalid",
      `cannot listen on ${address}: clients are told the address, so it must be one that they can reach\n` +
        "name an address of this machine, for example --listen 192.168.1.5:7001",
    );
  }
  try {
    return await listenPeers({ ...options, address });
  } catch (error) {
    if (wished !== undefined || last === undefined || !isDfsError(error, "locked")) throw error;
    options.logger.info(`the former address ${address} is in use; taking another port`);
    return listenPeers({ ...options, address: formatAddress({ host, port: 0 }) });
  }
}
