// A client of a test's cluster, for what no command makes.

import type { DfsClient } from "../../../src/client/api.ts";
import { connectClient } from "../../../src/client/client.ts";
import type { LocalCluster } from "../../support/local-cluster.ts";

/** Runs `work` with a client of `cluster`, which is closed afterwards. */
export async function withDfs<T>(
  cluster: LocalCluster,
  work: (client: DfsClient) => Promise<T>,
): Promise<T> {
  const client = await connectClient({
    metaAddress: cluster.describe().meta,
    label: "test",
    firstContactTimeoutMs: 30_000,
  });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}
