/**
 * The hello: who is at the other end, do both speak one version, belong to one cluster, know one key?
 *
 * The caller speaks first. The listener checks version, cluster and the server that is meant, in this order, then lets
 * its owner veto. With a key the listener proves itself first, the caller second, and the owner is asked after that.
 * Whoever refuses says why: the listener with an error as its answer, after which it ends the connection.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import { MAX_HELLO_FRAME_BYTES } from "../base/limits.ts";
import type { Random } from "../base/random.ts";
import { isProof, makeProof } from "./authentication.ts";
import { decodeBody, encodeHead, FRAME_KINDS, type Frame } from "./cbor.ts";
import type { Connection, Gate } from "./connection.ts";
import type { ConnectionLog } from "./connection-log.ts";
import { encodeError } from "./error-body.ts";
import {
  checkClusters,
  checkExpectedServer,
  checkListener,
  checkListenerProof,
  commonVersion,
  identityOf,
  wrongKey,
  type Expectation,
} from "./identity-checks.ts";
import type { RequestDefinition } from "./message.ts";
import { clusterIdBytes } from "./messages/common.ts";
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
import type { Peer, PeerIdentity } from "./peer.ts";

/** A stranger that has not finished its hello after this long is sent away. */
export const HELLO_TIMEOUT_MS = 5_000;

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
  readonly log: ConnectionLog;
}

/** Longest text of a refusal that would not fit otherwise: four bytes a character fit a hello's frame. */
const MAX_REFUSAL_CHARACTERS = 1000;

/** How much longer a frame gets by a large request number. */
const MAX_ID_BYTES = 4;

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
    checkListener(connection.address, options.identity, options.expect, reply);
    checkListenerProof(connection.address, options.key, request, reply);
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
    const item = decodeBody(frame);
    const version = commonVersion(item); // before the rest, which another version may have changed
    const request = hello.request.decode(item);
    const own = this.options.identity();
    checkClusters(identityOf(request).cluster, own.cluster);
    checkExpectedServer(request.expectedServer, own.server);
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
    this.options.log.refused(connection.address, told, this.request?.label);
    connection.incoming.answerError(frame, fittingHello(error));
    connection.close(told);
  }
}

/** The error as it may be told to an end that takes no long frames yet. */
function fittingHello(error: unknown): unknown {
  const { code, body } = encodeError(error);
  const head = encodeHead(FRAME_KINDS.error, 0, code, body);
  if (!isDfsError(error) || head.length + MAX_ID_BYTES <= MAX_HELLO_FRAME_BYTES) return error;
  return new DfsError(error.kind, error.message.slice(0, MAX_REFUSAL_CHARACTERS));
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
