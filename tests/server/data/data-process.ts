// A data server as a process of its own, for tests that kill it. Arguments: the directory, the address of the service,
// `new` or `present`, and optionally the address to listen on (empty: any) and `allowFaults`. It prints its address when it is ready; what it fails
// with goes to standard error as `kind: message`.

import { silentLogger } from "../../../src/base/logger.ts";
import { isDfsError } from "../../../src/base/errors.ts";
import { runDataServer, type IdentityWish } from "../../../src/server/data/server.ts";

const [dir, meta, identity, listen, faults] = process.argv.slice(2);
try {
  await runDataServer({
    dir: dir!,
    meta: meta!,
    identity: identity as IdentityWish,
    listen: listen === "" ? undefined : listen,
    allowFaults: faults === "allowFaults",
    logger: silentLogger,
    reserveBytes: 0,
    segmentBytes: 128 * 1024,
    firstContactTimeoutMs: 20_000,
    onReady: ({ address, server }) => console.log(`${server} ${address}`),
  });
} catch (error) {
  console.error(isDfsError(error) ? `${error.kind}: ${error.message}` : error);
  process.exit(1);
}
process.exit(0);
