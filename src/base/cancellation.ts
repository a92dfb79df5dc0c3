/**
 * Giving up: what tells work that nobody waits for it any more.
 *
 * An AbortSignal does that as well and can be given wherever a CancelSignal is taken. But it costs 550 bytes outside the heap of
 * JavaScript, of which the collector knows nothing: where there is one for each request, they pile up unseen.
 */

export interface CancelSignal {
  readonly aborted: boolean;
  addEventListener(
    type: "abort",
    listener: () => void,
    options?: { readonly once?: boolean },
  ): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** A signal together with the means to give it. It is given once, and each listener hears of it once. */
export class Cancellation implements CancelSignal {
  private given = false;
  private listeners: Set<() => void> | undefined;
  private readonly outer: CancelSignal | undefined;
  private readonly onOuter = (): void => this.abort();

  /** With an `outer` one it is given when that is. Whoever makes such a one calls `abort` in the end, or the outer keeps it. */
  constructor(outer?: CancelSignal) {
    this.outer = outer;
    if (outer?.aborted === true) this.abort();
    else outer?.addEventListener("abort", this.onOuter, { once: true });
  }

  get aborted(): boolean {
    return this.given;
  }

  abort(): void {
    if (this.given) return;
    this.given = true;
    this.outer?.removeEventListener("abort", this.onOuter);
    const { listeners } = this;
    this.listeners = undefined;
    for (const listener of listeners ?? []) listener();
  }

  addEventListener(_type: "abort", listener: () => void): void {
    if (!this.given) (this.listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: "abort", listener: () => void): void {
    this.listeners?.delete(listener);
  }
}
