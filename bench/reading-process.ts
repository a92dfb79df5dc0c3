/**
 * A process of its own that reads and times its reads: how those who measure start it, and what it does in there.
 *
 * It prints an empty line when it begins to read. When its standard input ends it prints all samples and is gone.
 */

/** When a read began, in milliseconds of the wall clock, and how long it took. */
export type Sample = readonly [atMs: number, tookMs: number];

export interface ReadingProcess {
  /** Ends it; returns what it has measured. */
  readonly end: () => Promise<readonly Sample[]>;
  readonly kill: () => void;
}

/** Starts `script` with these arguments; resolves when it has begun to read. @throws Error when it does not. */
export async function startReading(
  script: string,
  words: readonly string[],
): Promise<ReadingProcess> {
  const child = Bun.spawn([process.execPath, script, ...words], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const begun = Promise.withResolvers<void>();
  const output = (async (): Promise<string> => {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      begun.resolve();
    }
    begun.reject(new Error(`the reader ${words.join(" ")} did not begin`));
    return text;
  })();
  await begun.promise;
  const end = async (): Promise<readonly Sample[]> => {
    await child.stdin.end();
    const text = await output;
    if ((await child.exited) !== 0) throw new Error(`the reader ${words.join(" ")} failed`);
    return JSON.parse(text) as Sample[];
  };
  return { end, kill: () => child.kill() };
}

/** The reader's side: runs `work`, which adds to `samples`, until standard input ends, and ends the process. */
export async function readUntilTold(
  work: (samples: Sample[], over: AbortSignal) => Promise<void>,
): Promise<never> {
  const over = new AbortController();
  process.stdin.on("end", () => over.abort()).resume();
  const samples: Sample[] = [];
  await Bun.write(Bun.stdout, "\n");
  await work(samples, over.signal);
  await Bun.write(Bun.stdout, JSON.stringify(samples));
  process.exit(0);
}
