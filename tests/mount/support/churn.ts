// A program that makes files, writes, reads, looks at, lists, renames and removes them again, round after round, and leaves nothing.
// What it reads it compares.
//
//     churn.ts DIRECTORY ROUNDS

import * as fs from "node:fs/promises";

const AT_ONCE = 8;
const LENGTH = 20_000;

const [, , directory = "", rounds = "1"] = process.argv;
let left = Number(rounds);

await Promise.all(
  Array.from({ length: AT_ONCE }, async (_, worker) => {
    while (left-- > 0) await round(`${directory}/of-${worker}`);
  }),
);

/** What is there, for the message of a round that has failed. */
async function state(place: string, sinceMs: number): Promise<string> {
  const told = (what: Promise<unknown>): Promise<string> =>
    what.then(
      (found) => JSON.stringify(found),
      (error: unknown) => String(error),
    );
  const names = await told(fs.readdir(place));
  const stats = [place, `${place}/file`, `${place}/renamed`].map(async (path) => {
    return told(fs.stat(path).then(({ ino, size }) => ({ ino, size })));
  });
  return `${Math.round(performance.now() - sinceMs)} ms after its begin: ${names}, ${(await Promise.all(stats)).join(", ")}`;
}

async function round(place: string): Promise<void> {
  const beganMs = performance.now();
  try {
    await changes(place);
  } catch (error) {
    throw new Error(`${place}: ${await state(place, beganMs)}`, { cause: error });
  }
}

async function changes(place: string): Promise<void> {
  const bytes = Buffer.alloc(LENGTH, `${left} `);
  await fs.mkdir(place);
  await fs.writeFile(`${place}/file`, bytes);
  await fs.stat(`${place}/file`);
  await fs.stat(`${place}/missing`).catch(() => undefined); // names that are not there are remembered too
  await fs.rename(`${place}/file`, `${place}/renamed`);
  const names = await fs.readdir(place, { withFileTypes: true });
  const found = await fs.readFile(`${place}/renamed`);
  if (names.length !== 1 || !found.equals(bytes)) throw new Error(`${place} is not as it was made`);
  const file = await fs.open(`${place}/renamed`, "r+");
  await file.write("changed", 100);
  await file.truncate(200);
  await fs.unlink(`${place}/renamed`);
  await file.close();
  await fs.rmdir(place);
}
