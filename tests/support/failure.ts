// What a promise is rejected with, for tests of failures.

/** The reason with which `work` is rejected. @throws Error when it is not. */
export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("it should have failed, and did not");
}

/** The message of the error with which `work` is rejected. */
export async function messageOfFailure(work: Promise<unknown>): Promise<string> {
  const error = await failureOf(work);
  return error instanceof Error ? error.message : String(error);
}
