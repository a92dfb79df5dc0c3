/**
 * What a message is: a request with its reply, or a notice without one. The definitions themselves are in `messages/`,
 * one file per pair of speakers; `docs/protocol.md` says the same in prose.
 */
import { id, record, uint63, type RecordSchema } from "./schema.ts";
import type { Lsn } from "../base/ids.ts";

/** Where bulk bytes travel: as the last element of the request, of the reply, or not at all. */
export type Bulk = "none" | "request" | "reply";

/** A request and its reply. */
export interface RequestDefinition<Request, Reply> {
  /** Frozen number of the message on the wire. */
  readonly code: number;
  /** Dotted name, as in docs/protocol.md. */
  readonly name: string;
  readonly request: RecordSchema<Request>;
  readonly reply: RecordSchema<Reply>;
  readonly bulk: Bulk;
}

/** An unsolicited message that expects no answer. */
export interface NoticeDefinition<Body> {
  readonly code: number;
  readonly name: string;
  readonly body: RecordSchema<Body>;
}

/**
 * How a reply is understood: by its decoded items; or by reading its body, checked bytes from `at` on, in place, so that not every
 * part of a long one is made into an object.
 */
export type ReplyDecoder<Reply> =
  { decode(item: unknown): Reply } | { read(bytes: Uint8Array, at: number): Reply };

/** What who makes a request needs of its definition. */
export type Question<Request, Reply> = Pick<
  RequestDefinition<Request, Reply>,
  "code" | "name" | "request" | "bulk"
> & { readonly reply: ReplyDecoder<Reply> };

export type RequestOf<D> =
  D extends RequestDefinition<infer Request, infer _Reply> ? Request : never;
export type ReplyOf<D> = D extends RequestDefinition<infer _Request, infer Reply> ? Reply : never;

/** Defines a request that may be sent again without harm: it changes nothing, or changing twice is changing once. */
export function request<Request, Reply>(
  code: number,
  name: string,
  requestFields: RecordSchema<Request>,
  replyFields: RecordSchema<Reply>,
  bulk: Bulk = "none",
): RequestDefinition<Request, Reply> {
  return { code, name, request: requestFields, reply: replyFields, bulk };
}

/** Defines a notice. */
export function notice<Body>(
  code: number,
  name: string,
  body: RecordSchema<Body>,
): NoticeDefinition<Body> {
  return { code, name, body };
}

export const lsnField = id<Lsn>("lsn");

/**
 * What every request that changes the namespace starts with. The service keeps the reply under (session, operation) in
 * the same transaction as the change, answers a repeated operation with the stored reply, and forgets the replies of
 * all operations up to `acknowledged`.
 */
export const mutationHead = {
  /** Rises by one with each operation of a session, from 1. */
  operation: uint63,
  /** All operations up to this one have been answered, as far as the client has seen. */
  acknowledged: uint63,
};

/** What every reply to such a request starts with: the log position at which the change became durable. */
export const mutationReplyHead = { lsn: lsnField };

export interface MutationHead {
  readonly operation: bigint;
  readonly acknowledged: bigint;
}

/** A record without fields. */
export const nothing = record({});
