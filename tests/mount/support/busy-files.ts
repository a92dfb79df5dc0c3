// A program that writes, renames, removes and verifies files in a directory until it is asked to end (SIGTERM), as fast as it
// can; each round is told by a line on standard output. It ends with 0 when everything was as it must be, and with 1 at the
// first error or wrong byte, which it tells.
//
//     busy-files.ts DIRECTORY SEED [NAME]      the files are NAME-0 and so on, half of them in a directory NAME-deep

import * as fs from "node:fs/promises";
import { seededRandom } from "../../../src/base/random.ts";

const FILES = 6;
const LONGEST = 300_000;

const [, , directory = "", seed = "1", ownName = "file"] = process.argv;
const random = seededRandom(Number(seed));
/** What each file must hold; undefined: there is none. */
const model = new Map<string, Buffer | undefined>();
const asked = new AbortController();
process.on("SIGTERM", () => asked.abort());

const deep = `${directory}/${ownName}-deep`;
const names = Array.from(
  { length: FILES },
  (_, index) => `${index % 2 === 0 ? directory : deep}/${ownName}-${index}`,
);
await fs.mkdir(deep, { recursive: true });

for (let round = 1; !asked.signal.aborted; round++) {
  const name = names[random.below(FILES)]!;
  await change(name);
  await verify(names[random.below(FILES)]!);
  console.log(`round ${round}`);
}
for (const name of names) await verify(name);
console.log("all files are right");
process.exit(0);

async function change(name: string): Promise<void> {
  const before = model.get(name);
  switch (random.below(8)) {
    case 0:
    case 1:
      return rewrite(name);
    case 2:
      return before === undefined ? rewrite(name) : append(name, before);
    case 3:
      return before === undefined ? rewrite(name) : overwrite(name, before);
    case 4:
      return replace(name);
    case 5:
    case 6:
      return before === undefined ? rewrite(name) : move(name, before);
    default:
      return before === undefined ? rewrite(name) : remove(name);
  }
}

function content(length: number): Buffer {
  return Buffer.from(random.bytes(length));
}

async function rewrite(name: string): Promise<void> {
  const bytes = content(random.below(LONGEST));
  await fs.writeFile(name, bytes);
  model.set(name, bytes);
}

async function append(name: string, before: Buffer): Promise<void> {
  const bytes = content(random.below(10_000));
  await fs.appendFile(name, bytes);
  model.set(name, Buffer.concat([before, bytes]));
}

async function overwrite(name: string, before: Buffer): Promise<void> {
  const bytes = content(random.below(Math.max(1, before.length)));
  const offset = random.below(before.length - bytes.length + 1);
  const file = await fs.open(name, "r+");
  await file.write(bytes, 0, bytes.length, offset);
  await file.sync();
  await file.close();
  const after = Buffer.from(before);
  after.set(bytes, offset);
  model.set(name, after);
}

/** As editors save a file. */
async function replace(name: string): Promise<void> {
  const bytes = content(random.below(LONGEST));
  await fs.writeFile(`${name}.new`, bytes);
  await fs.rename(`${name}.new`, name);
  model.set(name, bytes);
}

/** To the name of another one, which is replaced when it is there. */
async function move(name: string, before: Buffer): Promise<void> {
  const to = names[random.below(FILES)]!;
  await fs.rename(name, to);
  model.set(name, undefined);
  model.set(to, before);
}

async function remove(name: string): Promise<void> {
  await fs.unlink(name);
  model.set(name, undefined);
}

async function verify(name: string): Promise<void> {
  const expected = model.get(name);
  const found = await fs.readFile(name).catch((error: unknown) => {
    if ((error as { code?: unknown }).code === "ENOENT") return undefined;
    throw error;
  });
  if (found === undefined && expected === undefined) return;
  if (found !== undefined && expected !== undefined && found.equals(expected)) return;
  const told = [expected, found].map((each) => (each === undefined ? "no file" : each.length));
  console.error(`${name}: expected ${told[0]}, found ${told[1]}`);
  process.exit(1);
}
