/**
 * What both ends of a connection look like to the rest of dfs: typed requests, typed notices, one closing reason.
 * `connection.ts` implements it over a ByteStream; nothing above this line ever sees a socket or a frame.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { DfsError } from "../base/errors.ts";
import type { FilePart, FileParts } from "../base/file-part.ts";
import type { ClusterId, IncarnationId, InstanceId, ReignId, ServerId } from "../base/ids.ts";
import type { NoticeDefinition, Question, RequestDefinition } from "./message.ts";

/** What a process is in the cluster. `data` is also the role of a data server that calls another one. */
export type Role = "client" | "meta" | "data";

/** Who is at the other end, as its hello said and, when the cluster has a key, proved. */
export interface PeerIdentity {
  readonly role: Role;
  /** Undefined for a client or new data server that has not been told its cluster yet. */
  readonly cluster: ClusterId | undefined;
  /** Undefined unless the role is `data` and the server has been given its id. */
  readonly server: ServerId | undefined;
  /** This life of a data server's directory; undefined for other roles. */
  readonly incarnation: IncarnationId | undefined;
  /** This run of a data server; undefined for other roles. */
  readonly instance: InstanceId | undefined;
  /** The reign of a metadata service, or the last one that a data server has served. */
  readonly reign: ReignId | undefined;
  /** A short name for logs, for example `dfs put, pid 4711`. */
  readonly label: string;
}

export interface RequestOptions {
  /** The bulk bytes, when the definition says that the request carries them. They must not change until the reply. */
  readonly bulk?: Uint8Array;
  /** Fails with `timeout` when no reply has come after this many milliseconds. */
  readonly timeoutMs: number;
  /** Fails with `cancelled` when aborted. The peer may still execute the request. */
  readonly signal?: CancelSignal | undefined;
}

export interface Answer<Reply> {
  readonly body: Reply;
  /**
   * The bulk bytes of the reply; empty when the definition has none. The receiver owns them. They may lie in a larger
   * buffer, which they keep in memory: copy what is kept for long.
   */
  readonly bulk: Uint8Array;
  /**
   * Optional: gives the memory of a long answer back, for later ones. After that nobody may look at `bulk`, or at bytes in
   * `body`.
   */
  readonly release: () => void;
}

/** A connection whose hello has succeeded. */
export interface Peer {
  readonly identity: PeerIdentity;
  /** The remote address, for logs. */
  readonly address: string;
  /** False from the moment that the connection has ended. */
  readonly open: boolean;
  /** Resolves with the reason when the connection has ended. Never rejects. */
  readonly closed: Promise<DfsError>;
  /**
   * Sends a request and waits for its reply. Many may be in flight; replies come in any order.
   * @throws DfsError the peer's error, or `timeout`, `cancelled`, `unreachable` (the connection ended first).
   */
  request<Request, Reply>(
    definition: Question<Request, Reply>,
    body: Request,
    options: RequestOptions,
  ): Promise<Answer<Reply>>;
  /** Sends a notice; dropped when the connection has ended. */
  notify<Body>(definition: NoticeDefinition<Body>, body: Body): void;
  /** Ends the connection; what was queued before is still sent. Requests in flight fail with `unreachable`. */
  close(reason: string): void;
}

/** A request as its handler sees it. */
export interface Incoming<Request> {
  readonly body: Request;
  /** The bulk bytes; empty when the definition has none. The handler owns them; they may lie in a larger buffer. */
  readonly bulk: Uint8Array;
  /** Optional: gives the memory of a long request back, as that of an Answer. The handler may still be at work. */
  readonly release: () => void;
  readonly peer: Peer;
}

/** Bulk bytes to be sent: in memory, or where they lie in files. */
export type Bulk = Uint8Array | FilePart | FileParts;

/** What a handler answers with. Throwing a DfsError answers with that error. */
export interface HandlerReply<Reply> {
  readonly body: Reply;
  /** The bulk bytes, when the definition says that the reply carries them. They must not change until `sent`. */
  readonly bulk?: Bulk;
  /** Called once, when `bulk` has been sent or is not needed any more; its buffer may be used again. Must not throw. */
  readonly sent?: () => void;
}

export type RequestHandler<Request, Reply> = (
  incoming: Incoming<Request>,
) => HandlerReply<Reply> | Promise<HandlerReply<Reply>>;

export type NoticeHandler<Body> = (body: Body, peer: Peer) => void;

/** The handlers of one end. A request without handler is answered with `unsupported`. */
export interface Handlers {
  onRequest<Request, Reply>(
    definition: RequestDefinition<Request, Reply>,
    handler: RequestHandler<Request, Reply>,
  ): void;
  onNotice<Body>(definition: NoticeDefinition<Body>, handler: NoticeHandler<Body>): void;
}
