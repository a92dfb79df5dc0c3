/**
 * The table of what one end answers: message codes and their handlers.
 */
import { assert } from "../base/errors.ts";
import { mayBeLong, type Turns } from "./long-replies.ts";
import type { NoticeDefinition, RequestDefinition } from "./message.ts";
import type { Handlers, NoticeHandler, RequestHandler } from "./peer.ts";

/** A request that is answered here. */
export interface RequestEntry {
  readonly definition: RequestDefinition<unknown, unknown>;
  readonly handler: RequestHandler<unknown, unknown>;
  readonly replyBytes: ((body: unknown) => number) | undefined;
  /** How long replies without bulk bytes usually are; undefined before the first. */
  usualReplyBytes: number | undefined;
  /** Where it has its turn, when its replies have no bulk bytes. */
  readonly turns: Turns;
}

/** What is known of the replies to a request. */
export interface ReplyOptions<Request> {
  /** How many bulk bytes the reply has at most; needed when it has any. */
  readonly replyBytes?: (body: Request) => number;
  /**
   * Where the request has its turn; left out: with all whose replies can be long, if its own can. `own` when the handler waits
   * for a thread or for another server, or is work without a long reply; `none` when it waits for something to happen.
   */
  readonly turns?: Turns;
}

/** A notice that is listened to here. */
export interface NoticeEntry {
  readonly definition: NoticeDefinition<unknown>;
  readonly handler: NoticeHandler<unknown>;
}

/** Handlers by message code. One table may serve many connections; entries may be added at any time. */
export class HandlerTable implements Handlers {
  private readonly requests = new Map<number, RequestEntry>();
  private readonly notices = new Map<number, NoticeEntry>();

  onRequest<Request, Reply>(
    definition: RequestDefinition<Request, Reply>,
    handler: RequestHandler<Request, Reply>,
    options: ReplyOptions<Request> = {},
  ): void {
    assert(!this.requests.has(definition.code), `two handlers for request ${definition.name}`);
    // The code names the definition, and the definition's schema gives the body its type before the handler sees it.
    const { replyBytes, turns = mayBeLong(definition.reply.shape) ? "shared" : "none" } = options;
    const entry = { definition, handler, replyBytes, usualReplyBytes: undefined, turns };
    this.requests.set(definition.code, entry as unknown as RequestEntry);
  }

  onNotice<Body>(definition: NoticeDefinition<Body>, handler: NoticeHandler<Body>): void {
    assert(!this.notices.has(definition.code), `two handlers for notice ${definition.name}`);
    this.notices.set(definition.code, { definition, handler } as unknown as NoticeEntry);
  }

  /** The entry for a request's code. */
  request(code: number): RequestEntry | undefined {
    return this.requests.get(code);
  }

  /** The entry for a notice's code. */
  notice(code: number): NoticeEntry | undefined {
    return this.notices.get(code);
  }
}
