/**
 * One connection: requests, replies and notices of both sides over one ByteStream.
 *
 * Life: made, attached to a stream, admitted when the hello has succeeded (handshake.ts), ended once. Until it is
 * admitted only small frames are taken and requests go to the gate. However it ends, every request in flight fails,
 * `closed` resolves, and nothing is handled or sent any more. Whatever goes wrong while bytes are taken in ends it, so
 * there is never a stream whose frames are out of step.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { assert, DfsError, isDfsError, messageOf } from "../base/errors.ts";
import {
  MAX_FRAME_BYTES,
  MAX_HEAD_BYTES,
  MAX_HELLO_FRAME_BYTES,
  MAX_QUEUED_BYTES,
} from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { encodeHead, FRAME_KINDS, parseFrame, type Frame } from "./cbor.ts";
import { FrameParser } from "./frame.ts";
import type { ConnectionLog } from "./connection-log.ts";
import type { HandlerTable } from "./handlers.ts";
import { IncomingRequests } from "./incoming.ts";
import type { LongReplies } from "./long-replies.ts";
import type { NoticeDefinition, Question } from "./message.ts";
import { isHandshakeCode } from "./messages/hello.ts";
import { bulkOf, settle } from "./outgoing.ts";
import type { Answer, Peer, PeerIdentity, RequestOptions } from "./peer.ts";
import { PendingRequests } from "./pending.ts";
import { ProgressWatch } from "./progress-watch.ts";
import type { MemoryUser, SharedMemory } from "./shared-memory.ts";
import { SendQueue } from "./send-queue.ts";
import { StallWatch } from "./stall-watch.ts";
import type { ByteStream, StreamEvents } from "./transport.ts";

/** Own requests wait while more than this is queued, so that they never fill the queue that replies need. */
const REQUEST_ROOM_BYTES = MAX_QUEUED_BYTES / 2;

/** Notices that a peer may leave unread behind a full queue, in bytes, before it is given up. */
const MAX_SURPLUS_NOTICE_BYTES = MAX_HEAD_BYTES;

/** How long a closed connection goes on sending what was queued, and waits for the other side to close as well. */
const LINGER_MS = 5_000;

/** Takes the requests that come before the connection is admitted, and hellos at any time. */
export interface Gate {
  /** @throws DfsError to end the connection. */
  onRequest(frame: Frame): void;
}

export interface ConnectionOptions {
  readonly address: string;
  readonly handlers: HandlerTable;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log: ConnectionLog;
  /** What it shares with other connections; left out: nothing. */
  readonly memory?: SharedMemory;
  readonly longReplies?: LongReplies;
}

export class Connection implements Peer, MemoryUser {
  readonly address: string;
  readonly closed: Promise<DfsError>;
  /** Resolves when the stream is gone too, after what was queued has been sent. */
  readonly gone: Promise<void>;
  /** To be given to the transport. */
  readonly events: StreamEvents;
  /** Requests of the peer; for the handshake. */
  readonly incoming: IncomingRequests;
  private readonly options: ConnectionOptions;
  private readonly queue: SendQueue;
  private readonly pending: PendingRequests;
  private readonly parser: FrameParser;
  private readonly stallWatch: StallWatch;
  private readonly resolveClosed: (reason: DfsError) => void;
  private readonly resolveGone: () => void;
  private stream: ByteStream | undefined;
  private admitted: PeerIdentity | undefined;
  private held: (() => void)[] | undefined;
  private reason: DfsError | undefined;
  private draining = false;
  /** Bytes of notices queued while the queue was over its limit. */
  private surplusNoticeBytes = 0;
  private linger: Timer | undefined;
  private promisedBytes = 0;
  /** Whether the requests without an answer allow to read on. */
  private reading = true;
  private readonly progress = new ProgressWatch();

