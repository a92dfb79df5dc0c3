/** What a name may be, and what `.`, `..` and slashes mean. */
import { expect } from "bun:test";
import { MAX_NAME_BYTES, MAX_PATH_BYTES } from "../../../src/base/limits.ts";
import { bytesOf, contentOf, expectMissing, fails, namesIn, rule, touch } from "../support.ts";
import type { Topic } from "../tree.ts";

const LONGEST = "n".repeat(MAX_NAME_BYTES);

/** A name that is not UTF-8, with every byte that a name may hold beyond ASCII. */
const BYTES = Uint8Array.from({ length: 128 }, (_, index) => 255 - index);

function under(directory: string, name: Uint8Array): Uint8Array {
  return new Uint8Array([...bytesOf(`${directory}/`), ...name]);
}

/** A path of exactly `length` bytes that leads to `/`'s directory `d`, by way of many slashes. */
function padded(length: number, start: Uint8Array): Uint8Array {
  const path = new Uint8Array(length).fill(0x2f);
  path.set(start);
  path.set(bytesOf("/d"), length - 2);
  return path;
}

export const names: Topic = {
  topic: "names",
  cases: [
    rule("a name of 255 bytes can be made, listed and removed", async (tree) => {
      await touch(tree, `/${LONGEST}`, "x");
      expect(await namesIn(tree, "/")).toEqual([LONGEST]);
      expect(await contentOf(tree, `/${LONGEST}`)).toBe("x");
      await tree.unlink(`/${LONGEST}`);
      expect(await namesIn(tree, "/")).toEqual([]);
    }),
    rule("a name of 256 bytes is too long to make", async (tree) => {
      await fails(tree.create(`/${LONGEST}x`), "ENAMETOOLONG");
      await fails(tree.mkdir(`/${LONGEST}x`), "ENAMETOOLONG");
      await fails(tree.symlink("t", `/${LONGEST}x`), "ENAMETOOLONG");
      await touch(tree, "/f");
      await fails(tree.link("/f", `/${LONGEST}x`), "ENAMETOOLONG");
      await fails(tree.rename("/f", `/${LONGEST}x`), "ENAMETOOLONG");
      expect(await namesIn(tree, "/")).toEqual(["f"]);
    }),
    rule("a name of 256 bytes is too long to look up or remove", async (tree) => {
      await fails(tree.stat(`/${LONGEST}x`), "ENAMETOOLONG");
      await fails(tree.stat(`/${LONGEST}x/y`), "ENAMETOOLONG");
      await fails(tree.unlink(`/${LONGEST}x`), "ENAMETOOLONG");
      await fails(tree.rmdir(`/${LONGEST}x`), "ENAMETOOLONG");
      await fails(tree.rename(`/${LONGEST}x`, "/y"), "ENAMETOOLONG");
    }),
    rule("a path of 4,095 bytes is walked, one of 4,097 is too long", async (tree) => {
      await tree.mkdir("/d");
      const top = tree.absolute("/");
      const room = MAX_PATH_BYTES - top.length + 1;
      expect((await tree.stat(padded(room - 1, new Uint8Array()))).type).toBe("directory");
      await fails(tree.stat(padded(room + 1, new Uint8Array())), "ENAMETOOLONG");
    }),
    rule("names are bytes: invalid UTF-8 comes back as it was given", async (tree) => {
      const path = under("", BYTES);
      await touch(tree, path, "bytes");
      expect((await tree.readdir("/")).map((entry) => entry.name)).toEqual([BYTES]);
      expect(await contentOf(tree, path)).toBe("bytes");
      await tree.unlink(path);
    }),
    rule("control characters, spaces and quotes are characters like others", async (tree) => {
      const odd = ["\n", " ", "\t\r", "\x01\x7f", "'\"", "\\", "*?[", "-rf", "#", "\u001b[31m"];
      for (const name of odd) await touch(tree, `/${name}`);
      expect(new Set(await namesIn(tree, "/"))).toEqual(new Set(odd));
      for (const name of odd) await tree.unlink(`/${name}`);
      expect(await namesIn(tree, "/")).toEqual([]);
    }),
    rule("names that only look like dots are ordinary", async (tree) => {
      for (const name of ["...", ".. ", ". ", ".a", "..a", "a..", "a."]) {
        await tree.mkdir(`/${name}`);
        expect((await tree.stat(`/${name}`)).type).toBe("directory");
      }
    }),
    rule("upper and lower case differ, and composed and decomposed letters", async (tree) => {
      for (const name of ["a", "A", "\u00e9", "e\u0301"]) await touch(tree, `/${name}`, name);
      for (const name of ["a", "A", "\u00e9", "e\u0301"]) {
        expect(await contentOf(tree, `/${name}`)).toBe(name);
      }
    }),
    rule("names of properties and prototypes are just names", async (tree) => {
      for (const name of ["__proto__", "constructor", "toString", "st_mode"]) {
        await tree.mkdir(`/${name}`);
      }
      expect(await namesIn(tree, "/")).toEqual(["__proto__", "constructor", "st_mode", "toString"]);
    }),
    rule("a NUL byte in a path is invalid", async (tree) => {
      await fails(tree.stat("/a\0b"), "EINVAL");
      await fails(tree.mkdir("/a\0b"), "EINVAL");
      await fails(tree.create("/a\0b"), "EINVAL");
    }),
    rule("several slashes count as one", async (tree) => {
      await tree.mkdir("/a");
      await touch(tree, "//a///b", "x");
      expect(await contentOf(tree, "/a//b")).toBe("x");
    }),
    rule("`.` in a path is the directory itself", async (tree) => {
      await tree.mkdir("/a");
      const a = await tree.stat("/a");
      expect((await tree.stat("/a/.")).inode).toBe(a.inode);
      expect((await tree.stat("/./a/././.")).inode).toBe(a.inode);
    }),
    rule("`..` in a path is the parent", async (tree) => {
      await tree.mkdir("/a");
      await tree.mkdir("/a/b");
      const a = await tree.stat("/a");
      expect((await tree.stat("/a/b/..")).inode).toBe(a.inode);
      expect((await tree.stat("/a/b/../../a")).inode).toBe(a.inode);
    }),
    rule("`.` and `..` behind something that is no directory fail", async (tree) => {
      await touch(tree, "/f");
      await fails(tree.stat("/f/."), "ENOTDIR");
      await fails(tree.stat("/f/.."), "ENOTDIR");
      await fails(tree.stat("/missing/.."), "ENOENT");
    }),
    rule("a path through a file is no directory", async (tree) => {
      await touch(tree, "/f");
      await fails(tree.stat("/f/x"), "ENOTDIR");
      await fails(tree.create("/f/x"), "ENOTDIR");
      await fails(tree.mkdir("/f/x"), "ENOTDIR");
      await fails(tree.unlink("/f/x"), "ENOTDIR");
      await fails(tree.rmdir("/f/x"), "ENOTDIR");
      await fails(tree.symlink("t", "/f/x"), "ENOTDIR");
    }),
    rule("a path through a missing directory is not found", async (tree) => {
      await fails(tree.stat("/m/x"), "ENOENT");
      await fails(tree.create("/m/x"), "ENOENT");
      await fails(tree.mkdir("/m/x"), "ENOENT");
      await fails(tree.unlink("/m/x"), "ENOENT");
      await fails(tree.rmdir("/m/x"), "ENOENT");
      await fails(tree.symlink("t", "/m/x"), "ENOENT");
    }),
    rule("a slash at the end demands a directory", async (tree) => {
      await touch(tree, "/f");
      await tree.mkdir("/d");
      expect((await tree.stat("/d/")).type).toBe("directory");
      await fails(tree.stat("/f/"), "ENOTDIR");
      await fails(tree.open("/f/"), "ENOTDIR");
    }),
    rule("mkdir and rmdir allow a slash at the end", async (tree) => {
      await tree.mkdir("/d/");
      expect((await tree.stat("/d")).type).toBe("directory");
      await tree.rmdir("/d/");
      await expectMissing(tree, "/d");
    }),
    rule("`.` and `..` cannot be made", async (tree) => {
      await tree.mkdir("/d");
      await touch(tree, "/f");
      for (const dots of ["/d/.", "/d/.."]) {
        await fails(tree.mkdir(dots), "EEXIST");
        await fails(tree.symlink("t", dots), "EEXIST");
        await fails(tree.mknod(dots, "fifo"), "EEXIST");
        await fails(tree.link("/f", dots), "EEXIST");
        await fails(tree.create(dots, { exclusive: true }), "EEXIST", "EISDIR");
        await fails(tree.create(dots), "EISDIR");
      }
    }),
    rule("`.` and `..` cannot be removed or renamed", async (tree) => {
      await tree.mkdir("/d");
      await tree.mkdir("/d/e");
      await fails(tree.rmdir("/d/e/."), "EINVAL");
      await fails(tree.rmdir("/d/e/.."), "ENOTEMPTY");
      await fails(tree.unlink("/d/."), "EISDIR");
      await fails(tree.unlink("/d/.."), "EISDIR");
      // POSIX says EINVAL; Linux itself, which asks no file system about such names, says EBUSY.
      await fails(tree.rename("/d/e/.", "/x"), "EINVAL", "EBUSY");
      await fails(tree.rename("/d/e/..", "/x"), "EINVAL", "EBUSY");
      await fails(tree.rename("/d", "/x/."), "ENOENT", "EINVAL");
      await fails(tree.rename("/d/e", "/d/."), "EINVAL", "EBUSY");
      await fails(tree.rename("/d/e", "/d/e/.."), "EINVAL", "EBUSY");
      expect(await namesIn(tree, "/")).toEqual(["d"]);
    }),
  ],
};
