// Runs one server as a process of its own: `run-server.ts meta|data OPTIONS-AS-JSON`. When it serves, it prints one line
// of JSON with its address. processes.ts starts it.

import { runDataServer, type DataRunOptions } from "../../src/server/data/server.ts";
import { runMetaServer, type MetaRunOptions } from "../../src/server/meta/server.ts";

const [kind, json = "{}"] = process.argv.slice(2);
const options: unknown = JSON.parse(json);
const onReady = (ready: object): void => console.log(JSON.stringify(ready));
if (kind === "meta") await runMetaServer({ ...(options as MetaRunOptions), onReady });
else await runDataServer({ ...(options as DataRunOptions), onReady });
process.exit(0);
