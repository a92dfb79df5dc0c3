/**
 * The requests and notices that the peer has sent on one connection.
 *
 * Memory is bounded in three ways. While too many requests, or too many bytes of them, are unanswered, nothing more is
 * read from the peer. While more than MAX_QUEUED_BYTES wait to be sent to it, requests are parked instead of being
 * handled; they are not left unread, because two ends that both stopped reading would wait for each other forever. And
 * of requests whose replies carry bulk bytes, or are long otherwise, only a few are handled at a time: a peer that asks for
 * much at once must not make all others wait until that is done. What all connections of a listener hold together is bounded
 * as well (shared-memory.ts), and so are the long replies that are made for all of them at a time (long-replies.ts).
 */
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import {
  MAX_HEAD_BYTES,
  MAX_QUEUED_BYTES,
  MAX_RECEIVED_BYTES_IN_FLIGHT,
  MAX_REQUESTS_IN_FLIGHT,
} from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { decodeBody, encodeHead, FRAME_KINDS, type Frame } from "./cbor.ts";
import { encodeError } from "./error-body.ts";
import { frameMemory } from "./frame-memory.ts";
import type { HandlerTable, RequestEntry } from "./handlers.ts";
import type { Line, LongReplies } from "./long-replies.ts";
import type { RequestDefinition } from "./message.ts";
import type { HandlerReply, Peer } from "./peer.ts";
import type { SendQueue } from "./send-queue.ts";

/** Requests with bulk replies that are handled at a time: so many replies may be in memory before they are queued. */
export const MAX_BULK_REPLIES_IN_PROGRESS = 32;

/** Replies without bulk bytes that are being made at a time have about so many bytes, as far as the last ones tell. */
const REPLIES_IN_PROGRESS_BYTES = MAX_HEAD_BYTES / 2;

/** Of requests that nobody has asked before so many more are begun in each turn of the event loop. */
const BEGUN_UNKNOWN = 8;

/** However long they are, so many are handled at a time. */
const LEAST_IN_PROGRESS = 4;

/** How much the last reply counts when it is shorter than usual. */
const NEWEST_SHARE = 1 / 8;

/** What is kept for a request without an answer, besides its frame: about so many bytes, as measured. */
export const REQUEST_BYTES = 3072;

const NO_BYTES = new Uint8Array(0);

export interface IncomingOptions {
  readonly peer: Peer;
  readonly handlers: HandlerTable;
  readonly queue: SendQueue;
  readonly logger: Logger;
  /** Stops or goes on reading from the peer. */
  setReading(on: boolean): void;
  /** Requests without an answer have so many bytes more (or fewer: negative). */
  onHeld(bytes: number): void;
  /** Whether the peer is one of many, of whom none must keep the others waiting. */
  readonly isOneOfMany: boolean;
  /** Turns at long replies; left out: they are begun as they come. */
  readonly longReplies?: LongReplies | undefined;
  /** Calls back in a later turn of the event loop. */
  defer(callback: () => void): void;
  /** Runs work of this connection that others have called for; whatever it throws ends the connection, and not theirs. */
  guarded(work: () => void): void;
  /** May up to so many bytes be read in order to be sent? When not, `handleParked` is called later. */
  maySend(bytes: number): boolean;
  /** So many bytes more (or fewer: negative) are being read in order to be sent. */
  onPromised(bytes: number): void;
}

/** What is needed of a request to answer it: without the memory that its frame came in, which may be much larger. */
type Asked = Pick<Frame, "id" | "code">;

/** A request without an answer. */
interface Unanswered {
  readonly length: number;
  /** Its handler may use the memory of the frame after the connection has ended. */
  readonly hasBulk: boolean;
}

/** What a request that is handled has taken, and gives back. */
interface Begun {
  /** Bytes that are being read in order to be sent. */
  readonly promised: number;
  /** Where it was its turn, of replies that can be long. */
  readonly line: Line | undefined;
}

