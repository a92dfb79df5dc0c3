/**
 * Which address a server of the local cluster listens on: the port asked for, else that of before, else a free one.
 */
import { systemCodeOf } from "../../base/errors.ts";

const HOST = "127.0.0.1";
const ANY_PORT = 0;

/**
 * The address to listen on. A port of before that something else uses by now is given up, unless others look for the
 * server there (`mustStay`); one that was asked for never is: the server itself then says that it is in use.
 */
export function listenAddress(
  before: string | undefined,
  asked: number | undefined,
  mustStay: boolean,
): { readonly address: string; readonly takenPort?: number } {
  if (asked !== undefined) return { address: `${HOST}:${asked}` };
  const port = Number(before?.split(":").at(-1));
  if (before === undefined || !Number.isInteger(port)) return { address: `${HOST}:${ANY_PORT}` };
  if (mustStay || isFree(port)) return { address: before };
  return { address: `${HOST}:${ANY_PORT}`, takenPort: port };
}

function isFree(port: number): boolean {
  try {
    const listener = Bun.listen({
      hostname: HOST,
      port,
      exclusive: true,
      socket: { data: () => undefined },
    });
    listener.stop(true);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === "EADDRINUSE") return false;
    throw error;
  }
}
