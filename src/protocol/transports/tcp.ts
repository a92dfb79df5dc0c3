/**
 * Byte streams over TCP, on the sockets of Bun.
 *
 * What Bun's sockets do and this file relies on: `write` takes what fits and says how much, -1 when the socket has
 * ended; `shutdown` lets what was written be delivered, `end` does not; chunks given to `data` are private copies;
 * `drain` follows a short write. Bun's socket timeouts are not used, as they are unreliable; ours are the clock's.
 */
import type { Socket, SocketHandler } from "bun";
import { closeSync, openSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { DfsError, messageOf, systemCodeOf } from "../../base/errors.ts";
import type { FilePart } from "../../base/file-part.ts";
import { formatAddress, parseAddress } from "../address.ts";
import { receiveNow } from "./receive-now.ts";
import { canSendFiles, sendFileNow } from "./send-file.ts";
import type { Address, ByteStream, Listener, StreamEvents, Transport } from "../transport.ts";

/** TCP between machines or over the loopback. */
export function tcpTransport(clock: Clock): Transport {
  return {
    connect: (address, events, timeoutMs) => connect(clock, address, events, timeoutMs),
    listen: (address, accept) => listen(address, accept),
  };
}

/** What belongs to one socket. */
interface SocketState {
  readonly events: StreamEvents;
  /** The first error seen, for onClose. */
  error: Error | undefined;
}

const UNKNOWN_ADDRESS = "unknown:0";

type TcpSocket = Socket<SocketState | undefined>;

function connect(
  clock: Clock,
  address: Address,
  events: StreamEvents,
  timeoutMs: number,
): Promise<ByteStream> {
  const { host, port } = parseAddress(address);
  return new Promise((resolve, reject) => {
    let waiting = true;
    const timer = clock.setTimer(timeoutMs, () => {
      waiting = false;
      reject(noAnswer(address, timeoutMs));
    });
    const refuse = (error: unknown): void => {
      if (!waiting) return;
      waiting = false;
      timer.cancel();
      reject(unreachable(address, error));
    };
    const open = (socket: TcpSocket): void => {
      if (!waiting) {
        socket.terminate(); // too late: the caller has been told so
        return;
      }
      waiting = false;
      timer.cancel();
      resolve(adopt(socket, address, () => events));
    };
    const connecting = async (): Promise<unknown> =>
      Bun.connect<SocketState | undefined>({
        hostname: host,
        port,
        data: undefined,
        socket: { ...handlers, open, connectError: (_, error) => refuse(error) },
      });
    connecting().catch(refuse);
  });
}

async function listen(
  address: Address,
  accept: (stream: ByteStream) => StreamEvents,
): Promise<Listener> {
  const { host, port } = parseAddress(address);
  const open = (socket: TcpSocket): void => {
    adopt(socket, remoteAddressOf(socket), accept);
  };
  try {
    const server = Bun.listen<SocketState | undefined>({
      hostname: host,
      port,
      data: undefined,
      socket: { ...handlers, open },
    });
    return {
      address: formatAddress({ host, port: server.port }),
      close: () => server.stop(),
    };
  } catch (error) {
    throw cannotListen(address, error);
  }
}

/** The kernel does not know it any more when the other side has reset the connection before it was accepted. */
function remoteAddressOf(socket: TcpSocket): Address {
  const { remoteAddress, remotePort } = socket as Partial<TcpSocket>;
  if (remoteAddress === undefined || remotePort === undefined) return UNKNOWN_ADDRESS;
  return formatAddress({ host: remoteAddress, port: remotePort });
}

/** Makes a stream of an open socket. */
function adopt(
  socket: TcpSocket,
  remoteAddress: Address,
  owner: (stream: ByteStream) => StreamEvents,
): ByteStream {
  socket.setNoDelay(true);
  const stream: ByteStream = {
    remoteAddress,
    write: (bytes) => socket.write(bytes),
    ...(canSendFiles && {
      sendFile: (part: FilePart, from: number) => sendFileNow(socket, part, from),
    }),
    receive: (target, offset) => receiveNow(socket, target, offset),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end: () => socket.shutdown(),
    terminate: () => socket.terminate(),
  };
  socket.data = { events: owner(stream), error: undefined };
  return stream;
}

const handlers: SocketHandler<SocketState | undefined> = {
  binaryType: "uint8array",
  data: (socket, chunk) => socket.data?.events.onData(chunk),
  drain: (socket) => socket.data?.events.onWritable(),
  error: (socket, error) => {
    // One of our callbacks threw, so bytes may have been lost: the stream cannot go on.
    if (socket.data !== undefined) socket.data.error ??= error;
    socket.terminate();
  },
  close: (socket, error) => {
    const state = socket.data;
    socket.data = undefined;
    if (state === undefined) return;
    // Bun calls this from inside `terminate`; our owner is told afterwards.
    queueMicrotask(() => state.events.onClose(state.error ?? error));
  },
};

function noAnswer(address: Address, timeoutMs: number): DfsError {
  return new DfsError("timeout", `cannot connect to ${address}: no answer within ${timeoutMs} ms`, {
    details: { address, timeoutMs },
  });
}

function unreachable(address: Address, error: unknown): DfsError {
  const code = systemCodeOf(error);
  const why = hasNoDescriptorLeft()
    ? "this process may open no more files (ulimit -n)"
    : code === "ECONNREFUSED"
      ? "nobody listens there; is the server running?"
      : (code ?? messageOf(error));
  return new DfsError("unreachable", `cannot connect to ${address}: ${why}`, {
    details: { address },
    cause: error,
  });
}

/** Bun calls it a refused connection, too, when there is no descriptor for the socket. */
function hasNoDescriptorLeft(): boolean {
  try {
    closeSync(openSync("/dev/null", "r"));
    return false;
  } catch (error) {
    return systemCodeOf(error) === "EMFILE" || systemCodeOf(error) === "ENFILE";
  }
}

function cannotListen(address: Address, error: unknown): DfsError {
  const code = systemCodeOf(error);
  const options = { details: { address }, cause: error };
  if (code === "EADDRINUSE") {
    const { port } = parseAddress(address);
    return new DfsError(
      "locked",
      `cannot listen on ${address}: port ${port} is in use by another process; stop it or choose another port`,
      options,
    );
  }
  return new DfsError(
    "invalid",
    `cannot listen on ${address}: ${code ?? messageOf(error)}; is it an address of this machine?`,
    options,
  );
}
