// What a server writes to standard error: nobody stops it by not reading, and nothing is lost at its end.

import { expect, test } from "bun:test";
import { join } from "node:path";

const MODULE = join(import.meta.dir, "../../src/base/standard-error.ts");
const LINES = 3_000;
const LINE = `${"x".repeat(99)}\n`;

/** A process that writes more than a pipe holds, then says so on standard output and does `after`. */
function writer(after: string): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const script = `
    const { standardErrorWriter } = await import(${JSON.stringify(MODULE)});
    const write = standardErrorWriter();
    for (let line = 0; line < ${LINES}; line++) write(${JSON.stringify(LINE)});
    console.log("written");
    ${after}`;
  return Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
}

test("a log that nobody reads holds nobody up, and is whole once it is read", async () => {
  const child = writer("process.stdin.resume(); setInterval(() => {}, 1000);");
  try {
    const said = await child.stdout.getReader().read();
    expect(new TextDecoder().decode(said.value)).toBe("written\n");
    let bytes = 0;
    for await (const chunk of child.stderr) {
      bytes += chunk.length;
      if (bytes >= LINES * LINE.length) break;
    }
    expect(bytes).toBe(LINES * LINE.length);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("a reader that has gone away ends nobody", async () => {
  const child = writer("await Bun.sleep(50); write('more'); await Bun.sleep(50); process.exit(7);");
  await child.stderr.cancel();
  expect(await child.exited).toBe(7);
});
