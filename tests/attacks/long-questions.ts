// Questions that are short, and whose answers are much work for a server.

import { MAX_ENTRIES_PER_PAGE, MAX_PATH_BYTES } from "../../src/base/limits.ts";
import { backupList, clusterQuarantine } from "../../src/protocol/messages/backup.ts";
import { plan } from "../../src/protocol/messages/cluster.ts";
import { fsckStart } from "../../src/protocol/messages/fsck.ts";
import { readdir, resolve } from "../../src/protocol/messages/namespace.ts";
import type { Item } from "../../src/protocol/schema.ts";

const SERVER_1 = 1;
const ROOT = 1n;
const META_LEVEL = 0;
const DRAIN = 0;
const PATIENCE_MS = 1000;

/** By the kind of server that is asked. */
export const LONG_QUESTIONS: Readonly<
  Record<"meta" | "data", readonly (readonly [code: number, body: Item])[]>
> = {
  meta: [
    [resolve.code, [ROOT, Buffer.from("./".repeat(MAX_PATH_BYTES / 2)), true]],
    [plan.code, [SERVER_1, DRAIN]],
    [clusterQuarantine.code, [SERVER_1, 0n]],
    [fsckStart.code, [META_LEVEL, null, true, PATIENCE_MS]],
    [readdir.code, [ROOT, null, MAX_ENTRIES_PER_PAGE, true]],
  ],
  data: [[backupList.code, [true, null]]],
};
