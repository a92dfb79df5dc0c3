/**
 * Answers that need no cluster. Programs that only want to show something (df, file managers) ask for the free space and for the
 * attributes of the mount point; while the metadata service is known to be away they are told what was so the last time,
 * instead of waiting for it with everybody else.
 */
import { Cancellation, type CancelSignal } from "../../base/cancellation.ts";

/** Whether the metadata service is away, as the client tells it. */
export class Outage {
  private begun = Promise.withResolvers<void>();
  private away = false;

  begin(): void {
    this.away = true;
    this.begun.resolve();
  }

  end(): void {
    if (!this.away) return;
    this.away = false;
    this.begun = Promise.withResolvers();
  }

  /** Resolves when it is away; at once when it is already. */
  whenAway(): Promise<void> {
    return this.begun.promise;
  }
}

/** Something that the cluster is asked for, and its last answer for an outage. */
export class LastKnown<T> {
  private readonly ask: (signal?: CancelSignal) => Promise<T>;
  private readonly outage: Outage;
  private last: T | undefined;

  constructor(ask: (signal?: CancelSignal) => Promise<T>, outage: Outage) {
    this.ask = ask;
    this.outage = outage;
  }

  /**
   * What the cluster says now; during an outage what it said last, if it ever did.
   * @throws DfsError as asking does, when there is no answer of before.
   */
  async get(signal?: CancelSignal): Promise<T> {
    const given = new Cancellation(signal);
    const asked = this.ask(given);
    const { last } = this;
    if (last === undefined) return this.remember(await asked);
    try {
      return await Promise.race([
        asked.then((answer) => this.remember(answer)),
        this.outage.whenAway().then(() => last),
      ]);
    } finally {
      asked.catch(() => undefined); // nobody waits for it any more
      given.abort();
    }
  }

  private remember(answer: T): T {
    this.last = answer;
    return answer;
  }
}
