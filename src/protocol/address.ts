/**
 * Addresses as people write them: `host:port`, an IPv6 host in brackets (`[::1]:4000`).
 */
import { DfsError } from "../base/errors.ts";
import type { Address, HostPort } from "./transport.ts";

const MAX_HOST_CHARACTERS = 253; // RFC 1035

/**
 * Splits an address. Port 0 is allowed: a listener lets the system choose.
 * @throws DfsError `invalid`.
 */
export function parseAddress(address: Address): HostPort {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || host.length > MAX_HOST_CHARACTERS || port > 65535) {
    throw new DfsError(
      "invalid",
      `cannot use ${JSON.stringify(address)} as an address: write HOST:PORT, for example 127.0.0.1:7000 or [::1]:7000`,
    );
  }
  return { host, port };
}

/** The address of a host and port. */
export function formatAddress({ host, port }: HostPort): Address {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True when only this machine can reach a listener on `host`. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  if (name === "localhost" || name === "::1" || name === "0:0:0:0:0:0:0:1") return true;
  return /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name);
}
