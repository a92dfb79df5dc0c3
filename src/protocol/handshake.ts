/**
 * The hello: who is at the other end, do both speak one version, belong to one cluster, know one key?
 *
 * The caller speaks first. The listener checks version, cluster and the server that is meant, in this order, then lets
 * its owner veto. With a key the listener proves itself first, the caller second, and the owner is asked after that.
 * Whoever refuses says why: the listener with an error as its answer, after which it ends the connection.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import type { ClusterId, IncarnationId, ServerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import { isProof, makeProof } from "./authentication.ts";
import { decodeBody, type Frame } from "./cbor.ts";
import type { Connection, Gate } from "./connection.ts";
import type { RequestDefinition } from "./message.ts";
import { clusterIdBytes, clusterIdOf } from "./messages/common.ts";
import {
  auth,
  hello,
  MAX_LABEL,
  MIN_PROTOCOL_VERSION,
  NONCE_BYTES,
  PROTOCOL_VERSION,
  type HelloReply,
  type HelloRequest,
} from "./messages/hello.ts";
import type { Peer, PeerIdentity, Role } from "./peer.ts";

/** A stranger that has not finished its hello after this long is sent away. */
export const HELLO_TIMEOUT_MS = 5_000;

/** Whom the caller means to reach. What is not given is not checked. */
export interface Expectation {
  readonly role: Role;
  readonly cluster?: ClusterId;
  readonly server?: ServerId;
  readonly incarnation?: IncarnationId;
}

export interface CallerOptions {
  readonly identity: PeerIdentity;
  readonly expect: Expectation;
  readonly key: Uint8Array | undefined;
  readonly random: Random;
}

export interface ListenerOptions {
  readonly identity: () => PeerIdentity;
  readonly key: Uint8Array | undefined;
  readonly accept: (peer: Peer) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The gate of a connection that this end opened: the listener has nothing to ask before it has answered. */
export const callerGate: Gate = {
  onRequest: () => {
    throw new DfsError("protocol", "the listener sent a request before the hello, or a hello");
  },
};

/**
 * Says hello on a fresh connection and admits it. When it fails, the connection is closed.
 * @throws DfsError `unauthorized`, `wrongCluster`, `wrongPeer`, `unsupported`, `timeout`, `unreachable`, `protocol`.
 */
export function greet(
  connection: Connection,
  options: CallerOptions,
  timeoutMs: number,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (error: unknown): void => {
    connection.close(messageOf(error));
    reject(error);
  };
  const admit = (reply: HelloReply): void => {
    connection.admit(identityOf(reply));
    connection.release();
    resolve();
  };
  const request = helloRequest(options);
  const onReply = (reply: HelloReply): void => {
    checkReply(connection.address, options, request, reply);
    if (options.key === undefined) return admit(reply);
    const proof = makeProof(options.key, "caller", request, reply);
    connection.call(auth, { proof }, { timeoutMs }, () => admit(reply), fail);
  };
  connection.call(
    hello,
    request,
    { timeoutMs },
    ({ body }) => {
      try {
        onReply(body);
      } catch (error) {
        fail(error);
      }
    },
    fail,
  );
  return promise;
}

/** The gate of an accepted connection: takes the hello, and the proof when there is a key. */
export class ListenerGate implements Gate {
  private readonly options: ListenerOptions;
  private connection: Connection | undefined;
  private state: "hello" | "auth" | "done" = "hello";
  private request: HelloRequest | undefined;
  private reply: HelloReply | undefined;
  private deadline: Timer | undefined;

  constructor(options: ListenerOptions) {
    this.options = options;
  }

  /** Starts waiting for the hello. */
  watch(connection: Connection): void {
    this.connection = connection;
    this.deadline = this.options.clock.setTimer(
      HELLO_TIMEOUT_MS,
      () => connection.fail(new DfsError("timeout", `no hello within ${HELLO_TIMEOUT_MS} ms`)),
      { background: true },
    );
    void connection.closed.then(() => this.deadline?.cancel());
  }

  onRequest(frame: Frame): void {
    const wanted = this.state === "hello" ? hello : auth;
    if (this.state === "done" || frame.code !== wanted.code || frame.bulk !== undefined) {
      throw new DfsError(
        "protocol",
        this.state === "done"
          ? "the peer said hello twice"
          : `the peer sent no ${wanted.name} first`,
      );
    }
    this.connection!.incoming.register(frame);
    try {
      if (this.state === "hello") this.onHello(frame);
      else this.onAuth(frame);
    } catch (error) {
      this.refuse(frame, error);
    }
  }

  private onHello(frame: Frame): void {
    const request = hello.request.decode(decodeBody(frame));
    const own = this.options.identity();
    const version = commonVersion(request);
    checkClusters(request.cluster, own.cluster);
    if (request.expectedServer !== null && request.expectedServer !== own.server) {
      throw wrongServer(request.expectedServer, own.server ?? null);
    }
    const unproved = { version, ...identityBody(own, this.options.random), proof: null };
    const { key } = this.options;
    const proof = key === undefined ? null : makeProof(key, "listener", request, unproved);
    this.request = request;
    this.reply = { ...unproved, proof };
    if (key === undefined) {
      this.finish(frame, hello, this.reply);
    } else {
      this.state = "auth";
      this.answer(frame, hello, this.reply);
    }
  }

  private onAuth(frame: Frame): void {
    const { proof } = auth.request.decode(decodeBody(frame));
    if (!isProof(proof, this.options.key!, "caller", this.request!, this.reply!)) throw wrongKey();
    this.finish(frame, auth, {});
  }

