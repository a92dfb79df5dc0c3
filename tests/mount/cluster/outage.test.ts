// What is told during an outage without waiting for its end.

import { expect, test } from "bun:test";
import type { CancelSignal } from "../../../src/base/cancellation.ts";
import { DfsError } from "../../../src/base/errors.ts";
import { LastKnown, Outage } from "../../../src/mount/cluster/outage.ts";

/** A cluster whose answers are given by hand. */
function asked() {
  const questions: (PromiseWithResolvers<number> & { signal?: CancelSignal })[] = [];
  const ask = (signal?: CancelSignal): Promise<number> => {
    const question = { ...Promise.withResolvers<number>(), ...(signal && { signal }) };
    questions.push(question);
    return question.promise;
  };
  return { questions, ask };
}

test("without an outage the cluster's answer is waited for, and its errors are told", async () => {
  const { questions, ask } = asked();
  const value = new LastKnown(ask, new Outage());
  const first = value.get();
  questions[0]!.resolve(1);
  expect(await first).toBe(1);
  const second = value.get();
  questions[1]!.resolve(2);
  expect(await second).toBe(2);
  const third = value.get();
  questions[2]!.reject(new DfsError("stale", "gone"));
  expect(String(await third.catch((error: unknown) => error))).toContain("gone");
});

test("an outage that begins while somebody waits gives them the last answer, and withdraws the question", async () => {
  const { questions, ask } = asked();
  const outage = new Outage();
  const value = new LastKnown(ask, outage);
  const first = value.get();
  questions[0]!.resolve(1);
  await first;
  const second = value.get();
  outage.begin();
  expect(await second).toBe(1);
  expect(questions[1]!.signal?.aborted).toBe(true);
  questions[1]!.reject(new DfsError("cancelled", "withdrawn"));
  expect(await value.get()).toBe(1);

  outage.end();
  const later = value.get();
  questions.at(-1)!.resolve(5);
  expect(await later).toBe(5);
});

test("where there is no last answer, the end of the outage is waited for", async () => {
  const { questions, ask } = asked();
  const outage = new Outage();
  outage.begin();
  const value = new LastKnown(ask, outage);
  const first = value.get();
  questions[0]!.resolve(7);
  expect(await first).toBe(7);
});

test("who gives up waiting takes the question back", async () => {
  const { questions, ask } = asked();
  const value = new LastKnown(ask, new Outage());
  const controller = new AbortController();
  void value.get(controller.signal).catch(() => undefined);
  controller.abort();
  expect(questions[0]!.signal?.aborted).toBe(true);
  questions[0]!.reject(new DfsError("cancelled", "given up"));
});