export class IncomingRequests {
  private readonly options: IncomingOptions;
  /** Requests without an answer by their number. */
  private readonly unanswered = new Map<number, Unanswered>();
  private unansweredBytes = 0;
  private bulkInProgress = 0;
  /** Requests without bulk reply that are being handled. */
  private inProgress = 0;
  /** How long their replies will be, as far as it is known. */
  private expectedBytes = 0;
  /** Those of which it is not known, and how many there may be. */
  private unknownInProgress = 0;
  private mostUnknown = BEGUN_UNKNOWN;
  private morePlanned = false;
  private parked: Frame[] = [];
  private reading = true;
  private ended = false;

  constructor(options: IncomingOptions) {
    this.options = options;
  }

  /** Handles, parks or refuses a request. @throws DfsError `protocol` when its id is that of an unanswered one. */
  onRequest(frame: Frame): void {
    this.register(frame);
    this.handleOrPark(frame);
    this.updateReading();
  }

  /** Counts a request as unanswered; it must be answered by `answer` or `answerError`. */
  register(frame: Frame): void {
    if (this.unanswered.has(frame.id)) {
      throw new DfsError(
        "protocol",
        `the peer used the number ${frame.id} for two requests at once`,
      );
    }
    const length = frame.length + REQUEST_BYTES;
    this.unanswered.set(frame.id, { length, hasBulk: frame.bulk !== undefined });
    this.hold(length);
  }

  /** Bytes of the requests without an answer. */
  get heldBytes(): number {
    return this.unansweredBytes;
  }

  /** True while nothing that the peer asked for is without an answer. */
  get idle(): boolean {
    return this.unanswered.size === 0;
  }

  /** Hands a notice to its handler; one without handler is of a newer version and ignored. */
  onNotice(frame: Frame): void {
    const { handlers, peer, logger } = this.options;
    const entry = handlers.notice(frame.code);
    if (entry === undefined) {
      logger.debug(`ignored a notice with the unknown code ${frame.code}`, { peer: peer.address });
      return;
    }
    const body = entry.definition.body.decode(decodeBody(frame));
    const { name } = entry.definition;
    try {
      const result: unknown = entry.handler(body, peer);
      if (result instanceof Promise) {
        result.catch((error: unknown) => this.logFailure(name, error));
      }
    } catch (error) {
      this.logFailure(name, error);
    }
  }

  /** Handles parked requests, as far as that is possible again. */
  handleParked(): void {
    if (this.parked.length === 0) return;
    this.options.guarded(() => {
      for (const frame of this.parked.splice(0)) {
        // An answer makes room to read, and what is read then can end the connection.
        if (this.ended) this.drop(frame);
        else this.handleOrPark(frame);
      }
      this.updateReading();
    });
  }

  /** Queues the reply to a registered request. Returns how many bytes it has, without bulk bytes. */
  answer(
    asked: Asked,
    definition: RequestDefinition<unknown, unknown>,
    reply: HandlerReply<unknown>,
  ): number {
    let head: Uint8Array;
    const bulk = definition.bulk === "reply" ? (reply.bulk ?? NO_BYTES) : undefined;
    try {
      if (bulk === undefined && reply.bulk !== undefined) {
        throw new DfsError("internal", `internal error: ${definition.name} has no bulk reply`);
      }
      const body = definition.reply.encode(reply.body);
      head = encodeHead(FRAME_KINDS.reply, asked.id, 0, body, bulk?.length);
      this.learn(asked.code, head.length);
    } catch (error) {
      reply.sent?.();
      this.logFailure(definition.name, error);
      return this.answerError(asked, error);
    }
    if (this.finish(asked)) this.options.queue.push(head, bulk, reply.sent);
    else reply.sent?.();
    return head.length;
  }

  /** Queues an error as the answer to a registered request. Returns how many bytes it has. */
  answerError(asked: Asked, error: unknown): number {
    const { code, body } = encodeError(error);
    const head = encodeHead(FRAME_KINDS.error, asked.id, code, body);
    if (this.finish(asked)) this.options.queue.push(head);
    return head.length;
  }

