// Any sequence of commands gives the same tree in the cluster as the same sequence of the system's programs on a local
// directory, and fails where they fail. Sequences are drawn from a seed, which is printed; DFS_TEST_SEED repeats a run,
// DFS_TEST_ROUNDS makes it longer.
//
// Left out is what dfs does otherwise on purpose, as its help says: replacing a file that has further names (dfs leaves these
// the old content), replacing one with attributes with -p (dfs takes those of the source alone), and copying a tree onto one
// with symbolic links in it (dfs does not write through them).

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { seededRandom, type Random } from "../../src/base/random.ts";
import {
  getAttribute,
  listAttributes,
  removeAttribute,
  setAttribute,
} from "../../src/tools/transfer/native.ts";
import { LocalCluster } from "../support/local-cluster.ts";
import { snapshot } from "./support/files.ts";
import { dfsIn, Mirror } from "./support/mirror.ts";

setDefaultTimeout(600_000);

const SEED = Number(process.env["DFS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const ROUNDS = Number(process.env["DFS_TEST_ROUNDS"] ?? 4);
const STEPS = 120;
/** Steps that are told when one went wrong. */
const HISTORY = 40;
/** The trees are compared after so many steps. */
const COMPARE_EVERY = 12;

const BLOCK = 4096;
const LONGEST_NAME = "n".repeat(255);
const IS_SUPERUSER = process.geteuid?.() === 0;
/** What find -delete is given. */
const FOUND: readonly (readonly string[])[] = [
  ["-name", "a"],
  ["-type", "l"],
  ["-type", "f", "-empty"],
  ["-type", "d", "-empty"],
  ["-type", "f", "-size", "+2k", "-maxdepth", "2"],
  ["-mindepth", "1", "-iname", "T*"],
];

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", String(BLOCK));
});
afterAll(() => cluster.stop());

/** What is typed for one step, on both sides. */
interface Step {
  readonly words: readonly string[];
  readonly locally: readonly string[] | (() => void);
}

/** What GNU cp calls what dfs means with -p. */
/** By POSIX, cp makes what a dangling link leads to; GNU does so when asked to. */
const GNU_CP = ["env", "POSIXLY_CORRECT=1", "cp"];

const KEEP = "--preserve=mode,ownership,timestamps,links,xattr";

class Generator {
  readonly #random: Random;
  readonly #mirror: Mirror;
  readonly #root: string;
  readonly #sources: string;

  constructor(random: Random, mirror: Mirror, root: string, sources: string) {
    this.#random = random;
    this.#mirror = mirror;
    this.#root = root;
    this.#sources = sources;
  }

