/** Extended attributes. */
import { expect } from "bun:test";
import { MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES } from "../../../src/base/limits.ts";
import { bytesOf, fails, rule, ruleFor, textOf, touch } from "../support.ts";
import type { Topic, Tree } from "../tree.ts";

const VALUE = bytesOf("value");

async function listed(tree: Tree, path: string): Promise<string[]> {
  return (await tree.xattrList(path)).map(textOf).sort();
}

export const xattr: Topic = {
  topic: "extended attributes",
  cases: [
    rule("a new file has none", async (tree) => {
      await touch(tree, "/f");
      expect(await listed(tree, "/f")).toEqual([]);
      await fails(tree.xattrGet("/f", "user.a"), "ENODATA");
    }),
    rule("a value is set, read, replaced and removed", async (tree) => {
      await touch(tree, "/f");
      await tree.xattrSet("/f", "user.a", VALUE);
      expect(await tree.xattrGet("/f", "user.a")).toEqual(VALUE);
      await tree.xattrSet("/f", "user.a", bytesOf("other"));
      expect(await tree.xattrGet("/f", "user.a")).toEqual(bytesOf("other"));
      await tree.xattrRemove("/f", "user.a");
      await fails(tree.xattrGet("/f", "user.a"), "ENODATA");
    }),
    rule("directories have them too", async (tree) => {
      await tree.mkdir("/d");
      await tree.xattrSet("/d", "user.a", VALUE);
      expect(await listed(tree, "/d")).toEqual(["user.a"]);
    }),
    rule("several are listed", async (tree) => {
      await touch(tree, "/f");
      for (const name of ["user.c", "user.a", "user.b"]) await tree.xattrSet("/f", name, VALUE);
      await tree.xattrRemove("/f", "user.b");
      expect(await listed(tree, "/f")).toEqual(["user.a", "user.c"]);
    }),
    rule("an empty value is a value", async (tree) => {
      await touch(tree, "/f");
      await tree.xattrSet("/f", "user.empty", new Uint8Array());
      expect(await tree.xattrGet("/f", "user.empty")).toEqual(new Uint8Array());
      expect(await listed(tree, "/f")).toEqual(["user.empty"]);
    }),
    rule("values are bytes", async (tree) => {
      await touch(tree, "/f");
      const value = Uint8Array.from({ length: 256 }, (_, index) => index);
      await tree.xattrSet("/f", "user.bytes", value);
      expect(await tree.xattrGet("/f", "user.bytes")).toEqual(value);
    }),
    rule("create refuses a name that is there", async (tree) => {
      await touch(tree, "/f");
      await tree.xattrSet("/f", "user.a", VALUE, "create");
      await fails(tree.xattrSet("/f", "user.a", bytesOf("x"), "create"), "EEXIST");
      expect(await tree.xattrGet("/f", "user.a")).toEqual(VALUE);
    }),
    rule("replace refuses a name that is not there", async (tree) => {
      await touch(tree, "/f");
      await fails(tree.xattrSet("/f", "user.a", VALUE, "replace"), "ENODATA");
      await tree.xattrSet("/f", "user.a", VALUE);
      await tree.xattrSet("/f", "user.a", bytesOf("x"), "replace");
      expect(await tree.xattrGet("/f", "user.a")).toEqual(bytesOf("x"));
    }),
    rule("removing a name that is not there is refused", async (tree) => {
      await touch(tree, "/f");
      await fails(tree.xattrRemove("/f", "user.a"), "ENODATA");
    }),
    rule("the longest name is kept, longer ones and none are refused", async (tree) => {
      await touch(tree, "/f");
      const longest = `user.${"x".repeat(MAX_XATTR_NAME_BYTES - 5)}`;
      await tree.xattrSet("/f", longest, VALUE);
      expect(await tree.xattrGet("/f", longest)).toEqual(VALUE);
      await fails(tree.xattrSet("/f", `${longest}x`, VALUE), "ERANGE");
      await fails(tree.xattrSet("/f", "", VALUE), "ERANGE");
    }),
    rule("the largest value is kept", async (tree) => {
      await touch(tree, "/f");
      const value = new Uint8Array(MAX_XATTR_VALUE_BYTES).fill(0x5a);
      await tree.xattrSet("/f", "user.large", value);
      expect(await tree.xattrGet("/f", "user.large")).toEqual(value);
    }),
    ruleFor(["put"], "a larger value is refused", async (tree) => {
      await touch(tree, "/f");
      const value = new Uint8Array(MAX_XATTR_VALUE_BYTES + 1);
      await fails(tree.xattrSet("/f", "user.large", value), "ERANGE");
      expect(await listed(tree, "/f")).toEqual([]);
    }),
    rule("they belong to the inode: all links show them, a rename keeps them", async (tree) => {
      await touch(tree, "/f");
      await tree.link("/f", "/g");
      await tree.xattrSet("/f", "user.a", VALUE);
      await tree.rename("/g", "/h");
      expect(await tree.xattrGet("/h", "user.a")).toEqual(VALUE);
    }),
    rule("a new file under an old name does not inherit them", async (tree) => {
      await touch(tree, "/f");
      await tree.xattrSet("/f", "user.a", VALUE);
      await tree.unlink("/f");
      await touch(tree, "/f");
      expect(await listed(tree, "/f")).toEqual([]);
    }),
    rule("a missing file has none", async (tree) => {
      await fails(tree.xattrGet("/f", "user.a"), "ENOENT");
      await fails(tree.xattrSet("/f", "user.a", VALUE), "ENOENT");
      await fails(tree.xattrList("/f"), "ENOENT");
      await fails(tree.xattrRemove("/f", "user.a"), "ENOENT");
    }),
  ],
};
