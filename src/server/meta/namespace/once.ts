/**
 * Changes are executed once, however often they are sent.
 *
 * The reply is stored under (session, operation number) in the transaction of the change; a repeated request is answered
 * with it. The client says up to which operation it has seen all replies, and those are forgotten. A change that fails
 * leaves nothing behind, not even a reply: sent again it is simply executed. That is safe because requests are accepted
 * on one connection of a session only, so that an older copy cannot arrive after a newer one.
 */
import { DfsError } from "../../../base/errors.ts";
import { lsn, type Lsn } from "../../../base/ids.ts";
import type { MutationHead, RequestDefinition } from "../../../protocol/message.ts";
import type { Session } from "../store/rows.ts";
import { ask, type Operation } from "../store/store.ts";
import type { OperationContext } from "./context.ts";
import { decodeReply, encodeReply } from "./replies.ts";

/** Replies are forgotten in batches, to save a write in most operations. */
const TRIM_EVERY = 16n;

/** And not more than so many at once: a client may have let many pile up. The rest follows with the next. */
const TRIM_AT_ONCE = 4096;

/** The log position is not known inside the transaction; whoever answers fills it in. */
const UNKNOWN_LSN = lsn(0n);

/**
 * Executes `operation` or finds the reply of its first execution.
 * @throws DfsError `stale` when the session is not live, `outcomeUnknown` when the reply was forgotten, `protocol` when
 * the number belongs to an operation of another kind; and what `operation` throws.
 */
export function* executeOnce<Reply extends { lsn: Lsn }>(
  context: OperationContext,
  head: MutationHead,
  // oxlint-disable-next-line no-explicit-any -- the request's type does not matter here
  definition: RequestDefinition<any, Reply>,
  operation: () => Operation<Omit<Reply, "lsn">>,
): Operation<Omit<Reply, "lsn">> {
  const session = yield* liveSession(context);
  const stored = yield* ask("reply.get", context.session, head.operation);
  if (stored !== undefined) {
    const reply = decodeReply(definition, stored);
    if (reply === undefined) throw reused(head, definition.name);
    return reply;
  }
  if (head.operation <= session.acknowledged) throw forgotten(head);
  if (head.acknowledged >= head.operation) throw badAcknowledgement(head);
  yield* forgetReplies(session, head.acknowledged);
  const reply = yield* operation();
  const full = { ...reply, lsn: UNKNOWN_LSN } as Reply;
  yield* ask("reply.insert", context.session, head.operation, encodeReply(definition, full));
  return reply;
}

/** Forgets the replies up to `acknowledged`, when that is worth a write, or the first of them when they are many. */
export function* forgetReplies(
  session: Session,
  acknowledged: bigint,
  every: bigint = TRIM_EVERY,
): Operation<void> {
  if (acknowledged < session.acknowledged + every) return;
  let upTo = acknowledged;
  if (acknowledged - session.acknowledged > TRIM_AT_ONCE) {
    const last = yield* ask("reply.nth", session.id, TRIM_AT_ONCE);
    if (last !== undefined && last < upTo) upTo = last;
  }
  yield* ask("reply.trim", session.id, upTo);
  yield* ask("session.setAcknowledged", session.id, upTo);
}

/**
 * The session of an operation.
 * @throws DfsError `stale` when it has ended.
 */
export function* liveSession(context: Pick<OperationContext, "session">): Operation<Session> {
  const session = yield* ask("session.get", context.session);
  if (session?.state !== "live") {
    throw new DfsError(
      "stale",
      `session ${context.session} has ended; open a new one and try again`,
    );
  }
  return session;
}

function forgotten(head: MutationHead): DfsError {
  return new DfsError(
    "outcomeUnknown",
    `operation ${head.operation} was answered and acknowledged before; its reply has been forgotten`,
  );
}

function reused(head: MutationHead, name: string): DfsError {
  return new DfsError(
    "protocol",
    `operation ${head.operation} was another one before, not ${name}`,
  );
}

function badAcknowledgement(head: MutationHead): DfsError {
  return new DfsError(
    "protocol",
    `operation ${head.operation} acknowledges itself or later ones (${head.acknowledged})`,
  );
}
