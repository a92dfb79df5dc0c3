/**
 * What the two ends of a new connection require of each other, and what a refused one is told.
 */
import { DfsError } from "../base/errors.ts";
import type { ClusterId, IncarnationId, ServerId } from "../base/ids.ts";
import { isProof } from "./authentication.ts";
import { clusterIdOf } from "./messages/common.ts";
import {
  MIN_PROTOCOL_VERSION,
  PROTOCOL_VERSION,
  type HelloReply,
  type HelloRequest,
} from "./messages/hello.ts";
import type { PeerIdentity, Role } from "./peer.ts";

/** Whom the caller means to reach. What is not given is not checked. */
export interface Expectation {
  readonly role: Role;
  readonly cluster?: ClusterId;
  readonly server?: ServerId;
  readonly incarnation?: IncarnationId;
}

/** Who spoke this side of a hello. */
export function identityOf(side: HelloRequest | HelloReply): PeerIdentity {
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

/** The newest version that both this build and the sender of the hello `item` speak. Looks at two fields only. */
export function commonVersion(item: unknown): number {
  const [newest, oldest] = Array.isArray(item) ? (item as unknown[]) : [];
  if (typeof newest !== "number" || typeof oldest !== "number") {
    throw new DfsError("protocol", "the peer sent a hello without versions");
  }
  const version = Math.min(newest, PROTOCOL_VERSION);
  if (version < MIN_PROTOCOL_VERSION || version < oldest) {
    throw wrongVersion(`${oldest} to ${newest}`);
  }
  return version;
}

/** Refuses an end of another cluster. One that has none yet fits every cluster. */
export function checkClusters(
  caller: ClusterId | undefined,
  listener: ClusterId | undefined,
): void {
  if (caller === undefined || listener === undefined || caller === listener) return;
  throw new DfsError(
    "wrongCluster",
    `wrong cluster: the caller belongs to ${caller}, the server to ${listener}; check the address`,
    { details: { caller, listener } },
  );
}

/** Refuses a caller that means another data server than `own`. */
export function checkExpectedServer(expected: ServerId | null, own: ServerId | undefined): void {
  if (expected !== null && expected !== own) throw wrongServer(expected, own);
}

/** The caller's check of what the listener at `address` has answered, but for the proof. */
export function checkListener(
  address: string,
  own: PeerIdentity,
  expect: Expectation,
  reply: HelloReply,
): void {
  if (reply.version < MIN_PROTOCOL_VERSION || reply.version > PROTOCOL_VERSION) {
    throw wrongVersion(String(reply.version));
  }
  const listener = identityOf(reply);
  checkClusters(expect.cluster ?? own.cluster, listener.cluster);
  checkExpectation(address, expect, listener);
}

/** The caller's check that the listener at `address` knows the same key, or none as well. */
export function checkListenerProof(
  address: string,
  key: Uint8Array | undefined,
  request: HelloRequest,
  reply: HelloReply,
): void {
  const { proof } = reply;
  if (key === undefined && proof !== null) {
    throw new DfsError(
      "unauthorized",
      `${address} wants the cluster key and none was given; name its file with --key-file or DFS_KEY_FILE`,
    );
  }
  if (key !== undefined && proof === null) {
    throw new DfsError(
      "unauthorized",
      `${address} has no cluster key, but one was given; start that server with the key, or leave it out here`,
    );
  }
  if (key !== undefined && proof !== null && !isProof(proof, key, "listener", request, reply)) {
    throw wrongKey();
  }
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
    throw wrongServer(expect.server, listener.server);
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

function wrongServer(wanted: ServerId, actual: ServerId | undefined): DfsError {
  return new DfsError(
    "wrongPeer",
    `this is ${actual === undefined ? "no data server with an id" : `data server ${actual}`}, not ${wanted}; ask for its address again`,
  );
}

export function wrongKey(): DfsError {
  return new DfsError(
    "unauthorized",
    "the cluster keys differ: both sides must be given the same key file",
  );
}
