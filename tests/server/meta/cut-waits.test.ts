// Whose turn it is while an operation waits for a cut. Cuts are ended here when a test says so.

import { expect, test } from "bun:test";
import { inodeId, type InodeId } from "../../../src/base/ids.ts";
import { CutWaits, type InTurn } from "../../../src/server/meta/cutting.ts";
import type { Engine } from "../../../src/server/meta/engine.ts";
import { CutPending } from "../../../src/server/meta/namespace/operations.ts";
import { ask, runSync, type Operation } from "../../../src/server/meta/store/store.ts";
import { Harness } from "./namespace/harness.ts";
import { turns } from "./support/durable.ts";

const FILE = inodeId(7n);
const OTHER = inodeId(8n);

/** Operations over two connections, and in which order they were executed. */
function rig() {
  const { primitives } = new Harness();
  const step = Promise.withResolvers<void>();
  let isCut = false;
  const engine = { lazy: () => step.promise.then(() => undefined) } as unknown as Engine;
  const waits = new CutWaits(engine);
  const [one, another] = [{}, {}];
  const executed: string[] = [];
  const request = (name: string, owner: object, files: InodeId[], grows = false): Promise<void> =>
    waits.run(
      owner,
      () => files,
      async (inTurn: InTurn) => {
        const operation = (function* (): Operation<void> {
          yield* ask("session.count", "live");
          if (grows && !isCut) throw new CutPending(FILE, 100);
          executed.push(name);
        })();
        runSync(primitives, inTurn(operation));
      },
    );
  const endCut = (): void => {
    isCut = true;
    step.resolve();
  };
  return { request, one, another, executed, endCut };
}

test("what is asked of a file has its turn behind what waits for its cut", async () => {
  const { request, one, executed, endCut } = rig();
  const all = [
    request("grow", one, [FILE], true),
    request("look", one, [FILE]),
    request("copy", one, [OTHER, FILE]),
    request("look again", one, [FILE]),
  ];
  await turns();
  expect(executed).toEqual([]);
  endCut();
  await Promise.all(all);
  expect(executed).toEqual(["grow", "look", "copy", "look again"]);
});

test("other files and other connections do not wait", async () => {
  const { request, one, another, executed, endCut } = rig();
  const grown = request("grow", one, [FILE], true);
  await request("another file", one, [OTHER]);
  await request("another connection", another, [FILE]);
  await request("nothing named", one, []);
  expect(executed).toEqual(["another file", "another connection", "nothing named"]);
  endCut();
  await grown;
  await request("afterwards", one, [FILE]);
  expect(executed.slice(3)).toEqual(["grow", "afterwards"]);
});

test("what waits behind something that waits itself has its turn after both", async () => {
  const { request, one, executed, endCut } = rig();
  const grown = request("grow", one, [FILE], true);
  const copied = request("copy", one, [FILE, OTHER]);
  const seen = request("look", one, [OTHER]);
  await turns();
  expect(executed).toEqual([]); // the last one is behind the copy, which is behind the first
  endCut();
  await Promise.all([grown, copied, seen]);
  expect(executed).toEqual(["grow", "copy", "look"]);
});
