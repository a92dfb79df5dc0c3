/**
 * What is sent with a request, and what is made of its answer.
 */
import { assert, DfsError } from "../base/errors.ts";
import { decodeBody, FRAME_KINDS, type Frame } from "./cbor.ts";
import { decodeError } from "./error-body.ts";
import { frameMemory } from "./frame-memory.ts";
import type { Question, ReplyDecoder } from "./message.ts";
import type { Answer, RequestOptions } from "./peer.ts";

const NO_BYTES = new Uint8Array(0);

/** The bulk bytes that a request carries, or undefined when its definition has none. */
export function bulkOf<Request, Reply>(
  definition: Question<Request, Reply>,
  options: RequestOptions,
): Uint8Array | undefined {
  if (definition.bulk === "request") return options.bulk ?? NO_BYTES;
  assert(options.bulk === undefined, `${definition.name} takes no bulk bytes`);
  return undefined;
}

/** Ends a request with the frame that answers it: exactly one of `resolve` and `reject` is called. */
export function settle<Request, Reply>(
  definition: Question<Request, Reply>,
  frame: Frame,
  resolve: (answer: Answer<Reply>) => void,
  reject: (error: unknown) => void,
): void {
  let answer: Answer<Reply>;
  try {
    if (frame.kind === FRAME_KINDS.error) throw decodeError(frame.code, decodeBody(frame));
    if ((frame.bulk !== undefined) !== (definition.bulk === "reply")) {
      throw new DfsError("protocol", `${definition.name}: bulk bytes missing or not wanted`);
    }
    const body = understood(definition.reply, frame);
    const release = frameMemory.releaserOf(frame.buffer);
    answer = { body, bulk: frame.bulk ?? NO_BYTES, release };
  } catch (error) {
    reject(error);
    return;
  }
  resolve(answer);
}

function understood<Reply>(reply: ReplyDecoder<Reply>, frame: Frame): Reply {
  if ("read" in reply) return reply.read(frame.buffer, frame.bodyStart);
  return reply.decode(decodeBody(frame));
}
