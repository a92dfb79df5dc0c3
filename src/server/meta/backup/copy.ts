/** Copies of the database in a file of their own, made by a thread while the service goes on. */
import { DfsError } from "../../../base/errors.ts";
import { lsn, reignId, type Lsn, type ReignId } from "../../../base/ids.ts";
import { DatabaseThread } from "../database-thread.ts";

export type CopyOrder =
  | { readonly kind: "copy"; readonly path: string; readonly target: string }
  | { readonly kind: "close" };

export type CopyAnswer =
  | {
      readonly kind: "copied";
      readonly lsn: bigint;
      readonly reign: bigint;
      readonly files: number;
    }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "closed" };

/** What a copy shows. */
export interface Copied {
  readonly reign: ReignId;
  readonly lsn: Lsn;
  /** Regular files in it. */
  readonly files: number;
}

export class CopyThread {
  private readonly path: string;
  private readonly thread = new DatabaseThread<CopyOrder, CopyAnswer>(
    new URL("./copy-worker.ts", import.meta.url),
  );

  /** `path` is the database. */
  constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes a copy at `target`, over what is there. One at a time. What it shows may not be durable in the database yet, and
   * the copy itself is not synced.
   * @throws DfsError `io` when it cannot be made, or when it turns out damaged.
   */
  async copy(target: string): Promise<Copied> {
    const answer = await this.thread.ask({ kind: "copy", path: this.path, target });
    if (answer.kind === "copied") {
      return { reign: reignId(answer.reign), lsn: lsn(answer.lsn), files: answer.files };
    }
    throw new DfsError(
      "io",
      `the metadata database cannot be copied: ${answer.kind === "failed" ? answer.message : "the thread has ended"}`,
    );
  }

  close(): Promise<void> {
    return this.thread.close({ kind: "close" });
  }
}
