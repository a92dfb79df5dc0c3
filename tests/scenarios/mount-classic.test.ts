// The session on a mount that the course projects were shown with: a shell, a directory, the usual commands, and the link
// counts of directories. Each test has a directory of its own.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { cannotMount, Mounted } from "../mount/support/mounted.ts";

let mounted: Mounted;
let directory: string;
let count = 0;

describe.skipIf(cannotMount !== undefined)("the classic session on a mount", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--block-size", "8"] });
  });
  afterAll(() => mounted.stop());
  beforeEach(async () => {
    directory = `${mounted.path}/session-${++count}`;
    await mounted.ok(`mkdir ${directory}`);
  });

  /** Runs a script in the test's directory; it must succeed. */
  const sh = (script: string): Promise<string> => mounted.ok(script, directory);

  /** Runs a script that must fail; returns what it said. */
  const refused = async (script: string): Promise<string> => {
    const { code, stderr } = await mounted.shell(script, directory);
    expect(code).not.toBe(0);
    return stderr;
  };

  const links = async (path: string): Promise<number> => Number(await sh(`stat -c %h ${path}`));

  test("a file is written with echo >", async () => {
    await sh("echo 'hello, distributed world' > file");
    expect(await sh("cat file")).toBe("hello, distributed world\n");
    expect(await sh("stat -c '%s %h %F' file")).toBe("25 1 regular file\n");
  });

  test("a file is copied", async () => {
    expect(await sh("echo 'to be copied' > one; cp one two; cmp one two; cat two")).toBe(
      "to be copied\n",
    );
    expect(await sh("ls")).toBe("one\ntwo\n");
  });

  test("a file is renamed", async () => {
    await sh("echo text > old; mv old new");
    expect(await sh("ls")).toBe("new\n");
  });

  test("a renamed file is read", async () => {
    expect(await sh("echo 'the same text' > old; mv old new; cat new")).toBe("the same text\n");
    expect(await refused("cat old")).toContain("No such file or directory");
  });

  test("a file is appended to with echo >>", async () => {
    await sh("echo 'the first line' > file; echo 'the second line' >> file; echo third >> file");
    expect(await sh("cat file")).toBe("the first line\nthe second line\nthird\n");
  });

  test("a new directory has two links", async () => {
    await sh("mkdir new");
    expect(await links("new")).toBe(2);
  });

  test("mkdir adds a link to the parent", async () => {
    const before = await links(".");
    await sh("mkdir new");
    expect(await links(".")).toBe(before + 1);
  });

  test("a file is moved into a directory", async () => {
    await sh("echo moved > file; mkdir box; mv file box");
    expect(await sh("ls")).toBe("box\n");
  });

  test("a directory with a file that was moved there is listed", async () => {
    await sh("echo moved > file; mkdir box; mv file box");
    expect(await sh("ls box")).toBe("file\n");
  });

  test("a file is read where it was moved to", async () => {
    await sh("echo 'moved and read' > file; mkdir box; mv file box");
    expect(await sh("cat box/file")).toBe("moved and read\n");
  });

  test("a symbolic link is made inside a directory, and followed", async () => {
    await sh("mkdir box; echo 'behind a link' > box/file; ln -s file box/link");
    expect(await sh("readlink box/link")).toBe("file\n");
    expect(await sh("cat box/link")).toBe("behind a link\n");
  });

  test("a nested directory adds a link to its parent, and has two itself", async () => {
    await sh("mkdir outer");
    const before = await links("outer");
    await sh("mkdir outer/inner");
    expect(await links("outer")).toBe(before + 1);
    expect(await links("outer/inner")).toBe(2);
  });

  test("rmdir of a directory that is not empty is refused, and the counts stay", async () => {
    await sh("mkdir -p outer/inner; echo x > outer/file");
    const before = [await links("."), await links("outer")];
    expect(await refused("rmdir outer")).toContain("Directory not empty");
    expect([await links("."), await links("outer")]).toEqual(before);
    expect(await sh("ls outer")).toBe("file\ninner\n");
  });

  test("a recursive removal brings the counts back", async () => {
    const before = await links(".");
    await sh("mkdir -p outer/inner/innermost; echo x > outer/inner/file; echo y > outer/file");
    expect(await links(".")).toBe(before + 1);
    await sh("rm -r outer");
    expect(await links(".")).toBe(before);
    expect(await sh("ls -A")).toBe("");
  });

  const TREE =
    "mkdir -p tree/a/b; echo one > tree/one; echo two > tree/a/two; ln -s ../one tree/a/l";

  test("a tree is copied recursively", async () => {
    await sh(`${TREE}; cp -r tree copy; diff -r --no-dereference tree copy`);
    expect(await sh("cat copy/a/l")).toBe("one\n");
    expect(await links("copy")).toBe(3);
  });

  test("rmdir of a recursive copy is refused", async () => {
    await sh(`${TREE}; cp -r tree copy`);
    expect(await refused("rmdir copy")).toContain("Directory not empty");
    await sh("diff -r --no-dereference tree copy");
  });

  test("a recursive copy is removed recursively, and the original stays", async () => {
    await sh(`${TREE}; cp -r tree copy; rm -r copy`);
    expect(await sh("ls; cat tree/one tree/a/two")).toBe("tree\none\ntwo\n");
  });

  test("a tree is moved into a directory, and a file is read through the new path", async () => {
    await sh(`${TREE}; mkdir other`);
    const before = [await links("."), await links("other")] as const;
    await sh("mv tree other");
    expect(await sh("cat other/tree/a/two")).toBe("two\n");
    expect([await links("."), await links("other")]).toEqual([before[0] - 1, before[1] + 1]);
  });

  test("a file is removed", async () => {
    await sh("echo x > file; rm file");
    expect(await sh("ls -A")).toBe("");
    expect(await refused("cat file")).toContain("No such file or directory");
  });

  test("a directory may be named st_mode", async () => {
    await sh("mkdir st_mode; echo inside > st_mode/file");
    expect(await sh("stat -c '%F %h' st_mode; cat st_mode/file")).toBe("directory 2\ninside\n");
  });

  test("a longer file is truncated to five bytes", async () => {
    await sh("echo 'much longer than five bytes' > file; truncate -s 5 file");
    expect(await sh("stat -c %s file; cat file")).toBe("5\nmuch ");
  });
});
