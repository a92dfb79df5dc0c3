/**
 * Works off the surveys, and notices when a server that had lost its disk has been refilled.
 *
 * Surveys: when a server has gone out its copies stop to count, when it has come back they count again, and
 * every block that has a copy there is judged anew, some hundred in a transaction. How far that has come is on record.
 */
import { messageOf } from "../../../base/errors.ts";
import { blockId, type BlockId, type InstanceId, type ServerId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Engine } from "../engine.ts";
import type { Server, Survey } from "../store/rows.ts";
import { ask } from "../store/store.ts";
import { clusterView } from "./need.ts";
import { endFilling, hasUnfinished, lookAtBad, surveyStep, type BadCopies } from "./steps.ts";

/** Below every block id. */
const NO_BLOCK = blockId(0n);

/** Copies judged in one transaction: few enough that the event loop is never held long. */
const AT_ONCE = 256;

export interface SurveysOptions {
  readonly engine: Engine;
  readonly logger: Logger;
  /** False while the server is being compared with the record: its survey comes after that. */
  readonly mayBegin: (server: ServerId) => boolean;
  /** The run of the server, if it is connected and has been compared with the record. */
  readonly compared: (server: ServerId) => InstanceId | undefined;
  /** A server that had lost its disk has been refilled. */
  readonly onFilled: () => void;
  /** Blocks were judged anew. */
  readonly onJudged: () => void;
}

export class Surveys {
  private readonly options: SurveysOptions;
  /**
   * Of servers that are being refilled: up to where their bad copies are of blocks that are lost, or were when they were looked at. They may
   * be very many.
   */
  private readonly lostUpTo = new Map<ServerId, BlockId>();
  private working: Promise<void> | undefined;
  private isNews = false;
  private stopped = false;

  constructor(options: SurveysOptions) {
    this.options = options;
  }

  /** Begins nothing any more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.working;
  }

  /** Does what is on record and may begin; what it is at it ends first. */
  kick(): void {
    this.isNews = true;
    if (this.stopped) return;
    this.working ??= this.workOff()
      .catch((error: unknown) => {
        if (this.stopped) return;
        this.options.logger.warn(`copies cannot be judged for now: ${messageOf(error)}`);
      })
      .finally(() => {
        this.working = undefined;
      });
  }

  private async workOff(): Promise<void> {
    while (this.isNews && !this.stopped) {
      this.isNews = false;
      await this.work();
    }
  }

  private async work(): Promise<void> {
    const { engine, logger, mayBegin, compared } = this.options;
    const servers = await engine.question(() => ask("server.list"));
    // One that is drained is not filled but emptied, and then what it has still to get is nothing, too.
    const mayBeFilled = ({ filling, state }: Server): boolean =>
      filling && (state === "up" || state === "draining");
    for (const { id } of servers.filter(mayBeFilled)) {
      const instance = compared(id);
      if (instance === undefined) continue;
      // Asked first: a change costs a sync, and while a server is refilled this is asked all the time.
      if (await this.hasToGet(id)) continue;
      if (await engine.change(() => endFilling(id, instance))) {
        logger.info(`data server ${id} has been refilled: its copies count again`);
        this.options.onFilled();
      }
    }
    const due = await engine.question(() => ask("survey.list"));
    for (const survey of due.filter(({ server }) => mayBegin(server))) {
      for (let left: Survey | undefined = survey; left !== undefined && !this.stopped;) {
        left = await this.step(left.server);
        this.options.onJudged();
      }
      if (!this.stopped) logger.info(`the copies on data server ${survey.server} were judged anew`);
    }
  }

  /** Whether something is left to be made on the server. Looks on where it has found something last, and at all when that is gone. */
  private async hasToGet(server: ServerId): Promise<boolean> {
    const { engine } = this.options;
    if (await engine.question(() => hasUnfinished(server))) return true;
    const from = this.lostUpTo.get(server) ?? NO_BLOCK;
    for (let after: BlockId | undefined = from; after !== undefined;) {
      const behind: BlockId = after;
      const found: BadCopies = await engine.question(() => lookAtBad(server, behind));
      if (found.isFound) {
        this.lostUpTo.set(server, found.lostUpTo ?? NO_BLOCK);
        return true;
      }
      after = found.lostUpTo;
    }
    this.lostUpTo.delete(server);
    return from !== NO_BLOCK && this.hasToGet(server);
  }

  private step(server: ServerId): Promise<Survey | undefined> {
    const { engine } = this.options;
    return engine.change(function* () {
      const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
      return yield* surveyStep(view, server, AT_ONCE);
    });
  }
}
