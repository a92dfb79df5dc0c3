// When a server that has lost its disk has been refilled. It may have had very many blocks of which no copy is left.

import { expect, test } from "bun:test";
import { blockId, type ServerId } from "../../../../src/base/ids.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { Engine } from "../../../../src/server/meta/engine.ts";
import { REFILL } from "../../../../src/server/meta/repair/need.ts";
import { Surveys } from "../../../../src/server/meta/repair/surveys.ts";
import type { Operation } from "../../../../src/server/meta/store/store.ts";
import { until } from "../support/durable.ts";
import { Harness, SERVERS } from "../namespace/harness.ts";

const SERVER: ServerId = SERVERS[0]!;
const LOST = 1_000;

/** A server that has lost its disk, and with it all copies of so many blocks. */
function rig() {
  const harness = new Harness();
  const { primitives } = harness;
  const lacks = (id: number, urgency: number): void => {
    const block = blockId(BigInt(id));
    primitives["replica.put"]({ block, server: SERVER, state: "bad" });
    primitives["repair.put"]({ block, missing: 1, urgency, reason: "badReplica", sinceNs: 1n });
  };
  for (let id = 1; id <= LOST; id++) lacks(id, 0);
  primitives["server.put"]({ ...primitives["server.get"](SERVER)!, filling: true });
  /** Of each question and change, how many blocks it has looked at. */
  const looks: number[] = [];
  let isAtEnd = false;
  function* watched<T>(operation: Operation<T>): Operation<T> {
    for (let answer: unknown; ;) {
      const step = operation.next(answer);
      if (step.done === true) return step.value;
      const { name } = step.value;
      if (name === "repair.get") looks[looks.length - 1]!++;
      if (name === "survey.list") isAtEnd = true;
      answer = yield step.value;
    }
  }
  const run = <T>(operation: () => Operation<T>): Promise<T> => {
    looks.push(0);
    return harness.run(watched(operation()));
  };
  const engine = { settings: { replicas: 3 }, nowNs: 1n, question: run, change: run };
  let filled = 0;
  const surveys = new Surveys({
    engine: engine as unknown as Engine,
    logger: silentLogger,
    mayBegin: () => true,
    compared: () => primitives["server.get"](SERVER)!.instance,
    onFilled: () => filled++,
    onJudged: () => undefined,
  });
  /** What is looked at until surveys have their turn. */
  const look = async (): Promise<readonly number[]> => {
    looks.length = 0;
    isAtEnd = false;
    surveys.kick();
    await until(() => isAtEnd);
    return [...looks];
  };
  return { harness, primitives, lacks, look, isFilled: () => filled > 0 };
}

const sum = (looks: readonly number[]): number => looks.reduce((one, other) => one + other, 0);

test("that is looked for in steps, and not from the beginning each time", async () => {
  const { harness, primitives, lacks, look, isFilled } = rig();
  lacks(LOST + 1, REFILL);
  lacks(LOST + 2, REFILL);
  const first = await look();
  expect(sum(first)).toBe(LOST + 1);
  expect(Math.max(...first)).toBeLessThan(LOST / 2);
  expect(sum(await look())).toBe(1);
  primitives["replica.delete"](blockId(BigInt(LOST + 1)), SERVER);
  expect(sum(await look())).toBe(1);
  expect(isFilled()).toBe(false);
  harness.close();
});

// One copy of it has turned out to be right, say.
test("what was lost when it was looked at and can be made by now is not forgotten", async () => {
  const { harness, primitives, lacks, look, isFilled } = rig();
  lacks(LOST + 1, REFILL);
  await look();
  lacks(5, REFILL);
  primitives["replica.delete"](blockId(BigInt(LOST + 1)), SERVER);
  await look();
  expect(isFilled()).toBe(false);
  primitives["replica.delete"](blockId(5n), SERVER);
  await look();
  expect(isFilled()).toBe(true);
  harness.close();
});
