/**
 * The settings of a cluster as options, for `dfs meta` and `dfs up`.
 */
import { MAX_BLOCK_BYTES, MAX_REPLICAS, MIN_BLOCK_BYTES } from "../../base/limits.ts";
import type { ClusterSettings } from "./cluster-file.ts";
import { value, type OptionValues } from "./command.ts";
import { sizeText } from "./format.ts";
import { count, size } from "./values.ts";

export const settingsOptions = {
  blockSize: value(
    "<bytes>",
    size,
    `size of a block, ${MIN_BLOCK_BYTES} to ${sizeText(MAX_BLOCK_BYTES)}: 8, 64K, 1M (default: 1M)`,
  ),
  replicas: value("<n>", count(1, MAX_REPLICAS), "copies of each block (default: 3)"),
  writeQuorum: value(
    "<n>",
    count(1, MAX_REPLICAS),
    "copies that a write needs when servers are missing (default: 2)",
  ),
  readQuorum: value(
    "<n>",
    count(1, MAX_REPLICAS),
    "copies that a read reads and compares (default: 1)",
  ),
};

/** The settings that were given. */
export function settingsOf(options: OptionValues<typeof settingsOptions>): ClusterSettings {
  const { blockSize, replicas, writeQuorum, readQuorum } = options;
  return {
    ...(blockSize === undefined ? {} : { blockSize }),
    ...(replicas === undefined ? {} : { replicas }),
    ...(writeQuorum === undefined ? {} : { writeQuorum }),
    ...(readQuorum === undefined ? {} : { readQuorum }),
  };
}
