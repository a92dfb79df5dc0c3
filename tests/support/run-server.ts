// Runs one server as a process of its own: `run-server.ts meta|data OPTIONS-AS-JSON`. When it serves, it prints one line
// of JSON with its address. processes.ts starts it. Only the server that is wanted is loaded.

import type { DataRunOptions } from "../../src/server/data/server.ts";
import type { MetaRunOptions } from "../../src/server/meta/server.ts";

import { readKey } from "../../src/tools/shared/cluster-key.ts";

const [kind, json = "{}"] = process.argv.slice(2);
const { keyFile, ...rest } = JSON.parse(json) as { keyFile?: string };
const options: unknown = { ...rest, key: readKey(keyFile) };
const onReady = (ready: object): void => console.log(JSON.stringify(ready));
if (kind === "meta") {
  const { runMetaServer } = await import("../../src/server/meta/server.ts");
  await runMetaServer({ ...(options as MetaRunOptions), onReady });
} else {
  const { runDataServer } = await import("../../src/server/data/server.ts");
  await runDataServer({ ...(options as DataRunOptions), onReady });
}
process.exit(0);
