/**
 * Standard error of a server, for its log.
 *
 * Not `process.stderr`: asking for it loads Node's streams, which is a third of what a server's start costs.
 */

/**
 * Writes text to standard error as far as that is possible at once; the rest follows when whoever reads it is ready, so
 * that nobody stops a server by not reading its log. When nobody can read it any more, it is lost.
 */
export function standardErrorWriter(): (text: string) => void {
  const sink = Bun.stderr.writer();
  return (text) => {
    void flushed(sink, text);
  };
}

async function flushed(sink: Bun.FileSink, text: string): Promise<void> {
  try {
    void sink.write(text);
    await sink.flush();
  } catch {
    return; // serving goes on, and there is nowhere to say it
  }
}
