/**
 * Warnings to the client's user: each server and kind of trouble is told once.
 */
import type { ServerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { ClientWarning } from "./api.ts";

export class Warnings {
  private readonly told = new Set<string>();
  private readonly onWarning: ((warning: ClientWarning) => void) | undefined;
  private readonly logger: Logger;

  constructor(onWarning: ((warning: ClientWarning) => void) | undefined, logger: Logger) {
    this.onWarning = onWarning;
    this.logger = logger;
  }

  /** Tells `warning` unless one of its kind about the same server has been told already. */
  warn(warning: ClientWarning): void {
    const key = keyOf(warning.kind, warning.server);
    if (this.told.has(key)) {
      this.logger.debug(warning.message);
      return;
    }
    this.told.add(key);
    this.logger.warn(warning.message);
    this.onWarning?.(warning);
  }

  /** The trouble is over; when it comes again it is told again. */
  rearm(kind: ClientWarning["kind"], server?: ServerId): void {
    this.told.delete(keyOf(kind, server));
  }
}

function keyOf(kind: ClientWarning["kind"], server: ServerId | undefined): string {
  return `${kind} ${server ?? ""}`;
}