  /** The next step; undefined for one that is left out. */
  next(): Step | undefined {
    const one = (words: readonly string[]): Step => ({ words, locally: words });
    const kinds: readonly [weight: number, make: () => Step | undefined][] = [
      [7, () => one(["mkdir", ...this.#some("-p"), this.#path()])],
      [5, () => this.#put()],
      [3, () => this.#putTree()],
      [1, () => one(["mkdir", "-m", this.#pick(["700", "1777", "555"]), this.#path()])],
      [4, () => one(["touch", ...this.#some("-c"), this.#path()])],
      [1, () => one(["touch", ...this.#some("-m"), "-r", this.#path(), this.#path()])],
      [
        2,
        () =>
          one(["touch", ...this.#some("-m"), "-d", `@${this.#random.below(1e9)}.25`, this.#path()]),
      ],
      [3, () => one(["truncate", "-s", this.#size(), this.#path()])],
      [1, () => this.#sameLength()],
      [4, () => one(["mv", ...this.#paths(), this.#path()])],
      [4, () => this.#copy()],
      [3, () => one(["ln", ...this.#linkFlags("-s"), this.#linkTarget(), this.#path()])],
      [3, () => one(["ln", ...this.#linkFlags(), ...this.#paths(), this.#path()])],
      [2, () => one(["rm", ...this.#some("-r"), ...this.#some("-f"), ...this.#removable()])],
      [3, () => one(["chmod", ...this.#some("-R"), this.#mode(), this.#path()])],
      [2, () => one(["find", this.#path(), ...this.#pick(FOUND), "-delete"])],
      [IS_SUPERUSER ? 2 : 0, () => this.#owner()],
      [3, () => this.#attribute()],
      [1, () => this.#noAttribute()],
    ];
    let at = this.#random.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, make] of kinds) {
      at -= weight;
      if (at < 0) return make();
    }
    throw new Error("no kind of step is left");
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)]!;
  }

  /** An option, or not. */
  #some(option: string): string[] {
    return this.#random.below(2) === 0 ? [option] : [];
  }

  /** A path in the mirror: something that is there, a new name beside it, or anything. */
  #path(): string {
    const names = [
      "a",
      "b",
      "c",
      "x",
      "y",
      "two words",
      "\u00fc",
      "-r",
      "line\nfeed",
      "*",
      LONGEST_NAME,
    ];
    const there = this.#there();
    const end = this.#random.below(12) === 0 ? "/" : "";
    if (there.length > 3 && this.#random.below(8) !== 0) {
      const path = this.#pick(there);
      const isDirectory = quietly(() => statSync(this.#mirror.path(path)).isDirectory()) ?? false;
      const hasMore = this.#random.below(isDirectory ? 2 : 12) === 0;
      return `${path}${hasMore ? `/${this.#pick(names)}` : ""}${end}`;
    }
    const words = Array.from({ length: 1 + this.#random.below(3) }, () => this.#pick(names));
    return `${[this.#root, ...words].join("/")}${end}`;
  }

  /** All that is in the mirror, in an order that does not depend on the machine. */
  #there(at = this.#root, found: string[] = []): string[] {
    for (const name of readdirSync(this.#mirror.path(at)).toSorted()) {
      const path = `${at}/${name}`;
      found.push(path);
      if (lstatSync(this.#mirror.path(path)).isDirectory()) this.#there(path, found);
    }
    return found;
  }

  #paths(): string[] {
    return Array.from({ length: this.#random.below(4) === 0 ? 2 : 1 }, () => this.#path());
  }

  #linkFlags(...more: string[]): string[] {
    return [...more, ...this.#some("-f"), ...this.#some("-n")];
  }

  /** truncate(1) makes a missing file also when it fails then, because the model is none. */
  #sameLength(): Step | undefined {
    const [model, path] = [this.#path(), this.#path()];
    const isFile = quietly(() => statSync(this.#mirror.path(model)).isFile()) ?? true;
    const words = ["truncate", "-r", model, path];
    return isFile ? { words, locally: words } : undefined;
  }

  #linkTarget(): string {
    return this.#pick(["a", "../b", "nowhere", "x/y", "."]);
  }

  #owner(): Step {
    const flags = this.#pick([[], ["-h"], ["-R"]]);
    const words = ["chown", ...flags, this.#pick(["+3", "+3:+4", ":+5", "+0:+0"]), this.#path()];
    return { words, locally: words };
  }

  /** `rm -r LINK/` of the system empties the directory that the link leads to, and then fails; dfs fails at once. */
  #removable(): string[] {
    return this.#paths().map((path) => {
      const bare = path.replace(/\/$/, "");
      const isLink = quietly(() => lstatSync(this.#mirror.path(bare)).isSymbolicLink()) ?? false;
      return isLink ? bare : path;
    });
  }

  #size(): string {
    return this.#pick([
      "0",
      "1",
      String(BLOCK),
      String(3 * BLOCK + 1),
      "+100",
      "-50",
      ">5000",
      "<9",
    ]);
  }

  #mode(): string {
    return this.#pick(["u=rwx,g=rx,o=", "700", "755", "4755", "go-w", "a+X", "u+s,g-x", "1777"]);
  }

  #put(): Step | undefined {
    const source = join(this.#sources, this.#pick(["empty", "small", "block", "large", "missing"]));
    const target = this.#path();
    const keep = this.#random.below(2) === 0;
    if (this.#isShared(source, target, keep)) return undefined;
    return {
      words: ["put", ...(keep ? ["-p"] : []), source, target],
      locally: [...GNU_CP, ...(keep ? [KEEP] : []), source, target],
    };
  }

  #putTree(): Step | undefined {
    const source = join(this.#sources, "tree");
    const target = this.#path();
    const keep = this.#random.below(2) === 0;
    if (this.#hasTree(source, target, keep)) return undefined;
    return {
      words: ["put", "-r", ...(keep ? ["-p"] : []), source, target],
      locally: ["cp", "-r", ...(keep ? [KEEP] : []), source, target],
    };
  }

  #copy(): Step | undefined {
    const [typed, target] = [this.#paths(), this.#path()];
    const sources = [...new Set(typed)]; // of one that is named twice cp(1) only warns
    // cp(1) takes a directory that it meets a second time, inside another source, for a hard link to one.
    const recursive = sources.length === 1 && this.#random.below(2) === 0;
    const keep = this.#random.below(2) === 0;
    for (const source of sources) {
      if (recursive && this.#isInside(source, target)) return undefined;
      const isLeftOut = recursive
        ? this.#hasTree(source, target, keep)
        : this.#isShared(source, target, keep);
      if (isLeftOut) return undefined;
    }
    const flags = recursive ? ["-r"] : [];
    const short =
      recursive && keep ? this.#pick([["-a"], ["-r", "-p"]]) : [...flags, ...(keep ? ["-p"] : [])];
    return {
      words: ["cp", ...short, ...sources, target],
      locally: [...GNU_CP, ...flags, ...(keep ? [KEEP] : []), ...sources, target],
    };
  }

  #attribute(): Step {
    const path = this.#path();
    const local = this.#mirror.path(path);
    const name = this.#pick(["user.one", "user.two"]);
    const value = this.#pick(["", "1", "some text"]);
    return {
      words: ["xattr set", name, value, path],
      locally: () => {
        const real = Buffer.from(realpathSync(local));
        if (path.endsWith("/") && !statSync(real).isDirectory()) throw new Error("not a directory");
        setAttribute(real, Buffer.from(name), Buffer.from(value));
      },
    };
  }

  #noAttribute(): Step {
    const path = this.#path();
    const name = this.#pick(["user.one", "user.two"]);
    return {
      words: ["xattr rm", name, path],
      locally: () => {
        const real = Buffer.from(realpathSync(this.#mirror.path(path)));
        if (path.endsWith("/") && !statSync(real).isDirectory()) throw new Error("not a directory");
        removeAttribute(real, Buffer.from(name));
      },
    };
  }

  /** What a copy of `source` to `target` would replace. */
  #replaced(source: string, target: string): string {
    const path = this.#mirror.path(target);
    const isInto = quietly(() => statSync(path).isDirectory()) ?? false;
    return isInto ? join(path, basename(source)) : path.replace(/\/$/, "");
  }

  /** True when a directory would be copied to a place in itself: cp refuses that when it has begun, dfs before. */
  #isInside(source: string, target: string): boolean {
    const from = quietly(() => realpathSync(this.#mirror.path(source)));
    const into = quietly(() => realpathSync(dirname(this.#replaced(source, target))));
    return from !== undefined && into !== undefined && `${into}/`.startsWith(`${from}/`);
  }

  /** True when a file would be replaced that dfs replaces otherwise than cp. */
  #isShared(source: string, target: string, keep: boolean): boolean {
    return quietly(() => isSpecial(realpathSync(this.#replaced(source, target)), keep)) ?? false;
  }

  /** True when a tree, or something in it, would replace what dfs replaces otherwise than cp. */
  #hasTree(source: string, target: string, keep: boolean): boolean {
    const replaced = this.#replaced(source, target);
    const there = quietly(() => lstatSync(replaced));
    return there !== undefined && (!there.isDirectory() || isSpecial(replaced, keep));
  }
}

/** What it comes to; nothing when a name on the way is no directory, or leads in circles. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** True for a file with several names, with -p for one with attributes or set-id bits, and for a tree with such a file or a link in it. */
function isSpecial(path: string, keep: boolean): boolean {
  const stats = lstatSync(path);
  if (stats.isDirectory()) {
    return readdirSync(path).some((name) => {
      const inside = join(path, name);
      return lstatSync(inside).isSymbolicLink() || isSpecial(inside, keep);
    });
  }
  const hasAttributes = listAttributes(Buffer.from(path)).length > 0;
  const hasSpecialBits = (stats.mode & 0o7000) !== 0; // which cp leaves set where the file system has ACLs
  return (stats.isFile() && stats.nlink > 1) || (keep && (hasAttributes || hasSpecialBits));
}

function makeSources(): string {
  const root = cluster.path("sources");
  const random = seededRandom(11);
  mkdirSync(join(root, "tree/x/empty"), { recursive: true });
  const files: readonly [string, number][] = [
    ["empty", 0],
    ["small", 11],
    ["block", BLOCK],
    ["large", 5 * BLOCK + 3],
    ["tree/a", 300],
    ["tree/x/y", 2 * BLOCK],
  ];
  for (const [name, size] of files) writeFileSync(join(root, name), random.bytes(size));
  symlinkSync("../a", join(root, "tree/x/link"));
  setAttribute(Buffer.from(join(root, "small")), Buffer.from("user.source"), Buffer.from("yes"));
  return root;
}

/** Names and values of the attributes of everything in a tree. */
function attributes(path: string, found = new Map<string, string>(), at = ""): Map<string, string> {
  const bytes = Buffer.from(path);
  const all = listAttributes(bytes).filter((name) => name.toString().startsWith("user."));
  for (const name of all)
    found.set(`${at} ${name.toString()}`, getAttribute(bytes, name).toString());
  if (!lstatSync(path).isDirectory()) return found;
  for (const name of readdirSync(path)) attributes(join(path, name), found, `${at}/${name}`);
  return found;
}

test(`sequences of commands, seed ${SEED}`, async () => {
  console.log(`seed ${SEED}`);
  const sources = makeSources();
  const done: Record<string, number> = {};
  for (let round = 0; round < ROUNDS; round++) {
    const root = `round-${round}`;
    const mirror = new Mirror(cluster, root);
    const generator = new Generator(seededRandom(SEED + round), mirror, root, sources);
    await mirror.run("mkdir", root);
    const history: string[] = [];
    try {
      for (let step = 1; step <= STEPS; step++) {
        const next = generator.next();
        if (next === undefined) continue;
        history.push(next.words.join(" "));
        const { code } = await mirror.pair(next.words, next.locally);
        const key = `${next.words[0]} ${code === 0 ? "done" : "refused"}`;
        done[key] = (done[key] ?? 0) + 1;
        if (step % COMPARE_EVERY === 0)
          await mirror.expectSame("mode", "owner", "size", "oldTimes", "nlink");
      }
      const back = cluster.path(`back-${round}`);
      const got = await dfsIn(cluster, "get", "-r", "-p", `/${root}`, back);
      expect(got).toMatchObject({ code: 0, stderr: "" });
      expect(snapshot(back, { modes: true })).toEqual(snapshot(mirror.path(root), { modes: true }));
      expect(attributes(back)).toEqual(attributes(mirror.path(root)));
    } catch (error) {
      throw new Error(`round ${round} of seed ${SEED}:\n${history.slice(-HISTORY).join("\n")}`, {
        cause: error,
      });
    }
  }
  console.log(JSON.stringify(done));
  expect((await cluster.run(["fsck", "-q"])).code).toBe(0);
});