  /** The connection has ended: nothing is handled or answered any more. */
  end(): void {
    this.ended = true;
    this.options.longReplies?.forget(this);
    for (const frame of this.parked.splice(0)) this.drop(frame);
    for (const [id, { hasBulk }] of this.unanswered) if (!hasBulk) this.forget(id);
  }

  /** Takes a request off the books. Returns false when the connection has ended since. */
  private finish({ id }: Asked): boolean {
    this.forget(id);
    if (this.ended) return false;
    this.updateReading();
    return true;
  }

  private forget(id: number): void {
    const request = this.unanswered.get(id);
    if (request === undefined) return;
    this.unanswered.delete(id);
    this.hold(-request.length);
  }

  private hold(bytes: number): void {
    this.unansweredBytes += bytes;
    this.options.onHeld(bytes);
  }

  /** Handles a request, now or when what is needed for that is there. */
  private handleOrPark(frame: Frame): void {
    const { handlers, queue } = this.options;
    if (queue.bytes > MAX_QUEUED_BYTES) return this.park(frame);
    const entry = handlers.request(frame.code);
    if (entry === undefined) {
      this.answerError(frame, unknownRequest(frame.code));
      frameMemory.giveBack(frame.buffer);
      return;
    }
    const { bulk } = entry.definition;
    const isBulky = bulk === "reply";
    if (isBulky && this.bulkInProgress >= MAX_BULK_REPLIES_IN_PROGRESS) return this.park(frame);
    // Those with bulk bytes hold memory until they are answered: they are not kept.
    if (bulk === "none" && this.hasMuchToSend(entry)) return this.park(frame);
    const line = this.lineOf(entry);
    if (line?.take(this) === false) return this.park(frame);
    let body: unknown;
    try {
      body = decodeRequest(entry, frame);
    } catch (error) {
      const length = this.refuse(entry, frame, error);
      line?.ended(length);
      frameMemory.giveBack(frame.buffer); // no handler has seen it
      return;
    }
    const promised = entry.replyBytes?.(body) ?? 0;
    if (isBulky && !this.options.maySend(promised)) this.park(frame);
    else this.handle(entry, frame, body, { promised, line });
  }

  private lineOf(entry: RequestEntry): Line | undefined {
    if (entry.definition.bulk !== "none") return undefined;
    return this.options.longReplies?.lineFor(entry);
  }

  /** The connection has ended before the request was handled. */
  private drop(frame: Frame): void {
    this.forget(frame.id);
    frameMemory.giveBack(frame.buffer); // no handler has seen it
  }

  private park(frame: Frame): void {
    this.parked.push(detached(frame));
  }

  /** True when as many replies are being made, or wait for a peer that reads slowly, as one of many peers should have. */
  private hasMuchToSend({ usualReplyBytes }: RequestEntry): boolean {
    const { queue, isOneOfMany } = this.options;
    if (!isOneOfMany) return false;
    if (queue.stalled && queue.bytes > MAX_HEAD_BYTES) return true;
    if (usualReplyBytes === undefined) {
      const isMuch = this.unknownInProgress >= this.mostUnknown;
      if (isMuch) this.planMore();
      return isMuch;
    }
    const expected = this.expectedBytes + usualReplyBytes;
    return this.inProgress >= LEAST_IN_PROGRESS && expected > REPLIES_IN_PROGRESS_BYTES;
  }

  /** Longer replies are expected at once, shorter ones by and by. */
  private learn(code: number, bytes: number): void {
    const entry = this.options.handlers.request(code);
    if (entry === undefined) return; // a hello
    const usual = entry.usualReplyBytes ?? bytes;
    entry.usualReplyBytes = bytes > usual ? bytes : usual + (bytes - usual) * NEWEST_SHARE;
  }

