/**
 * How a metadata server repairs, as options for `dfs meta` and `dfs up`.
 */
import { value, type OptionValues } from "./command.ts";
import { rate, seconds } from "./values.ts";

export const repairOptions = {
  outDelay: value(
    "<seconds>",
    seconds,
    "a data server silent for so long is replaced by others (default: 600)",
  ),
  repairRate: value(
    "<bytes>",
    rate,
    "bytes that repairs copy in a second, 0: no limit (default: 100M)",
  ),
};

/** What was chosen; what was not is left to the server. */
export interface RepairWish {
  readonly outDelayMs?: number;
  readonly repairBytesPerSecond?: number;
}

/** The options that were given. */
export function repairWishOf(options: OptionValues<typeof repairOptions>): RepairWish {
  const { outDelay, repairRate } = options;
  return {
    ...(outDelay === undefined ? {} : { outDelayMs: outDelay }),
    ...(repairRate === undefined ? {} : { repairBytesPerSecond: repairRate }),
  };
}

/** The same as flags of `dfs meta`. */
export function repairFlags({ outDelayMs, repairBytesPerSecond }: RepairWish): string[] {
  return [
    ...(outDelayMs === undefined ? [] : ["--out-delay", String(outDelayMs / 1000)]),
    ...(repairBytesPerSecond === undefined ? [] : ["--repair-rate", String(repairBytesPerSecond)]),
  ];
}