  constructor(options: ConnectionOptions) {
    this.options = options;
    this.address = options.address;
    const { promise, resolve } = Promise.withResolvers<DfsError>();
    this.closed = promise;
    this.resolveClosed = resolve;
    const gone = Promise.withResolvers<void>();
    this.gone = gone.promise;
    this.resolveGone = gone.resolve;
    const { memory } = options;
    memory?.join(this);
    this.queue = new SendQueue({
      onProgress: () => this.onProgress(),
      onBlocked: () => this.stallWatch.blocked(),
      onBytes: (change) => memory?.count("queuedBytes", change),
      onBroken: (error) => this.broken(error),
    });
    this.stallWatch = new StallWatch(
      options.clock,
      () => this.queue.stalled,
      () => this.fail(this.notReading()),
    );
    this.pending = new PendingRequests(
      options.clock,
      options.address,
      () => this.held === undefined && this.queue.bytes <= REQUEST_ROOM_BYTES,
    );
    this.parser = new FrameParser(
      MAX_HELLO_FRAME_BYTES,
      (buffer, start, end) => this.onFrame(buffer, start, end),
      {
        mayBegin: (length) => this.mayBegin(length),
        onHeld: (bytes) => memory?.count("receivedBytes", bytes),
      },
    );
    this.incoming = new IncomingRequests({
      peer: this,
      handlers: options.handlers,
      queue: this.queue,
      logger: options.logger,
      setReading: (on) => this.setReading(on),
      onHeld: (bytes) => memory?.count("receivedBytes", bytes),
      isOneOfMany: memory !== undefined,
      longReplies: options.longReplies,
      defer: (callback) => options.clock.setTimer(0, callback, { background: true }),
      guarded: (work) => this.guarded(work),
      maySend: (bytes) => memory?.maySend(this, bytes) ?? true,
      onPromised: (bytes) => this.promise(bytes),
    });
    this.events = {
      onData: (chunk) => this.onData(chunk),
      onWritable: () => this.guarded(() => this.queue.writable()),
      onClose: (error) => this.onClose(error),
    };
  }

  get open(): boolean {
    return this.reason === undefined;
  }

  get identity(): PeerIdentity {
    assert(this.admitted !== undefined, "the identity of a peer was asked for before its hello");
    return this.admitted;
  }

  /** Bytes that wait to be sent, or are being read for that. */
  get queuedBytes(): number {
    return this.queue.bytes + this.promisedBytes;
  }

  /** Bytes of frames that are being received, or are requests without an answer. */
  get receivedBytes(): number {
    return this.parser.heldBytes + this.incoming.heldBytes;
  }

  /** True before its hello has succeeded. */
  get isStranger(): boolean {
    return this.admitted === undefined;
  }

  /** For how many looks in a row nothing has gone on. */
  get idleLooks(): number {
    return this.progress.idleFor;
  }

  memoryFreed(): void {
    if (!this.open) return;
    this.guarded(() => this.parser.retry());
    if (!this.parser.waitsForMemory && this.reading) this.stream?.resume();
    this.incoming.handleParked();
  }

  /** Called every LOOK_MS: ends the connection when it does not get on. */
  look(): void {
    if (!this.open) return;
    // A stream that is not read from may end without a word (seen with sockets of Bun whose peer was killed).
    if (this.queue.ended) return this.fail(new DfsError("unreachable", "the other side is gone"));
    this.queue.retry();
    const { heldBytes, insideFrame, waitsForMemory, frames } = this.parser;
    const { memory } = this.options;
    const scarceReceived = memory?.isScarce("receivedBytes") === true;
    const scarceQueued = memory?.isScarce("queuedBytes") === true;
    const asked = this.incoming.heldBytes;
    const late = this.progress.look({
      isFrameComing: insideFrame && !waitsForMemory && this.reading,
      frameBytes: heldBytes,
      frames,
      isStalled: this.queue.bytes > 0,
      isBusy: this.queuedBytes > 0 || !this.incoming.idle || this.pending.inFlight > 0,
      scarceFrameBytes: scarceReceived ? heldBytes : 0,
      scarceBytes: (scarceQueued ? this.queuedBytes : 0) + (scarceReceived ? asked : 0),
    });
    if (late !== undefined) this.fail(late);
    else if (this.progress.isIdle) this.close("nothing was said on it for a long time");
  }