  /** Admits the peer, asks the owner, and only then gives the last answer; what the owner sent follows it. */
  private finish<Request, Reply>(
    frame: Frame,
    definition: RequestDefinition<Request, Reply>,
    body: Reply,
  ): void {
    const connection = this.connection!;
    this.state = "done";
    this.deadline?.cancel();
    connection.admit(identityOf(this.request!));
    this.options.accept(connection);
    this.answer(frame, definition, body);
    connection.release();
  }

  private answer<Request, Reply>(
    frame: Frame,
    definition: RequestDefinition<Request, Reply>,
    body: Reply,
  ): void {
    this.connection!.incoming.answer(frame, definition, { body });
  }

  private refuse(frame: Frame, error: unknown): void {
    const connection = this.connection!;
    const told = isDfsError(error) ? error.message : `internal error: ${messageOf(error)}`;
    this.options.logger.warn(`refused the connection from ${connection.address}: ${told}`, {
      peer: this.request?.label,
    });
    connection.incoming.answerError(frame, error);
    connection.close(told);
  }
}

function helloRequest(options: CallerOptions): HelloRequest {
  return {
    version: PROTOCOL_VERSION,
    minVersion: MIN_PROTOCOL_VERSION,
    ...identityBody(options.identity, options.random),
    expectedServer: options.expect.server ?? null,
  };
}

function identityBody(
  identity: PeerIdentity,
  random: Random,
): Omit<HelloReply, "version" | "proof"> {
  return {
    role: identity.role,
    cluster: identity.cluster === undefined ? null : clusterIdBytes(identity.cluster),
    server: identity.server ?? null,
    incarnation: identity.incarnation ?? null,
    instance: identity.instance ?? null,
    reign: identity.reign ?? null,
    label: identity.label.slice(0, MAX_LABEL).toWellFormed(),
    nonce: random.bytes(NONCE_BYTES),
  };
}

function identityOf(side: HelloRequest | HelloReply): PeerIdentity {
  return {
    role: side.role,
    cluster: side.cluster === null ? undefined : clusterIdOf(side.cluster),
    server: side.server ?? undefined,
    incarnation: side.incarnation ?? undefined,
    instance: side.instance ?? undefined,
    reign: side.reign ?? undefined,
    label: side.label,
  };
}

/** The newest version that both speak. */
function commonVersion(request: HelloRequest): number {
  const version = Math.min(request.version, PROTOCOL_VERSION);
  if (version < MIN_PROTOCOL_VERSION || version < request.minVersion) {
    throw wrongVersion(`${request.minVersion} to ${request.version}`);
  }
  return version;
}

function checkClusters(theirs: Uint8Array | null, ours: ClusterId | undefined): void {
  if (theirs === null || ours === undefined || clusterIdOf(theirs) === ours) return;
  throw wrongCluster(clusterIdOf(theirs), ours);
}

function checkReply(
  address: string,
  options: CallerOptions,
  request: HelloRequest,
  reply: HelloReply,
): void {
  const { key, expect, identity } = options;
  if (reply.version < MIN_PROTOCOL_VERSION || reply.version > PROTOCOL_VERSION) {
    throw wrongVersion(String(reply.version));
  }
  const cluster = expect.cluster ?? identity.cluster;
  checkClusters(reply.cluster, cluster);
  const listener = identityOf(reply);
  checkExpectation(address, expect, listener);
  if (key === undefined && reply.proof !== null) {
    throw new DfsError(
      "unauthorized",
      `${address} wants the cluster key and none was given; pass the key file of the cluster`,
    );
  }
  if (key !== undefined && reply.proof === null) {
    throw new DfsError(
      "unauthorized",
      `${address} has no cluster key, but one was given; start that server with the key, or leave it out here`,
    );
  }
  if (key !== undefined && !isProof(reply.proof!, key, "listener", request, reply))
    throw wrongKey();
}

function checkExpectation(address: string, expect: Expectation, listener: PeerIdentity): void {
  if (listener.role !== expect.role) {
    throw new DfsError(
      "wrongPeer",
      `${address} is ${roleName(listener.role)}, not ${roleName(expect.role)}; check the address`,
    );
  }
  if (expect.cluster !== undefined && listener.cluster === undefined) {
    throw new DfsError("wrongPeer", `${address} does not belong to cluster ${expect.cluster} yet`);
  }
  if (expect.server !== undefined && listener.server !== expect.server) {
    throw wrongServer(expect.server, listener.server ?? null);
  }
  if (expect.incarnation !== undefined && listener.incarnation !== expect.incarnation) {
    throw new DfsError(
      "wrongPeer",
      `server ${expect.server ?? ""} at ${address} is in another life of its directory ` +
        `(${listener.incarnation ?? "none"}, expected ${expect.incarnation})`,
    );
  }
}

function roleName(role: Role): string {
  return { client: "a client", meta: "a metadata service", data: "a data server" }[role];
}

function wrongVersion(theirs: string): DfsError {
  const ours = `${MIN_PROTOCOL_VERSION} to ${PROTOCOL_VERSION}`;
  return new DfsError(
    "unsupported",
    `no common protocol version: one side speaks ${theirs}, the other ${ours}; use builds of one release`,
  );
}

function wrongCluster(caller: ClusterId, listener: ClusterId): DfsError {
  return new DfsError(
    "wrongCluster",
    `wrong cluster: the caller belongs to ${caller}, the server to ${listener}; check the address`,
    { details: { caller, listener } },
  );
}

function wrongServer(wanted: ServerId, actual: ServerId | null): DfsError {
  return new DfsError(
    "wrongPeer",
    `this is ${actual === null ? "no data server with an id" : `data server ${actual}`}, not ${wanted}; ask for its address again`,
  );
}

function wrongKey(): DfsError {
  return new DfsError(
    "unauthorized",
    "the cluster keys differ: both sides must be given the same key file",
  );
}
