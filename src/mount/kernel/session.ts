/**
 * One mount in service: takes requests from the device, has them carried out, answers them.
 *
 * - Requests are taken until there are none, then the poller waits for more. All of this is on the main thread; a handler that
 *   has to wait returns a promise, and requests are answered in the order in which they finish.
 * - The kernel sends INTERRUPT for a request only after that request has been read, and requests are read in order on one
 *   thread. So an INTERRUPT for a request that is not in flight comes too late: it was answered, and the protocol wants no
 *   answer to the INTERRUPT.
 * - Memory: a large write keeps its memory until it is answered. The kernel bounds what it sends without anybody waiting
 *   (max_background), but each waiting process may have one write of 1 MiB under way. Beyond `maxKeptBytes` requests are
 *   taken only slowly, not stopped: among them may be the INTERRUPT for which a stuck write waits.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { DfsError, isDfsError, messageOf } from "../../base/errors.ts";
import { ERRNO } from "../../base/errno.ts";
import type { Logger } from "../../base/logger.ts";
import type { Device, DeviceEnd } from "./connection/device.ts";
import { Poller } from "./connection/poller.ts";
import { RequestMemory } from "./connection/request-memory.ts";
import { Interrupts } from "./interrupts.ts";
import { NO_REPLY, type Context, type Handler } from "./operations/context.ts";
import { HANDLERS } from "./operations/table.ts";
import {
  FUSE_KERNEL_VERSION,
  FUSE_MIN_READ_BUFFER,
  OPCODE,
  REQUEST_HEADROOM_BYTES,
} from "./protocol/constants.ts";
import {
  agree,
  decodeOffer,
  encodeAgreement,
  encodeVersionOnly,
  type Agreement,
  type Wishes,
} from "./protocol/negotiation.ts";
import { errnoFor, notImplemented } from "./protocol/refusal.ts";
import type { Reply } from "./protocol/reply.ts";
import { Request, type RequestKey } from "./protocol/request.ts";
import { errnoName } from "./system/libc.ts";

/** Requests taken before the event loop gets a turn. */
const MAX_PER_TURN = 64;
const DEFAULT_MAX_KEPT_BYTES = 128 * 1024 * 1024;
/** What a program is given because of the cluster, and not because of what it asked: an operator wants to know why. */
const CLUSTER_ERRORS: ReadonlySet<number> = new Set([ERRNO.EIO, ERRNO.ETIMEDOUT, ERRNO.ESTALE]);
/** Beyond that, one request in this time. */
const TRICKLE_MS = 50;

export type SessionEnd =
  { readonly reason: DeviceEnd } | { readonly reason: "failed"; readonly error: unknown };

export interface SessionOptions {
  readonly device: Device;
  readonly context: Context;
  readonly wishes: Wishes;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Memory that unanswered writes may keep; default 128 MiB. */
  readonly maxKeptBytes?: number;
}

export class Session {
  /** Resolves when the kernel has said hello. @throws DfsError `unsupported` when it is too old. */
  readonly agreed: Promise<Agreement>;
  readonly ended: Promise<SessionEnd>;

  private readonly options: SessionOptions;
  private readonly memory: RequestMemory;
  private readonly poller: Poller;
  private readonly interrupts: Interrupts;
  private readonly inFlight = new Map<RequestKey, Request>();
  private readonly agreement = Promise.withResolvers<Agreement>();
  private readonly end = Promise.withResolvers<SessionEnd>();
  private over = false;
  private trickle: Timer | undefined;

  constructor(options: SessionOptions) {
    this.options = options;
    this.interrupts = new Interrupts(options.clock, this.inFlight);
    this.agreed = this.agreement.promise;
    // Who waits for it is told; it is no fault when nobody does.
    this.agreed.catch(() => undefined);
    this.ended = this.end.promise;
    this.memory = new RequestMemory(
      Math.max(FUSE_MIN_READ_BUFFER, options.wishes.maxWriteBytes + REQUEST_HEADROOM_BYTES),
    );
    this.poller = new Poller(
      options.device.fd,
      () => this.takeAll(),
      (error) => this.finish({ reason: "failed", error }),
    );
  }

  /** Ends the polling thread; the device can be closed after that. */
  async stop(): Promise<void> {
    await this.poller.stop();
  }

  private takeAll(): void {
    for (let taken = 0; taken < MAX_PER_TURN; taken++) {
      if (this.isFull()) {
        this.takeSlowly();
        return;
      }
      if (!this.takeOne() && !this.takeLast()) return;
    }
    setImmediate(() => this.takeAll());
  }

  /** There seem to be no more requests: the poller shall tell of the next. One may have come before it was asked to. */
  private takeLast(): boolean {
    this.poller.again();
    return this.takeOne();
  }

  /** Takes one request. False when there is none, or when the mount is gone. */
  private takeOne(): boolean {
    if (this.over) return false;
    try {
      const received = this.options.device.receive(this.memory.current);
      if (received === "nothing") return false;
      if (received === "unmounted" || received === "aborted") this.finish({ reason: received });
      else if (received !== "withdrawn") this.handle(received);
      return !this.over;
    } catch (error) {
      this.finish({ reason: "failed", error });
      return false;
    }
  }

