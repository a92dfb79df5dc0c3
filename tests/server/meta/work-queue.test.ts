// Work has its turn by owner. Four connections that asked for paths of sixteen hundred parts, 256 each, kept everybody else
// waiting for ten seconds, and a hundred of them let no client in at all.

import { describe, expect, test } from "bun:test";
import { LONG_WORK_MS, TURN_MS, WorkQueue } from "../../../src/server/meta/work-queue.ts";
import { failureOf, HeldSync, makeRig, temporaryDirectory } from "./support/durable.ts";

const MOST = 100;

interface Piece {
  readonly owner: unknown;
  readonly name: string;
  readonly ms: number;
}

/** A queue on a clock that goes on by what each piece of work takes, and the names of what one turn does. */
function makeQueue() {
  let nowMs = 0;
  const queue = new WorkQueue<Piece>(() => nowMs);
  const push = (owner: unknown, count: number, ms: number): void => {
    for (let number = 1; number <= count; number++) {
      queue.push({ owner, name: `${String(owner)}${number}`, ms });
    }
  };
  const run = (most = MOST): string[] => {
    const names: string[] = [];
    for (const { name, ms } of queue.turn(most)) {
      names.push(name);
      nowMs += ms;
    }
    return names;
  };
  return { queue, push, run };
}

describe("WorkQueue", () => {
  test("does one piece of each owner after the other, in the order of each", () => {
    const { push, run, queue } = makeQueue();
    push("a", 3, 0);
    push("b", 1, 0);
    push("c", 2, 0);
    expect(run(4)).toEqual(["a1", "b1", "c1", "a2"]);
    expect(queue.size).toBe(2);
    expect(run()).toEqual(["c2", "a3"]);
  });

  test("does one piece in a turn of those whose work takes long, and first what others want", () => {
    const { push, run } = makeQueue();
    push("long", 5, TURN_MS);
    expect(run()).toEqual(["long1"]);
    push("other long", 5, TURN_MS);
    push("quick", 3, 0);
    expect(run()).toEqual(["long2", "other long1"]); // nothing was known of this one
    expect(run()).toEqual(["long3", "quick1", "quick2", "quick3"]);
    expect(run()).toEqual(["other long2"]);
    expect(run()).toEqual(["long4"]);
  });

  test("ends a turn when its time is over, also when all of it was quick", () => {
    const { push, run, queue } = makeQueue();
    push("a", 100, LONG_WORK_MS / 2);
    push("b", 100, LONG_WORK_MS / 2);
    const done = run(200);
    expect(done).toHaveLength((2 * TURN_MS) / LONG_WORK_MS);
    expect(queue.size).toBe(200 - done.length);
  });

  test("takes an owner for one of the others again whose work has not been long for a while", () => {
    const { push, run } = makeQueue();
    push("a", 1, TURN_MS);
    run();
    push("a", 64, 0);
    push("b", 1, 0);
    expect(run(2)).toEqual(["a1", "b1"]);
    while (run().length > 0);
    push("a", 3, 0);
    push("b", 1, 0);
    expect(run()).toEqual(["a1", "b1", "a2", "a3"]);
  });

  test("gives back what waits of an owner who has gone, and of all", () => {
    const { push, run, queue } = makeQueue();
    push("a", 2, TURN_MS);
    run();
    push("b", 2, 0);
    push(undefined, 2, 0);
    expect(queue.forget("a").map(({ name }) => name)).toEqual(["a2"]);
    expect(queue.forget("b").map(({ name }) => name)).toEqual(["b1", "b2"]);
    expect(queue.clear()).toHaveLength(2);
    expect(queue.size).toBe(0);
  });
});

describe("GroupCommit", () => {
  test("does not do what somebody has asked for who has gone", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path, new HeldSync().sync);
    const { group } = rig;
    let done = 0;
    const asked = [group.change(() => done++, "owner"), group.question(() => done++, "owner")];
    const other = group.question(() => "answered", "other");
    group.forget("owner");
    for (const each of asked) expect(await failureOf(each)).toMatchObject({ kind: "unreachable" });
    expect(await other).toBe("answered");
    expect(done).toBe(0);
  });

  test("answers everybody when no transaction can be begun", async () => {
    using dir = temporaryDirectory();
    using rig = makeRig(dir.path, new HeldSync().sync);
    const { group, store } = rig;
    store.begin = () => {
      throw Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
    };
    const asked = ["a", "b"].map((owner) => group.change(() => undefined, owner));
    for (const each of asked) expect(await failureOf(each)).toMatchObject({ kind: "busy" });
  });
});
