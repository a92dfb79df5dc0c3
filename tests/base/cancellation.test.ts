import { expect, mock, test } from "bun:test";
import { Cancellation } from "../../src/base/cancellation.ts";

test("is given once, to each listener that is left", () => {
  const cancellation = new Cancellation();
  const [heard, left] = [mock(), mock()];
  cancellation.addEventListener("abort", heard);
  cancellation.addEventListener("abort", left);
  cancellation.removeEventListener("abort", left);
  expect(cancellation.aborted).toBe(false);
  cancellation.abort();
  cancellation.abort();
  expect(cancellation.aborted).toBe(true);
  expect(heard).toHaveBeenCalledTimes(1);
  expect(left).not.toHaveBeenCalled();
});

test("follows an outer one, also an AbortSignal, until it has been given", () => {
  for (const outer of [new AbortController(), new Cancellation()]) {
    const signal = outer instanceof AbortController ? outer.signal : outer;
    const [inner, over] = [new Cancellation(signal), new Cancellation(signal)];
    const heard = mock();
    inner.addEventListener("abort", heard);
    over.abort();
    expect(signal.aborted).toBe(false);
    outer.abort();
    expect([inner.aborted, heard.mock.calls.length]).toEqual([true, 1]);
    expect(new Cancellation(signal).aborted).toBe(true);
  }
});
