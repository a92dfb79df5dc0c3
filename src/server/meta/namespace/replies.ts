/** Replies as bytes, for the table of replies: CBOR of [message code, reply]. */
import { Encoder } from "cbor-x/encode";
import { assert } from "../../../base/errors.ts";
import type { RequestDefinition } from "../../../protocol/message.ts";

const codec = new Encoder({ useRecords: false, tagUint8Array: false, copyBuffers: true });

/** The bytes to keep. */
export function encodeReply<Reply>(
  definition: RequestDefinition<unknown, Reply>,
  reply: Reply,
): Uint8Array {
  return codec.encode([definition.code, definition.reply.encode(reply)]);
}

/** The reply that was kept; undefined when it is that of another kind of operation. */
export function decodeReply<Reply>(
  definition: RequestDefinition<unknown, Reply>,
  bytes: Uint8Array,
): Reply | undefined {
  const item: unknown = codec.decode(bytes);
  assert(Array.isArray(item) && item.length === 2, "a stored reply is not a pair");
  return item[0] === definition.code ? definition.reply.decode(item[1]) : undefined;
}
