/**
 * The address that a metadata server listens on, kept in its directory, so that a restart is found where it was.
 *
 *     address          host:port as text
 */
import { join } from "node:path";
import { readIfThere, writeDurably } from "./durable-file.ts";

const ADDRESS_FILE = "address";

/** Where a server listens that was told nothing and never ran before: a free port, on this machine only. */
export const DEFAULT_LISTEN = "127.0.0.1:0";

/** The address to listen on: the one asked for, else that of the last run, else any free port. */
export function addressToListenOn(dir: string, wished: string | undefined): string {
  return wished ?? lastAddress(dir) ?? DEFAULT_LISTEN;
}

/** The address of the last run in `dir`. */
export function lastAddress(dir: string): string | undefined {
  return readIfThere(join(dir, ADDRESS_FILE))?.trim() || undefined;
}

/** Remembers the address that is listened on now. */
export function rememberAddress(dir: string, address: string): void {
  if (lastAddress(dir) !== address) writeDurably(join(dir, ADDRESS_FILE), `${address}\n`);
}
