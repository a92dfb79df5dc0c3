// The import arrows and the seams, checked on the real sources, and the checker itself on made-up ones.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import pkg from "../package.json" with { type: "json" };
import { importsOf, violations, type SourceFile } from "./support/architecture.ts";

const ROOT = join(import.meta.dir, "..");
const DEPENDENCIES = Object.keys(pkg.dependencies);

function sources(): SourceFile[] {
  return [...new Bun.Glob("src/**/*.ts").scanSync({ cwd: ROOT })]
    .sort((a, b) => a.localeCompare(b))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
}

/** Checks one made-up file beside an empty file in every area. */
function check(path: string, text: string): readonly string[] {
  const others = [
    "src/cli.ts",
    "src/tools/ls.ts",
    "src/client/api.ts",
    "src/mount/entry.ts",
    "src/server/meta/server.ts",
    "src/server/meta/store/store.ts",
    "src/server/data/server.ts",
    "src/log/format.ts",
    "src/protocol/frame.ts",
    "src/base/ids.ts",
  ].filter((other) => other !== path);
  return violations(
    [{ path, text }, ...others.map((other) => ({ path: other, text: "export {};\n" }))],
    ["cbor-x", "@scope/thing"],
  );
}

describe("the sources of dfs", () => {
  const files = sources();

  test("are found, and so are their imports", () => {
    expect(files.map((file) => file.path)).toContain("src/cli.ts");
    expect(files.flatMap(importsOf).length).toBeGreaterThan(files.length);
  });

  test("import only along the arrows, and take clock, timers and randomness through their seams", () => {
    expect(violations(files, DEPENDENCIES)).toEqual([]);
  });
});

describe("the checker of imports", () => {
  test("accepts every arrow that is allowed", () => {
    expect(check("src/tools/ls.ts", 'import { a } from "../client/api.ts";\n')).toEqual([]);
    expect(check("src/mount/entry.ts", 'import { a } from "../client/api.ts";\n')).toEqual([]);
    expect(check("src/client/api.ts", 'import { a } from "../protocol/frame.ts";\n')).toEqual([]);
    expect(check("src/protocol/frame.ts", 'import { a } from "../base/ids.ts";\n')).toEqual([]);
    expect(check("src/log/format.ts", 'import { a } from "../base/ids.ts";\n')).toEqual([]);
    expect(
      check("src/server/data/server.ts", 'import { a } from "../../log/format.ts";\n'),
    ).toEqual([]);
    expect(check("src/cli.ts", 'const a = await import("./server/meta/server.ts");\n')).toEqual([]);
    expect(check("src/cli.ts", 'import p from "../package.json" with { type: "json" };\n')).toEqual(
      [],
    );
    expect(check("src/tools/log-dump.ts", 'import { a } from "../log/format.ts";\n')).toEqual([]);
  });

  test("names file, line and import of what goes against an arrow", () => {
    expect(check("src/log/format.ts", '\nimport { a } from "../protocol/frame.ts";\n')).toEqual([
      'src/log/format.ts:2: import of "../protocol/frame.ts": src/log may not import src/protocol',
    ]);
  });

  const forbidden: readonly (readonly [file: string, specifier: string])[] = [
    ["src/base/ids.ts", "../protocol/frame.ts"],
    ["src/protocol/frame.ts", "../client/api.ts"],
    ["src/client/api.ts", "../tools/ls.ts"],
    ["src/client/api.ts", "../log/format.ts"],
    ["src/client/api.ts", "../server/meta/server.ts"],
    ["src/tools/ls.ts", "../log/format.ts"],
    ["src/tools/ls.ts", "../server/data/server.ts"],
    ["src/tools/ls.ts", "../cli.ts"],
    ["src/mount/entry.ts", "../tools/ls.ts"],
    ["src/server/meta/server.ts", "../data/server.ts"],
    ["src/server/data/server.ts", "../meta/server.ts"],
    ["src/server/meta/server.ts", "../../log/format.ts"],
    ["src/server/meta/server.ts", "../../client/api.ts"],
  ];
  test.each(forbidden)("refuses %s importing %s", (file, specifier) => {
    expect(check(file, `import { a } from "${specifier}";\n`)).toHaveLength(1);
  });

  const forms: readonly (readonly [title: string, text: string])[] = [
    ["a type-only import", 'import type { A } from "../log/format.ts";\n'],
    ["an inline type import", 'import { type A } from "../log/format.ts";\n'],
    ["an import over several lines", 'import {\n  a,\n  type B,\n} from "../log/format.ts";\n'],
    ["an import of everything", 'import * as a from "../log/format.ts";\n'],
    ["an import for its effects", 'import "../log/format.ts";\n'],
    ["a re-export", 'export * from "../log/format.ts";\n'],
    ["a type re-export", 'export type { A } from "../log/format.ts";\n'],
    ["a lazy import", 'const a = await import("../log/format.ts");\n'],
    ["a type of an import", 'let a: import("../log/format.ts").A;\n'],
    ["a require", 'const a = require("../log/format.ts");\n'],
    ["a worker", 'new Worker(new URL("../log/format.ts", import.meta.url));\n'],
  ];
  test.each(forms)("sees %s", (_title, text) => {
    expect(check("src/client/api.ts", text)).toEqual([
      expect.stringContaining('"../log/format.ts": src/client may not import src/log'),
    ]);
  });

  test("lets the command line start servers lazily, at their entry files only", () => {
    expect(check("src/cli.ts", 'import { a } from "./server/meta/server.ts";\n')).toEqual([
      expect.stringContaining("started by a lazy import"),
    ]);
    expect(check("src/cli.ts", 'await import("./server/meta/store/store.ts");\n')).toEqual([
      expect.stringContaining("only entry files"),
    ]);
    const both = 'import { a } from "./mount/entry.ts";\nawait import("./mount/entry.ts");\n';
    expect(check("src/cli.ts", both)).toEqual([expect.stringContaining("lazy import")]);
  });

  test("refuses a name that leads nowhere or that it cannot read", () => {
    expect(check("src/client/api.ts", 'import { a } from "./other";\n')).toEqual([
      expect.stringContaining("no source file src/client/other"),
    ]);
    expect(check("src/client/api.ts", "await import(name);\n")).toEqual([
      "src/client/api.ts:1: import of a computed name: nobody can check where it leads",
    ]);
    expect(check("src/client/api.ts", 'import p from "../../package.json";\n')).toHaveLength(1);
    expect(check("src/other/thing.ts", "export {};\n")).toEqual([
      expect.stringContaining("lies in no known area"),
    ]);
  });

  test("wants packages to be dependencies, and built-in modules by their full name", () => {
    const text = 'import "node:fs";\nimport "bun:sqlite";\nimport "cbor-x/encode";\n';
    expect(check("src/protocol/frame.ts", `${text}import "@scope/thing/part";\n`)).toEqual([]);
    expect(check("src/protocol/frame.ts", 'import "left-pad";\n')).toEqual([
      expect.stringContaining("not among the dependencies"),
    ]);
    expect(check("src/protocol/frame.ts", 'import "fs";\n')).toEqual([
      expect.stringContaining("write node:fs"),
    ]);
  });

  test("refuses modules that every start would pay for", () => {
    expect(check("src/protocol/frame.ts", 'import { createHmac } from "node:crypto";\n')).toEqual([
      expect.stringContaining("slow to load; take Bun.CryptoHasher"),
    ]);
  });

  test("is not misled by comments", () => {
    const text =
      '// import { a } from "../log/format.ts";\n/**\n * import "../log/format.ts"\n */\n';
    expect(check("src/client/api.ts", `${text}export {}; // import("../log/format.ts")\n`)).toEqual(
      [],
    );
  });
});

