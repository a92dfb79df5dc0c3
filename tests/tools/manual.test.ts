// The manual page: made of the help, and right for the programs that show manual pages.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { canRun, whyWithout } from "../support/conditions.ts";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TOPICS } from "../../src/tools/shared/topics.ts";
import { temporaryFolder } from "./support/files.ts";
import { dfs } from "./support/run.ts";

const folder = temporaryFolder("manual");
const path = join(folder.path, "dfs.1");
let page = "";
let list = "";
beforeAll(async () => {
  const env = { SOURCE_DATE_EPOCH: "1700000000" };
  const made = await dfs(["help", "--man"], { home: folder.path, env });
  expect(made).toMatchObject({ code: 0, stderr: "" });
  page = made.stdout;
  writeFileSync(path, page);
  list = (await dfs([], { home: folder.path })).stdout;
});
afterAll(() => folder.remove());

function shown(...words: string[]): { text: string; said: string } {
  const env = { ...process.env, MANWIDTH: "100", MANPAGER: "cat", LC_ALL: "C.UTF-8" };
  const { stdout, stderr } = Bun.spawnSync(words, { env });
  return { text: stdout.toString(), said: stderr.toString() };
}

test("has every command and every topic, and the day that it is asked to have", () => {
  expect(page).toContain('.TH DFS 1 2023-11-14 "dfs ');
  const commands = [
    ...list
      .split("Commands:")[1]!
      .split("A first minute:")[0]!
      .matchAll(/^ {2}(\S+(?: \S+)?) {2,}/gm),
  ];
  expect(commands.length).toBeGreaterThan(40);
  for (const [, name] of commands) expect(page).toContain(`.SS "dfs ${name}"`);
  for (const { name } of TOPICS) {
    expect(page).toContain(`.SH "${name.toUpperCase()}"`);
  }
});

test.if(canRun("the manual page in mandoc", whyWithout("mandoc")))(
  "mandoc has nothing to say against it",
  () => {
    const { text } = shown("mandoc", "-Tlint", "-Wwarning", path);
    expect(text).toBe("");
  },
);

test.if(canRun("the manual page in man", whyWithout("man", "groff")))("man shows it", () => {
  const { text, said } = shown("man", "--warnings", "-P", "cat", "-l", path);
  expect(said).toBe("");

  expect(text).toContain("dfs - a fault-tolerant distributed file system");
  expect(text).toContain("dfs put -r --exclude '*.o' --exclude /build/ --dry-run project /backup/");
  expect(text).toContain('eval "$(dfs completion bash)"');
});
