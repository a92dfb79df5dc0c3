/**
 * A logger whose warnings are limited: what strangers can cause must not fill the disk, nor hide everything else.
 */
import type { Clock } from "./clock.ts";
import type { Logger } from "./logger.ts";

/** In each interval so many warnings are written as they come; the rest is counted, and told as one line when it is over. */
export const MAX_WARNINGS = 20;
export const WARNING_INTERVAL_MS = 10_000;

/** Like `logger`, with its warnings limited. `what` names in the plural what was left out: "connections were refused". */
export function limitedWarnings(logger: Logger, clock: Clock, what: string): Logger {
  let written = 0;
  let leftOut = 0;
  let running = false;
  const begin = (): void => {
    running = true;
    clock.setTimer(
      WARNING_INTERVAL_MS,
      () => {
        running = false;
        written = 0;
        if (leftOut === 0) return;
        logger.warn(`${leftOut} more ${what} in ${WARNING_INTERVAL_MS / 1000} s`);
        leftOut = 0;
        written = 1;
        begin(); // the summary counts: an attack that goes on does not begin anew with a full measure at once
      },
      { background: true },
    );
  };
  return {
    debug: (message, fields) => logger.debug(message, fields),
    info: (message, fields) => logger.info(message, fields),
    error: (message, fields) => logger.error(message, fields),
    warn: (message, fields) => {
      if (!running) begin();
      if (written >= MAX_WARNINGS) {
        leftOut++;
        return;
      }
      written++;
      logger.warn(message, fields);
    },
  };
}
