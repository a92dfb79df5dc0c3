// Comparing a server with the record, while something happens between the transactions of that.

import { expect, test } from "bun:test";
import { blockId, inodeId, serverId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { reconcile } from "../../../src/server/meta/reconcile.ts";
import type { Operation } from "../../../src/server/meta/store/store.ts";
import { messageOfFailure } from "../../support/failure.ts";
import { Harness } from "./namespace/harness.ts";

const S4 = serverId(4);
const BLOCK = blockId(7n);

/** Compares server 4, which holds a copy that is not on record; `meanwhile` runs when its page is asked for. */
async function compare(harness: Harness, meanwhile: () => void) {
  const { primitives } = harness;
  primitives["block.insert"]({
    id: BLOCK,
    state: "live",
    length: 1,
    checksum: 1n,
    group: 0,
    refs: 1,
    inode: inodeId(0n),
    fileOffset: 0,
    diedNs: undefined,
  });
  const run = <T>(operation: () => Operation<T>): Promise<T> => harness.run(operation());
  const engine = { question: run, change: run, settings: { replicas: 3 }, nowNs: harness.nowNs };
  const request = () => {
    meanwhile();
    const blocks = [{ block: BLOCK, length: 1, checksum: 1n }];
    return Promise.resolve({ body: { blocks, more: false } });
  };
  const member = { server: S4, peer: { request } };
  return reconcile({ engine, logger: silentLogger } as never, member as never);
}

test("a copy that came late goes on record", async () => {
  const harness = new Harness();
  expect(await compare(harness, () => undefined)).toMatchObject({ held: 1, found: 1 });
  expect(harness.primitives["replica.get"](BLOCK, S4)).toBe("present");
  harness.close();
});

// The row would have stayed for ever: of a server that does not exist nothing is taken off the record.
test("nothing goes on record of a server that is removed at that moment", async () => {
  const harness = new Harness();
  const remove = (): void => harness.primitives["server.delete"](S4);
  expect(await messageOfFailure(compare(harness, remove))).toContain("was removed");
  expect(harness.primitives["replica.get"](BLOCK, S4)).toBeUndefined();
  harness.close();
});