  /** Starts using `stream`. */
  attach(stream: ByteStream): void {
    this.stream = stream;
    if (this.open) this.queue.attach(stream);
    else stream.terminate();
  }

  /**
   * The hello has succeeded. What the owner sends from now on is held back until `release`, so that the reply to the
   * hello goes first.
   */
  admit(identity: PeerIdentity): void {
    this.admitted = identity;
    this.held = [];
    this.parser.limit = MAX_FRAME_BYTES;
  }

  /** Sends what was held back since `admit`. */
  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const send of held) send();
    this.pending.sendWaiting();
  }

  request<Request, Reply>(
    definition: Question<Request, Reply>,
    body: Request,
    options: RequestOptions,
  ): Promise<Answer<Reply>> {
    return new Promise((resolve, reject) => {
      this.call(definition, body, options, resolve, reject);
    });
  }

  /** `request` with callbacks, which are called before any later frame is looked at. */
  call<Request, Reply>(
    definition: Question<Request, Reply>,
    body: Request,
    options: RequestOptions,
    resolve: (answer: Answer<Reply>) => void,
    reject: (error: unknown) => void,
  ): void {
    const { name, code } = definition;
    if (this.reason !== undefined) {
      reject(this.lost(name, this.reason));
      return;
    }
    assert(options.timeoutMs > 0, `${name} was given a timeout of ${options.timeoutMs} ms`);
    const bulk = bulkOf(definition, options);
    const id = this.pending.takeId();
    // Encoded now, so that the caller may change its body as soon as this returns.
    const item = definition.request.encode(body);
    const head = encodeHead(FRAME_KINDS.request, id, code, item, bulk?.length);
    this.pending.add(id, {
      name,
      timeoutMs: options.timeoutMs,
      signal: options.signal,
      send: () => this.queue.push(head, bulk),
      outcome: {
        answered: (frame) => settle(definition, frame, resolve, reject),
        failed: reject,
      },
    });
  }

  notify<Body>(definition: NoticeDefinition<Body>, body: Body): void {
    if (!this.open) return;
    const head = encodeHead(FRAME_KINDS.notice, 0, definition.code, definition.body.encode(body));
    if (this.held !== undefined) {
      this.held.push(() => this.queue.push(head));
      return;
    }
    if (this.queue.bytes > MAX_QUEUED_BYTES) this.surplusNoticeBytes += head.length;
    // Dropping it silently would leave the peer with stale caches; a new connection starts from the truth.
    if (this.surplusNoticeBytes > MAX_SURPLUS_NOTICE_BYTES) this.fail(this.notReading());
    else this.queue.push(head);
  }

  close(reason: string): void {
    if (!this.open) return;
    this.end(
      new DfsError("unreachable", `the connection to ${this.address} was closed: ${reason}`),
    );
    this.draining = true;
    this.linger = this.options.clock.setTimer(LINGER_MS, () => this.stream?.terminate(), {
      background: true,
    });
    this.stream?.resume(); // what still comes is dropped, but the other side's end must be seen
    if (this.queue.bytes === 0) this.stream?.end();
  }

  /** Ends the connection at once, because of something that the peer or the network did. Logged, as one line. */
  fail(error: DfsError): void {
    if (!this.open) return;
    this.options.log.ended(this.address, error.message, this.admitted?.label);
    this.end(error);
    this.queue.clear();
    this.stream?.terminate();
  }

  /** What is queued cannot be sent any more: an end that waits for that comes now. */
  private broken(error: unknown): void {
    if (this.open) return this.fail(asDfsError(error));
    this.queue.clear();
    this.stream?.terminate();
  }

  private end(reason: DfsError): void {
    this.reason = reason;
    this.parser.stop();
    this.incoming.end();
    this.pending.failAll((name) => this.lost(name, reason));
    this.options.memory?.leave(this);
    this.resolveClosed(reason);
  }

  private lost(name: string, reason: DfsError): DfsError {
    return new DfsError(
      "unreachable",
      `${name}: no answer from ${this.address}: ${reason.message}`,
      { details: { address: this.address }, cause: reason },
    );
  }

  private onClose(error: Error | undefined): void {
    this.stream = undefined;
    this.linger?.cancel();
    this.stallWatch.stop();
    if (this.open) {
      const how = this.parser.insideFrame ? " in the middle of a frame" : "";
      const why = error === undefined ? "" : `: ${error.message}`;
      this.tellOfLoss(how, why);
      this.end(
        new DfsError("unreachable", `${this.address} closed the connection${how}${why}`, {
          details: { address: this.address },
        }),
      );
    }
    this.queue.clear();
    this.resolveGone();
  }

  private tellOfLoss(how: string, why: string): void {
    const { log, logger } = this.options;
    const { address, admitted } = this;
    const what = `the other side closed it${how}`;
    if (admitted === undefined) log.brokenOff(address, `${what} before its hello${why}`, undefined);
    else if (how !== "") log.brokenOff(address, `${what}${why}`, admitted.label);
    else logger.debug(`lost the connection to ${address}${why}`);
  }

  private onFrame(buffer: Uint8Array, start: number, end: number): void {
    const frame = parseFrame(buffer, start, end);
    switch (frame.kind) {
      case FRAME_KINDS.request:
        if (this.admitted === undefined || isHandshakeCode(frame.code)) {
          this.options.gate.onRequest(frame);
          return;
        }
        this.incoming.onRequest(frame);
        return;
      case FRAME_KINDS.notice:
        if (this.admitted === undefined)
          throw new DfsError("protocol", "the peer sent no hello first");
        this.incoming.onNotice(frame);
        return;
      default:
        if (this.pending.answer(frame)) return;
        throw new DfsError("protocol", `the peer answered request ${frame.id}, which is not open`);
    }
  }

  /** Runs `work` on incoming bytes; whatever it throws ends the connection. */
  private guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.fail(asDfsError(error));
    }
  }

  private onData(chunk: Uint8Array): void {
    this.progress.received(chunk.length);
    this.guarded(() => {
      this.parser.push(chunk);
      const { stream } = this;
      if (stream?.receive === undefined) return;
      // The rest of a long frame need not come by way of chunks.
      this.progress.received(this.parser.fill((target, offset) => stream.receive!(target, offset)));
    });
  }

  private mayBegin(length: number): boolean {
    const may = this.options.memory?.mayReceive(this, length) ?? true;
    if (!may) this.stream?.pause();
    return may;
  }

  private promise(bytes: number): void {
    this.promisedBytes += bytes;
    this.options.memory?.count("queuedBytes", bytes);
  }

  private setReading(on: boolean): void {
    this.reading = on;
    if (on) {
      if (!this.parser.waitsForMemory) this.stream?.resume();
      this.guarded(() => this.parser.resume());
    } else {
      this.stream?.pause();
      this.parser.pause();
    }
  }

  private notReading(): DfsError {
    return new DfsError("timeout", `${this.queue.bytes} bytes wait for a peer that does not read`);
  }

  private onProgress(): void {
    this.stallWatch.progressed();
    this.progress.taken();
    if (this.queue.bytes <= MAX_QUEUED_BYTES) this.surplusNoticeBytes = 0;
    if (this.draining && this.queue.bytes === 0) {
      this.stream?.end();
    } else if (this.open) {
      this.pending.sendWaiting();
      this.incoming.handleParked();
    }
  }
}

function asDfsError(error: unknown): DfsError {
  if (isDfsError(error)) return error;
  return new DfsError("internal", `internal error: ${messageOf(error)}`, { cause: error });
}
