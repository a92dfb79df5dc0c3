// Directories that a download writes into: through descriptors, never over links, however deep.

import { afterAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LocalDirectories } from "../../src/tools/transfer/local-directories.ts";
import { failureOf, temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("directories");
afterAll(() => folder.remove());

const b = (text: string): Buffer => Buffer.from(text, "latin1");

function freshRoot(name: string): string {
  const path = join(folder.path, name);
  mkdirSync(path);
  return path;
}

describe("LocalDirectories", () => {
  test("makes directories by bytes, and says which were there", async () => {
    const path = freshRoot("bytes");
    const directories = new LocalDirectories();
    const root = directories.root(b(path));
    const name = b("a\xff\n");
    const first = directories.make(root, name, name);
    expect(first.isNew).toBe(true);
    expect(directories.make(root, name, name).isNew).toBe(false);
    await directories.use(first.directory, (prefix) =>
      writeFile(Buffer.concat([prefix, b("\xfe")]), "content"),
    );
    const place = Buffer.concat([b(`${path}/`), name, b("/\xfe")]);
    expect(readFileSync(place, "utf8")).toBe("content");
    directories.close();
  });

  test("refuses a link to a directory where a directory should be", async () => {
    const path = freshRoot("link");
    const outside = freshRoot("link-outside");
    symlinkSync(outside, join(path, "sub"));
    const directories = new LocalDirectories();
    const root = directories.root(b(path));
    expect(() => directories.make(root, b("sub"), b("shown/sub"))).toThrow(
      "shown/sub is a symbolic link, which is not followed",
    );
    directories.close();
    expect(readdirSync(outside)).toEqual([]);
  });

  test("refuses a file where a directory should be", async () => {
    const path = freshRoot("file");
    writeFileSync(join(path, "sub"), "");
    const directories = new LocalDirectories();
    const root = directories.root(b(path));
    expect(() => directories.make(root, b("sub"), b("sub"))).toThrow("is no directory");
    directories.close();
  });

  test("an open directory that is swapped for a link is still the one that was opened", async () => {
    const path = freshRoot("swap-open");
    const outside = freshRoot("swap-open-outside");
    const directories = new LocalDirectories();
    const root = directories.root(b(path));
    const { directory } = directories.make(root, b("sub"), b("sub"));
    await directories.use(directory, async (prefix) => {
      renameSync(join(path, "sub"), join(path, "moved"));
      symlinkSync(outside, join(path, "sub"));
      await writeFile(Buffer.concat([prefix, b("x")]), "content");
    });
    expect(existsSync(join(path, "moved", "x"))).toBe(true);
    expect(readdirSync(outside)).toEqual([]);
    directories.close();
  });

  test("a directory that was swapped for a link before it is opened again is not entered", async () => {
    const path = freshRoot("swap-closed");
    const outside = freshRoot("swap-closed-outside");
    const directories = new LocalDirectories();
    const root = directories.root(b(path));
    const { directory } = directories.make(root, b("sub"), b("sub")); // made, not yet opened
    renameSync(join(path, "sub"), join(path, "moved"));
    symlinkSync(outside, join(path, "sub"));
    const written = directories.use(directory, (prefix) =>
      writeFile(Buffer.concat([prefix, b("x")]), "content"),
    );
    expect(await failureOf(written)).toMatchObject({ code: "ENOTDIR" });
    await written.catch(() => undefined);
    expect(readdirSync(outside)).toEqual([]);
    directories.close();
  });

  test("depth beyond the longest path, in few descriptors", async () => {
    const path = freshRoot("deep");
    const before = readdirSync("/proc/self/fd").length;
    const directories = new LocalDirectories();
    let at = directories.root(b(path));
    const name = Buffer.alloc(100, "d");
    for (let depth = 0; depth < 300; depth++) {
      at = directories.make(at, name, b("deep")).directory;
    }
    await directories.use(at, (prefix) => writeFile(Buffer.concat([prefix, b("end")]), "bottom"));
    expect(readdirSync("/proc/self/fd").length - before).toBeLessThan(100);
    directories.close();
    expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before + 1);
    // 30,000 bytes of path: only a walk by descriptors gets down there, as find does.
    const found = Bun.spawnSync(["find", path, "-name", "end", "-printf", "%d"]);
    expect(found.stdout.toString()).toBe("301");
  });

  test("many directories in use at once share descriptors and close them", async () => {
    const path = freshRoot("many");
    const directories = new LocalDirectories();
    const root = directories.root(b(path));
    await Promise.all(
      Array.from({ length: 500 }, async (_, index) => {
        const name = b(`d${index}`);
        const { directory } = directories.make(root, name, name);
        await Promise.all(
          ["x", "y"].map((file) =>
            directories.use(directory, (prefix) =>
              writeFile(Buffer.concat([prefix, b(file)]), file),
            ),
          ),
        );
      }),
    );
    expect(readdirSync(path)).toHaveLength(500);
    expect(lstatSync(join(path, "d499", "y")).size).toBe(1);
    directories.close();
  });
});
