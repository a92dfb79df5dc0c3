/**
 * The network seam: byte streams between addresses. `transports/tcp.ts` is the real one, `transports/memory.ts` lives
 * inside one process; a simulator is one more.
 *
 * A stream never buffers what it is given: `write` takes what fits and says how much, as a non-blocking socket does.
 */
import type { FilePart } from "../base/file-part.ts";

/** Where a server listens, as `host:port`. */
export type Address = string;

/** What the owner of a stream is told. All callbacks are made from the event loop, never from inside a call. */
export interface StreamEvents {
  /** Bytes have arrived. The chunk belongs to the receiver. */
  onData(chunk: Uint8Array): void;
  /** `write` accepted less than it was given, and there is room again. */
  onWritable(): void;
  /** The stream has ended, by either side or by an error. Called exactly once, last. */
  onClose(error: Error | undefined): void;
}

/** One end of an open stream. */
export interface ByteStream {
  /** For logs: `host:port` of the other end. */
  readonly remoteAddress: Address;
  /** Accepts some first part of `bytes`, copies it, and returns its length; -1 when the stream has ended. */
  write(bytes: Uint8Array): number;
  /**
   * Accepts some first bytes of what is left of a part of a file from `from` on, as `write` does, without copying them; they must not
   * change until they have been received. Streams need not have it. @throws DfsError `io` when the file cannot be read.
   */
  sendFile?(part: FilePart, from: number): number;
  /**
   * Takes what has arrived and was not handed out yet straight into `target`, from `offset` up to its end at most; returns how many
   * bytes, 0 when there are none now. Not to be called while the stream is paused. Streams need not have it.
   */
  receive?(target: Uint8Array, offset: number): number;
  /** No more `onData` until `resume`; the sender is slowed down. */
  pause(): void;
  resume(): void;
  /** Ends it after what was written has been delivered. */
  end(): void;
  /** Ends it now; what was written may be lost. */
  terminate(): void;
}

export interface Listener {
  /** The address it listens on, with the port that the system chose when 0 was asked for. */
  readonly address: Address;
  /** Accepts no more streams; open ones live on. */
  close(): void;
}

export interface Transport {
  /**
   * Opens a stream to `address`.
   * @throws DfsError `unreachable` when nobody listens there, `timeout` after `timeoutMs`.
   */
  connect(address: Address, events: StreamEvents, timeoutMs: number): Promise<ByteStream>;
  /**
   * Listens on `address`; `accept` is called for each stream and returns its owner.
   * @throws DfsError `locked` when the address is in use (naming the port), `invalid` when it cannot be listened on.
   */
  listen(address: Address, accept: (stream: ByteStream) => StreamEvents): Promise<Listener>;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}
