// Questions that the metadata server passes on hold nobody up but those who ask the same. A few dozen of them about a data server
// that did not answer took all the places at making replies that can be long: nobody could open a file for 30 s, until they were
// given up.

import { expect, setDefaultTimeout, test } from "bun:test";
import { clusterQuarantine } from "../../../src/protocol/messages/backup.ts";
import { sessionOpen } from "../../../src/protocol/messages/session.ts";
import { blockId, serverId } from "../../../src/base/ids.ts";
import { bytesOf, OWNER } from "../../support/cluster.ts";
import { spawnCluster } from "../../support/processes.ts";
import { connect } from "./support/connecting.ts";

setDefaultTimeout(120_000);
const options = { timeoutMs: 100_000 };
const ASKED = 64;

test("files are opened while a data server does not answer what was asked of it", async () => {
  const cluster = await spawnCluster({ servers: 1, settings: { replicas: 1 } });
  try {
    const client = await cluster.client();
    const path = bytesOf("/file");
    await client.put(path, [new Uint8Array(1)], { ...OWNER, keepReplaced: false });
    await (await client.open(path)).close();
    const peer = await connect(cluster.meta.address, { label: "asks much" });
    await peer.request(sessionOpen, { label: "asks much" }, options);
    const page = { server: serverId(1), after: blockId(0n) };
    await peer.request(clusterQuarantine, page, options);
    cluster.server(0).freeze();
    let answered = 0;
    const asked = Array.from({ length: ASKED }, async () => {
      await peer.request(clusterQuarantine, page, options).catch(() => undefined);
      answered++;
    });
    await peer.request(sessionOpen, { label: "again" }, options).catch(() => undefined); // they have come
    await (await client.open(path)).close();
    expect(answered).toBe(0);
    peer.close("that was all");
    await Promise.all(asked);
    cluster.server(0).thaw();
  } finally {
    await cluster.stop();
  }
});