  private isFull(): boolean {
    return this.memory.keptBytes > (this.options.maxKeptBytes ?? DEFAULT_MAX_KEPT_BYTES);
  }

  /** Too many large writes are unanswered: goes on when one is answered, or after a while. */
  private takeSlowly(): void {
    this.trickle ??= this.options.clock.setTimer(TRICKLE_MS, () => {
      this.trickle = undefined;
      if (this.takeOne() || this.takeLast()) this.takeAll();
    });
  }

  private resumeTaking(): void {
    if (this.trickle === undefined || this.isFull()) return;
    this.trickle.cancel();
    this.trickle = undefined;
    this.takeAll();
  }

  private handle(received: number): void {
    let request: Request;
    try {
      request = new Request(this.memory.current, received);
    } catch (error) {
      this.options.logger.error("a request was dropped", { reason: messageOf(error) });
      return;
    }
    if (request.opcode === OPCODE.INIT) this.initialise(request);
    else if (request.opcode === OPCODE.INTERRUPT) this.interrupt(request);
    else if (request.opcode === OPCODE.DESTROY) this.send(request, undefined);
    else this.dispatch(request);
  }

  private dispatch(request: Request): void {
    const handler = HANDLERS.get(request.opcode);
    if (handler === undefined) {
      this.options.logger.debug("the kernel asked for what is not implemented", {
        opcode: request.opcode,
      });
      this.refuse(request, notImplemented(`request ${request.opcode}`));
      return;
    }
    this.carryOut(request, handler);
  }

  private carryOut(request: Request, handler: Handler): void {
    let outcome: ReturnType<Handler>;
    try {
      outcome = handler(this.options.context, request);
    } catch (error) {
      // Only handlers of requests without an answer throw at once.
      this.options.logger.error("a request was dropped", { reason: messageOf(error) });
      return;
    }
    if (outcome === NO_REPLY) return;
    this.inFlight.set(request.key, request);
    this.interrupts.watch();
    if (request.keepsMemory) this.memory.keepCurrent();
    outcome.then(
      (reply) => this.finishRequest(request, () => this.send(request, reply)),
      (error: unknown) => this.finishRequest(request, () => this.refuse(request, error)),
    );
  }

  private finishRequest(request: Request, answer: () => void): void {
    this.inFlight.delete(request.key);
    if (!this.over) answer();
    if (!request.keepsMemory) return;
    this.memory.giveBack(request.memory);
    this.resumeTaking();
  }

  private send(request: Request, reply: Reply): void {
    let result: number;
    try {
      result = this.options.device.reply(request, reply);
    } catch (error) {
      // The reply could not be encoded.
      this.refuse(request, error);
      return;
    }
    this.judge(request, result);
    // The kernel has copied them.
    if (request.opcode === OPCODE.READ && reply instanceof Uint8Array) {
      this.options.context.fileSystem.doneWith?.(reply);
    }
  }

  private refuse(request: Request, error: unknown): void {
    const { errno, unexpected } = errnoFor(error);
    if (unexpected) {
      const stack = error instanceof Error ? error.stack : undefined;
      this.options.logger.error("a request has failed by a mistake in dfs", {
        opcode: request.opcode,
        inode: request.inode,
        reason: stack ?? messageOf(error),
      });
    } else if (CLUSTER_ERRORS.has(errno)) {
      this.options.logger.warn("a program was given an error", {
        errno: errnoName(errno),
        inode: request.inode,
        reason: messageOf(error),
      });
    }
    this.judge(request, this.options.device.replyError(request, errno));
  }

  /** ENOENT: the request is gone, as its connection was aborted. Anything else means that we sent nonsense. */
  private judge(request: Request, result: number): void {
    if (result === 0 || result === -ERRNO.ENOENT) return;
    this.options.logger.debug("the kernel has refused a reply", {
      opcode: request.opcode,
      errno: errnoName(result),
    });
  }

  /** `fuse_interrupt_in`: u64 unique of a request whose process has got a signal. */
  private interrupt(request: Request): void {
    if (request.remaining < 8) return;
    const low = request.uint32();
    const key = request.uint32() * 2 ** 32 + low;
    const interrupted = this.inFlight.get(key);
    if (interrupted !== undefined) this.interrupts.tell(interrupted);
  }

  private initialise(request: Request): void {
    try {
      const offer = decodeOffer(request);
      if (offer.major > FUSE_KERNEL_VERSION) {
        this.send(request, encodeVersionOnly);
        return;
      }
      const agreement = agree(offer, this.options.wishes);
      this.send(request, (body) => encodeAgreement(body, agreement));
      this.agreement.resolve(agreement);
    } catch (error) {
      const failure = isDfsError(error) ? error : new DfsError("internal", messageOf(error));
      this.options.device.replyError(request, ERRNO.EPROTO);
      this.agreement.reject(failure);
    }
  }

  private finish(end: SessionEnd): void {
    if (this.over) return;
    this.over = true;
    this.trickle?.cancel();
    this.interrupts.stop();
    for (const request of this.inFlight.values()) request.interrupt();
    this.agreement.reject(new DfsError("io", "the mount has ended before it was in use"));
    this.end.resolve(end);
  }
}
