/**
 * The first messages on every connection. Codes 0x00xx.
 *
 * The side that opened the connection sends `hello`; the listener answers with who it is. When the cluster has a key,
 * the answer carries the listener's proof that it knows the key, and the caller sends its own with `auth`. What the
 * proofs cover is in authentication.ts; who refuses whom and why is in handshake.ts.
 */
import { nothing, request } from "../message.ts";
import { bytes, choice, optional, record, text, uint, type Infer } from "../schema.ts";
import { incarnationField, instanceField, reignField, serverField } from "./common.ts";

/** Version of the protocol that this build speaks. Raised when a message changes in a way that old ends cannot ignore. */
export const PROTOCOL_VERSION = 1;

/** Oldest version that this build still speaks. */
export const MIN_PROTOCOL_VERSION = 1;

export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;
export const MAX_LABEL = 200;

export const roleField = choice({ client: 1, meta: 2, data: 3 });

const nonceField = bytes(NONCE_BYTES, NONCE_BYTES);
const proofField = bytes(PROOF_BYTES, PROOF_BYTES);

const identityFields = {
  role: roleField,
  /** Null from a client or new data server that has not been told its cluster yet. */
  cluster: optional(bytes(16, 16)),
  /** These three of a data server; null when it has none yet, and from other roles. */
  server: optional(serverField),
  incarnation: optional(incarnationField),
  instance: optional(instanceField),
  /** The reign of a metadata service, or the last one that a data server has served. */
  reign: optional(reignField),
  /** A short name for logs. */
  label: text(MAX_LABEL),
  /** Random bytes, new for each connection. */
  nonce: nonceField,
};

/** Must be the first message, and is allowed once. */
export const hello = request(
  0x0001,
  "hello",
  record({
    /** Newest and oldest version that the caller speaks. */
    version: uint(),
    minVersion: uint(),
    ...identityFields,
    /** The data server that the caller means to reach. Another one answers `wrongPeer`. */
    expectedServer: optional(serverField),
  }),
  record({
    /** The version that both will speak. */
    version: uint(),
    ...identityFields,
    /** Null when the listener has no cluster key. */
    proof: optional(proofField),
  }),
);
export type HelloRequest = Infer<typeof hello.request>;
export type HelloReply = Infer<typeof hello.reply>;

/** The caller's proof; the connection is of no use before it has been accepted. Only when there is a cluster key. */
export const auth = request(0x0002, "auth", record({ proof: proofField }), nothing);

/** True for the codes of this file. */
export function isHandshakeCode(code: number): boolean {
  return code === hello.code || code === auth.code;
}
