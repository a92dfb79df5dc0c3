/**
 * The requests and notices that the peer has sent on one connection.
 *
 * Memory is bounded in three ways. While too many requests, or too many bytes of them, are unanswered, nothing more is
 * read from the peer. While more than MAX_QUEUED_BYTES wait to be sent to it, requests are parked instead of being
 * handled; they are not left unread, because two ends that both stopped reading would wait for each other forever. And
 * of requests whose replies carry bulk bytes only a few are handled at a time.
 */
import { DfsError, isDfsError, messageOf } from "../base/errors.ts";
import {
  MAX_QUEUED_BYTES,
  MAX_RECEIVED_BYTES_IN_FLIGHT,
  MAX_REQUESTS_IN_FLIGHT,
} from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { decodeBody, encodeHead, FRAME_KINDS, type Frame } from "./cbor.ts";
import { encodeError } from "./error-body.ts";
import { frameMemory } from "./frame-memory.ts";
import type { HandlerTable, RequestEntry } from "./handlers.ts";
import type { RequestDefinition } from "./message.ts";
import type { HandlerReply, Peer } from "./peer.ts";
import type { SendQueue } from "./send-queue.ts";

/** Requests with bulk replies that are handled at a time: so many replies may be in memory before they are queued. */
export const MAX_BULK_REPLIES_IN_PROGRESS = 32;

const NO_BYTES = new Uint8Array(0);

export interface IncomingOptions {
  readonly peer: Peer;
  readonly handlers: HandlerTable;
  readonly queue: SendQueue;
  readonly logger: Logger;
  /** Stops or goes on reading from the peer. */
  setReading(on: boolean): void;
}

export class IncomingRequests {
  private readonly options: IncomingOptions;
  /** Frame length of each unanswered request by id. */
  private readonly unanswered = new Map<number, number>();
  private unansweredBytes = 0;
  private bulkInProgress = 0;
  private parked: Frame[] = [];
  private reading = true;
  private ended = false;

  constructor(options: IncomingOptions) {
    this.options = options;
  }

  /** Handles, parks or refuses a request. @throws DfsError `protocol` when its id is that of an unanswered one. */
  onRequest(frame: Frame): void {
    this.register(frame);
    if (this.mayHandle(frame)) this.handle(frame);
    else this.parked.push(detached(frame));
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
    this.unanswered.set(frame.id, frame.length);
    this.unansweredBytes += frame.length;
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
    const parked = this.parked;
    this.parked = [];
    for (const frame of parked) {
      if (this.mayHandle(frame)) this.handle(frame);
      else this.parked.push(frame);
    }
    this.updateReading();
  }

  /** Queues the reply to a registered request. */
  answer(
    frame: Frame,
    definition: RequestDefinition<unknown, unknown>,
    reply: HandlerReply<unknown>,
  ): void {
    let head: Uint8Array;
    const bulk = definition.bulk === "reply" ? (reply.bulk ?? NO_BYTES) : undefined;
    try {
      if (bulk === undefined && reply.bulk !== undefined) {
        throw new DfsError("internal", `internal error: ${definition.name} has no bulk reply`);
      }
      const body = definition.reply.encode(reply.body);
      head = encodeHead(FRAME_KINDS.reply, frame.id, 0, body, bulk?.length);
    } catch (error) {
      reply.sent?.();
      this.logFailure(definition.name, error);
      this.answerError(frame, error);
      return;
    }
    if (this.finish(frame)) this.options.queue.push(head, bulk, reply.sent);
    else reply.sent?.();
  }

  /** Queues an error as the answer to a registered request. */
  answerError(frame: Frame, error: unknown): void {
    const { code, body } = encodeError(error);
    const head = encodeHead(FRAME_KINDS.error, frame.id, code, body);
    if (this.finish(frame)) this.options.queue.push(head);
  }

  /** The connection has ended: nothing is handled or answered any more. */
  end(): void {
    this.ended = true;
    this.parked = [];
    this.unanswered.clear();
  }

  /** Takes a request off the books. Returns false when the connection has ended since. */
  private finish(frame: Frame): boolean {
    if (this.ended) return false;
    this.unanswered.delete(frame.id);
    this.unansweredBytes -= frame.length;
    this.updateReading();
    return true;
  }

  private mayHandle(frame: Frame): boolean {
    if (this.options.queue.bytes > MAX_QUEUED_BYTES) return false;
    return !this.hasBulkReply(frame) || this.bulkInProgress < MAX_BULK_REPLIES_IN_PROGRESS;
  }

  private hasBulkReply(frame: Frame): boolean {
    return this.options.handlers.request(frame.code)?.definition.bulk === "reply";
  }

  private handle(frame: Frame): void {
    const entry = this.options.handlers.request(frame.code);
    if (entry === undefined) {
      this.answerError(frame, unknownRequest(frame.code));
      return;
    }
    try {
      const result = this.callHandler(entry, frame);
      if (result instanceof Promise) this.awaitReply(entry, frame, result);
      else this.answer(frame, entry.definition, result);
    } catch (error) {
      this.refuse(entry, frame, error);
    }
  }

  private callHandler(
    entry: RequestEntry,
    frame: Frame,
  ): HandlerReply<unknown> | Promise<HandlerReply<unknown>> {
    const { definition, handler } = entry;
    if ((frame.bulk !== undefined) !== (definition.bulk === "request")) {
      throw new DfsError("protocol", `${definition.name}: bulk bytes missing or not wanted`);
    }
    const body = definition.request.decode(decodeBody(frame));
    const release = frameMemory.releaserOf(frame.buffer);
    return handler({ body, bulk: frame.bulk ?? NO_BYTES, release, peer: this.options.peer });
  }

  private awaitReply(
    entry: RequestEntry,
    frame: Frame,
    promise: Promise<HandlerReply<unknown>>,
  ): void {
    const bulky = entry.definition.bulk === "reply" ? 1 : 0;
    this.bulkInProgress += bulky;
    void promise
      .then(
        (reply) => this.answer(frame, entry.definition, reply),
        (error: unknown) => this.refuse(entry, frame, error),
      )
      .then(() => {
        this.bulkInProgress -= bulky;
        this.handleParked();
      });
  }

  private refuse(entry: RequestEntry, frame: Frame, error: unknown): void {
    if (!isDfsError(error) || error.kind === "internal")
      this.logFailure(entry.definition.name, error);
    this.answerError(frame, error);
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
