/**
 * Proofs that an end of a connection knows the cluster key.
 *
 * A proof is the HMAC-SHA256 (RFC 2104), under the key, of a transcript: everything that both sides said in their hellos,
 * in a fixed layout of big-endian integers, behind a direction byte. Both nonces are in it, so an old proof fits no
 * new connection; the direction is in it, so that a proof cannot be sent back to its maker; all that was said is in it,
 * so that nobody can have changed an identity on the way. It does not protect what follows: that is what TLS is for.
 *
 *     "dfs-auth-1"                      10 bytes of ASCII
 *     direction                         1 byte: 1 the listener proves, 2 the caller proves
 *     caller: version, minVersion       4 bytes each
 *     caller: expectedServer            4 bytes, 0 for null
 *     listener: version                 4 bytes
 *     identity of the caller, identity of the listener, each:
 *       role                            1 byte, its number
 *       cluster                         16 bytes, zeros for null
 *       server                          4 bytes, 0 for null
 *       incarnation, instance, reign    8 bytes each, 0 for null
 *       nonce                           32 bytes
 *       length of the label             2 bytes
 *       label                           UTF-8
 */
import { DfsError } from "../base/errors.ts";
import type { HelloReply, HelloRequest } from "./messages/hello.ts";
import { roleField } from "./messages/hello.ts";

/** Shortest key that is accepted, in bytes. */
export const MIN_KEY_BYTES = 16;

/** Who proves. */
export type Direction = "listener" | "caller";

const CONTEXT = "dfs-auth-1";
const DIRECTIONS: Readonly<Record<Direction, number>> = { listener: 1, caller: 2 };

/** The proof for one direction of one hello, under `key`. */
export function makeProof(
  key: Uint8Array,
  direction: Direction,
  request: HelloRequest,
  reply: HelloReply,
): Uint8Array {
  // Not node:crypto: it loads Node's streams, and every process that speaks the protocol would pay for that.
  const mac = new Bun.CryptoHasher("sha256", key).update(transcript(direction, request, reply));
  return Uint8Array.from(mac.digest());
}

/** True when `proof` is the one that `makeProof` makes. Takes the same time wherever they differ. */
export function isProof(
  proof: Uint8Array,
  key: Uint8Array,
  direction: Direction,
  request: HelloRequest,
  reply: HelloReply,
): boolean {
  const wanted = makeProof(key, direction, request, reply);
  return proof.length === wanted.length && crypto.timingSafeEqual(proof, wanted);
}

/** @throws DfsError `invalid` for a key that is too short to keep anybody out. */
export function checkKey(key: Uint8Array | undefined): void {
  if (key === undefined || key.length >= MIN_KEY_BYTES) return;
  throw new DfsError(
    "invalid",
    `cannot use a cluster key of ${key.length} bytes: it needs at least ${MIN_KEY_BYTES} random bytes`,
  );
}

/** The bytes that a proof covers. */
export function transcript(
  direction: Direction,
  request: HelloRequest,
  reply: HelloReply,
): Uint8Array {
  return Buffer.concat([
    Buffer.from(CONTEXT, "ascii"),
    Buffer.from([DIRECTIONS[direction]]),
    uint32(request.version),
    uint32(request.minVersion),
    uint32(request.expectedServer ?? 0),
    uint32(reply.version),
    identityBytes(request),
    identityBytes(reply),
  ]);
}

function identityBytes(side: HelloRequest | HelloReply): Uint8Array {
  const label = Buffer.from(side.label, "utf8");
  return Buffer.concat([
    Buffer.from([Number(roleField.encode(side.role))]),
    side.cluster ?? new Uint8Array(16),
    uint32(side.server ?? 0),
    uint64(side.incarnation ?? 0n),
    uint64(side.instance ?? 0n),
    uint64(side.reign ?? 0n),
    side.nonce,
    Buffer.from([label.length >> 8, label.length & 0xff]),
    label,
  ]);
}

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}