describe("the checker of seams", () => {
  const around: readonly string[] = [
    "Math.random()",
    "Date.now()",
    "new Date()",
    "performance.now()",
    "process.hrtime.bigint()",
    "Bun.sleep(5)",
    "Bun.nanoseconds()",
    "setTimeout(tick, 5)",
    "setInterval(tick, 5)",
    "globalThis.setTimeout(tick, 5)",
    "crypto.getRandomValues(bytes)",
    "crypto.randomUUID()",
    "randomBytes(8)",
  ];
  const areas = ["client", "log", "protocol", "server/meta", "server/data"];
  test.each(around)("finds %s in every area behind a seam", (code) => {
    for (const area of areas) {
      const path = `src/${area}/part.ts`;
      expect(check(path, `export const a = ${code};\n`)).toEqual([
        expect.stringMatching(new RegExp(`^${path}:1: .* around a seam: take a `)),
      ]);
    }
    expect(check("src/base/part.ts", `export const a = ${code};\n`)).toEqual([]);
    expect(check("src/tools/part.ts", `export const a = ${code};\n`)).toEqual([]);
  });

  test("finds timers that are imported", () => {
    expect(
      check("src/client/part.ts", 'import { setTimeout as nap } from "node:timers/promises";\n'),
    ).toEqual([expect.stringContaining("around a seam")]);
  });

  test("lets pass what comes through a seam, and what is a comment", () => {
    const text = [
      "clock.setTimeout(tick, 5); // not Date.now()",
      "// setTimeout(tick, 5)",
      "new Date(timeMs);",
      "socket.setTimeout(5);",
    ];
    expect(check("src/client/part.ts", `${text.join("\n")}\n`)).toEqual([]);
  });
});
