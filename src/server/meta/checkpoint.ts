/**
 * Checkpoints: when the write-ahead log is copied into the database file, so that it stays short.
 *
 * A passive checkpoint runs beside everything else, some time after a change and after every PASSIVE_BYTES of log. When
 * it has caught up with the writer, SQLite begins the log anew from its start. Under steady load it never catches up:
 * then, past TRUNCATE_BYTES, changes pause for the short rest that a passive checkpoint has left over, and the log is
 * cut to nothing. Questions go on and the event loop is free all the while.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { DfsError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { DatabaseThread } from "./database-thread.ts";
import { classifyEngineError } from "./engine-errors.ts";

const MiB = 1024 * 1024;

/** Log that is written between two passive checkpoints at most. */
const PASSIVE_BYTES = 16 * MiB;

/** A log longer than this is cut. */
const TRUNCATE_BYTES = 64 * MiB;

/** After a change the log is copied within this time, however short it is. */
const IDLE_DELAY_MS = 10_000;

export type CheckpointMode = "PASSIVE" | "TRUNCATE";

export type CheckpointOrder =
  | { readonly kind: "checkpoint"; readonly path: string; readonly mode: CheckpointMode }
  | { readonly kind: "close" };

export type CheckpointAnswer =
  | { readonly kind: "done"; readonly complete: boolean }
  | { readonly kind: "failed"; readonly message: string; readonly code: string }
  | { readonly kind: "closed" };

/** Whoever does the copying: a thread, or the engine of a simulator. */
export interface CheckpointRunner {
  /** Resolves to true when the whole log has been copied. @throws the engine's error, with its `code`. */
  run(mode: CheckpointMode): Promise<boolean>;
  close(): Promise<void>;
}

export interface CheckpointerOptions {
  readonly runner: CheckpointRunner;
  /** Changes are held up between these two. */
  readonly pause: () => void;
  readonly resume: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onFatal: (error: DfsError) => void;
  /** Defaults for tests to lower: TRUNCATE_BYTES and PASSIVE_BYTES. */
  readonly truncateBytes?: number;
  readonly passiveBytes?: number;
}

export class Checkpointer {
  private readonly options: CheckpointerOptions;
  private running: Promise<void> | undefined;
  private timer: Timer | undefined;
  private closed = false;
  /** Length of the log when the last checkpoint ended. */
  private lastBytes = 0;
  /** The log's length as last heard of. */
  private bytes = 0;

  constructor(options: CheckpointerOptions) {
    this.options = options;
  }

  /** Tells how long the log is, after each change of it. */
  logChanged(bytes: number): void {
    this.bytes = bytes;
    if (this.running !== undefined || this.closed) return;
    const passiveBytes = this.options.passiveBytes ?? PASSIVE_BYTES;
    if (bytes - this.lastBytes >= passiveBytes) this.start();
    else this.startLater();
  }

  /** Waits for a checkpoint that runs, and begins no more. */
  async close(): Promise<void> {
    this.closed = true;
    this.timer?.cancel();
    await this.running;
    await this.options.runner.close();
  }

  private startLater(): void {
    this.timer ??= this.options.clock.setTimer(IDLE_DELAY_MS, () => this.start(), {
      background: true,
    });
  }

  private start(): void {
    this.timer?.cancel();
    this.timer = undefined;
    if (this.running !== undefined || this.closed) return;
    this.running = this.checkpoint().finally(() => {
      this.running = undefined;
    });
  }

  private async checkpoint(): Promise<void> {
    try {
      await this.options.runner.run("PASSIVE");
      this.lastBytes = this.bytes;
      if (this.bytes >= (this.options.truncateBytes ?? TRUNCATE_BYTES)) await this.truncate();
    } catch (error) {
      const failure = classifyEngineError(error);
      if (failure.fatal) this.options.onFatal(failure.error);
      else
        this.options.logger.warn(
          `the database could not be checkpointed: ${failure.error.message}`,
        );
    }
  }

  private async truncate(): Promise<void> {
    this.options.pause();
    try {
      const complete = await this.options.runner.run("TRUNCATE");
      if (complete) this.lastBytes = 0;
      else this.options.logger.info("the write-ahead log is still being read; it is cut later");
    } finally {
      this.options.resume();
    }
  }
}

/** Checkpoints of the database at `path`, in a thread of their own. */
export class CheckpointThread implements CheckpointRunner {
  private readonly path: string;
  private readonly thread = new DatabaseThread<CheckpointOrder, CheckpointAnswer>(
    new URL("./checkpoint-worker.ts", import.meta.url),
  );

  constructor(path: string) {
    this.path = path;
  }

  async run(mode: CheckpointMode): Promise<boolean> {
    const answer = await this.thread.ask({ kind: "checkpoint", path: this.path, mode });
    if (answer.kind === "done") return answer.complete;
    if (answer.kind === "closed") return false;
    throw Object.assign(new Error(answer.message), { code: answer.code });
  }

  close(): Promise<void> {
    return this.thread.close({ kind: "close" });
  }
}