  /** After the others have had their turn, more may be begun of which nothing is known yet. */
  private planMore(): void {
    if (this.morePlanned) return;
    this.morePlanned = true;
    this.options.defer(() => {
      this.morePlanned = false;
      this.mostUnknown += BEGUN_UNKNOWN;
      this.handleParked();
    });
  }

  private handle(entry: RequestEntry, frame: Frame, body: unknown, begun: Begun): void {
    const { id, code, bulk = NO_BYTES, buffer } = frame;
    const asked = { id, code };
    const release = bulk.length > 0 ? frameMemory.releaserOf(buffer) : nothingToRelease;
    if (bulk.length === 0) frameMemory.giveBack(buffer); // the body was copied out of it
    const { peer } = this.options;
    let length: number;
    try {
      const result = entry.handler({ body, bulk, release, peer });
      if (result instanceof Promise) return this.awaitReply(entry, asked, result, begun);
      length = this.answer(asked, entry.definition, result);
    } catch (error) {
      length = this.lengthOf(() => this.refuse(entry, asked, error));
    }
    begun.line?.ended(length);
  }

  private awaitReply(
    entry: RequestEntry,
    asked: Asked,
    promise: Promise<HandlerReply<unknown>>,
    { promised, line }: Begun,
  ): void {
    const expected = entry.usualReplyBytes;
    const count = (by: 1 | -1): void => {
      if (promised > 0) this.options.onPromised(by * promised);
      if (entry.definition.bulk === "reply") {
        this.bulkInProgress += by;
        return;
      }
      this.inProgress += by;
      if (expected === undefined) this.unknownInProgress += by;
      else this.expectedBytes += by * expected;
    };
    count(1);
    void promise
      .then(
        (reply) => this.lengthOf(() => this.answer(asked, entry.definition, reply)),
        (error: unknown) => this.lengthOf(() => this.refuse(entry, asked, error)),
      )
      .then((length) => {
        count(-1);
        line?.ended(length);
        this.handleParked();
      });
  }

  /** How long an answer is; 0 when it could not be sent, which ends the connection. */
  private lengthOf(answer: () => number): number {
    let length = 0;
    this.options.guarded(() => (length = answer()));
    return length;
  }

  private refuse(entry: RequestEntry, asked: Asked, error: unknown): number {
    if (!isDfsError(error) || error.kind === "internal")
      this.logFailure(entry.definition.name, error);
    return this.answerError(asked, error);
  }

  private logFailure(name: string, error: unknown): void {
    const { logger, peer } = this.options;
    logger.error(`${name} failed: ${messageOf(error)}`, { peer: peer.address });
    if (error instanceof Error) logger.debug(`${name} failed there`, { stack: error.stack });
  }

  private updateReading(): void {
    const on =
      this.unanswered.size < MAX_REQUESTS_IN_FLIGHT &&
      this.unansweredBytes <= MAX_RECEIVED_BYTES_IN_FLIGHT;
    if (on === this.reading || this.ended) return;
    this.reading = on;
    this.options.setReading(on);
  }
}

function nothingToRelease(): void {}

/** @throws DfsError `protocol` when the request is not as its definition says. */
function decodeRequest({ definition }: RequestEntry, frame: Frame): unknown {
  if ((frame.bulk !== undefined) !== (definition.bulk === "request")) {
    throw new DfsError("protocol", `${definition.name}: bulk bytes missing or not wanted`);
  }
  return definition.request.decode(decodeBody(frame));
}

/** The frame in a buffer of its own, since the one it came in may be much larger. */
function detached(frame: Frame): Frame {
  const { buffer, bodyStart, bodyEnd, bulk } = frame;
  if (frameMemory.fits(buffer, frame.length)) return frame;
  const body = buffer.slice(bodyStart, bodyEnd);
  return { ...frame, buffer: body, bodyStart: 0, bodyEnd: body.length, bulk: bulk?.slice() };
}

function unknownRequest(code: number): DfsError {
  return new DfsError(
    "unsupported",
    `this server does not know the request with code 0x${code.toString(16).padStart(4, "0")}; it may be of an older version`,
  );
}
