// Looking again and again whether something has happened.

/**
 * How long to wait before one looks again, after so long a wait: a twentieth of it, so that little is lost by the pauses, and
 * what takes long is not slowed down by the looking.
 */
export function pauseMs(waitedMs: number): number {
  return Math.min(50, Math.max(5, waitedMs / 20));
}
