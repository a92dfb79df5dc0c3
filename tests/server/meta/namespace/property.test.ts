// Random sequences of operations, by two sessions, compared with a simple model: every outcome, then every attribute and
// byte of the whole tree; and the tables checked again and again. DFS_TEST_SEED repeats a run.

import { afterAll, describe, expect, test } from "bun:test";
import { isDfsError } from "../../../../src/base/errors.ts";
import { errnoOf } from "../../../../src/base/errno.ts";
import { seededRandom, type Random } from "../../../../src/base/random.ts";
import { reclaimStep } from "../../../../src/server/meta/namespace/operations.ts";
import { NamespaceTree, type BlockMap } from "../../../conformance/namespace-tree.ts";
import type { TreeFile } from "../../../conformance/tree.ts";
import { Harness } from "./harness.ts";
import { brokenInvariants } from "./invariants.ts";
import { Model, resize, write, type Node, type Outcome } from "./model.ts";

const SEQUENCES = 24;
const STEPS = 150;
const CHECK_EVERY = 15;
const MAX_HANDLES = 4;
const MAX_OFFSET = 60;

const seed = Number(process.env["DFS_TEST_SEED"] ?? Date.now() % 2 ** 31);
console.log(`random namespace operations: DFS_TEST_SEED=${seed}`);

interface Handle {
  readonly tree: NamespaceTree;
  readonly file: TreeFile;
  readonly node: Node;
}

type Step = () => Promise<void>;

/** One random sequence: the real tree, the model, and what has been done so far. */
class Sequence {
  readonly harness: Harness;
  readonly log: string[] = [];
  readonly #random: Random;
  readonly #model = new Model();
  readonly #handles: Handle[] = [];
  readonly #blocks: BlockMap = new Map();
  #trees: NamespaceTree[] = [];

  constructor(random: Random, async: boolean) {
    this.#random = random;
    this.harness = new Harness({ async });
  }

  async run(): Promise<void> {
    for (let index = 0; index < 2; index++) {
      this.#trees.push(await NamespaceTree.over(this.harness, this.#blocks));
    }
    for (let step = 1; step <= STEPS; step++) {
      await this.#pick(this.#steps())();
      if (step % CHECK_EVERY === 0) this.checkInvariants();
    }
    await this.#compare();
    for (const handle of this.#handles.splice(0)) await handle.file.close();
    this.checkInvariants();
    await this.harness.reclaimAll();
    for (const tree of this.#trees) await tree.close();
    this.checkInvariants();
    await this.#expectNothingLeftBehind();
  }

  checkInvariants(): void {
    expect(brokenInvariants(this.harness.store.database, this.harness.settings)).toEqual([]);
  }

  #steps(): readonly Step[] {
    const names: readonly Step[] = [
      () => this.#simple("mkdir", (tree, path) => tree.mkdir(path)),
      () => this.#simple("rmdir", (tree, path) => tree.rmdir(path)),
      () => this.#simple("unlink", (tree, path) => tree.unlink(path)),
      () => this.#simple("symlink", (tree, path) => tree.symlink("/nowhere/at/all", path)),
      () => this.#link(),
      () => this.#rename(),
      () => this.#rename(),
      () => this.#chmod(),
    ];
    const content: readonly Step[] = [
      () => this.#create(),
      () => this.#create(),
      () => this.#open(),
      () => this.#writeHandle(),
      () => this.#writeHandle(),
      () => this.#writeHandle(),
      () => this.#readHandle(),
      () => this.#truncateHandle(),
      () => this.#truncate(),
      () => this.#closeHandle(),
      () => this.#put(),
      () => this.#put(),
    ];
    const rare: readonly Step[] = [() => this.#restartSession(), () => this.#reclaim()];
    return this.#random.below(40) === 0 ? rare : [...names, ...content];
  }

  async #simple(
    name: "mkdir" | "rmdir" | "unlink" | "symlink",
    real: (tree: NamespaceTree, path: string) => Promise<void>,
  ): Promise<void> {
    const path = this.#path();
    await this.#same(`${name} ${path}`, real(this.#tree(), path), this.#model[name](path));
  }

  async #link(): Promise<void> {
    const [from, to] = [this.#path(), this.#path()];
    await this.#same(`link ${from} ${to}`, this.#tree().link(from, to), this.#model.link(from, to));
  }

  async #rename(): Promise<void> {
    const [from, to] = [this.#path(), this.#path()];
    const how = this.#pick(["replace", "replace", "noReplace", "exchange"] as const);
    const real = this.#tree().rename(from, to, how);
    await this.#same(`rename ${from} ${to} ${how}`, real, this.#model.rename(from, to, how));
  }

  async #chmod(): Promise<void> {
    const path = this.#path();
    const mode = this.#random.below(0o1000);
    const real = this.#tree().setattr(path, { mode });
    await this.#same(`chmod ${path} ${mode}`, real, this.#model.chmod(path, mode));
  }

  async #truncate(): Promise<void> {
    const path = this.#path();
    const size = this.#random.below(MAX_OFFSET);
    const real = this.#tree().setattr(path, { size });
    await this.#same(`truncate ${path} ${size}`, real, this.#model.truncate(path, size));
  }

  async #put(): Promise<void> {
    const path = this.#path();
    const bytes = this.#bytes();
    const [exclusive, keepReplaced] = [this.#random.below(4) === 0, this.#random.below(2) === 0];
    const real = this.#tree().put(path, Uint8Array.from(bytes), { exclusive, keepReplaced });
    const wanted = this.#model.put(path, bytes, exclusive, keepReplaced);
    await this.#same(`put ${path} ${bytes.length} ${exclusive} ${keepReplaced}`, real, wanted);
  }

  async #create(): Promise<void> {
    const path = this.#path();
    const exclusive = this.#random.below(3) === 0;
    const tree = this.#tree();
    const wanted = this.#model.create(path, exclusive);
    const real = tree.create(path, { exclusive });
    await this.#opened(`create ${path} ${exclusive}`, tree, real, wanted);
  }

  async #open(): Promise<void> {
    const path = this.#path();
    const tree = this.#tree();
    await this.#opened(`open ${path}`, tree, tree.open(path), this.#model.open(path));
  }

  async #opened(
    what: string,
    tree: NamespaceTree,
    real: Promise<TreeFile>,
    wanted: Node | NonNullable<Outcome>,
  ): Promise<void> {
    await this.#same(what, real, typeof wanted === "string" ? wanted : undefined);
    if (typeof wanted === "string") return;
    this.#handles.push({ tree, file: await real, node: wanted });
    if (this.#handles.length > MAX_HANDLES) await this.#closeHandle();
  }

  async #writeHandle(): Promise<void> {
    const handle = this.#pick(this.#handles);
    if (handle === undefined) return;
    const offset = this.#random.below(MAX_OFFSET);
    const bytes = this.#bytes();
    this.log.push(`write handle ${handle.file.inode} ${offset} ${bytes.length}`);
    await handle.file.write(offset, Uint8Array.from(bytes));
    write(handle.node, offset, bytes);
  }

  async #readHandle(): Promise<void> {
    const handle = this.#pick(this.#handles);
    if (handle === undefined) return;
    const [offset, length] = [this.#random.below(MAX_OFFSET), this.#random.below(MAX_OFFSET)];
    this.log.push(`read handle ${handle.file.inode} ${offset} ${length}`);
    const wanted = contentOf(handle.node).slice(offset, offset + length);
    expect(await handle.file.read(offset, length)).toEqual(Uint8Array.from(wanted));
  }

  async #truncateHandle(): Promise<void> {
    const handle = this.#pick(this.#handles);
    if (handle === undefined) return;
    const size = this.#random.below(MAX_OFFSET);
    this.log.push(`truncate handle ${handle.file.inode} ${size}`);
    await handle.file.truncate(size);
    resize(handle.node, size);
  }

  async #closeHandle(): Promise<void> {
    if (this.#handles.length === 0) return;
    const [handle] = this.#handles.splice(this.#random.below(this.#handles.length), 1);
    this.log.push(`close handle ${handle?.file.inode}`);
    await handle?.file.close();
  }

  /** One of the sessions ends with all that it has open, and another takes its place. */
  async #restartSession(): Promise<void> {
    const tree = this.#tree();
    this.log.push(`end session ${tree.session.id}`);
    await tree.close();
    const left = this.#handles.filter((handle) => handle.tree !== tree);
    this.#handles.splice(0, this.#handles.length, ...left);
    const fresh = await NamespaceTree.over(this.harness, this.#blocks);
    this.#trees = this.#trees.map((each) => (each === tree ? fresh : each));
  }

  async #reclaim(): Promise<void> {
    this.log.push("reclaim");
    await this.harness.run(reclaimStep({ nowNs: this.harness.nowNs }, 3));
  }

  /** Both must succeed, or fail with the same errno. */
  async #same(what: string, real: Promise<unknown>, wanted: Outcome): Promise<void> {
    this.log.push(`${what}: ${wanted ?? "done"}`);
    let outcome: Outcome;
    try {
      await real;
    } catch (error) {
      if (!isDfsError(error)) throw error;
      outcome = errnoOf(error.kind);
    }
    expect([what, outcome]).toEqual([what, wanted]);
  }

  /** The whole tree and all open files, attribute by attribute and byte by byte. */
  async #compare(): Promise<void> {
    const tree = this.#tree();
    const inodes = new Map<Node, bigint>();
    for (const { path, node } of this.#model.all()) {
      const found = await tree.lstat(path);
      expect([path, inodes.get(node) ?? found.inode]).toEqual([path, found.inode]);
      inodes.set(node, found.inode);
      const { type, mode, nlink } = found;
      const wanted = { type: node.type, mode: node.mode, nlink: this.#model.nlink(node) };
      expect({ path, type, mode, nlink }).toEqual({ path, ...wanted });
      if (node.type === "directory") await this.#compareNames(tree, path, node);
      if (node.type === "file") await this.#compareFile(await tree.open(path), node, found, true);
    }
    expect(new Set(inodes.values()).size).toBe(inodes.size);
    for (const { tree: owner, file, node } of this.#handles) {
      const attributes = this.harness.primitives["inode.get"](file.inode as never);
      if (attributes === undefined) throw new Error(`session ${owner.session.id} lost its file`);
      await this.#compareFile(file, node, attributes, false);
    }
  }

  async #compareNames(tree: NamespaceTree, path: string, node: Node): Promise<void> {
    const names = (await tree.readdir(path)).map((entry) => Buffer.from(entry.name).toString());
    expect([path, names]).toEqual([path, [...node.children.keys()].sort()]);
  }

  async #compareFile(
    file: TreeFile,
    node: Node,
    found: { readonly size: number; readonly allocated: number },
    close: boolean,
  ): Promise<void> {
    const allocated = node.data.filter((byte) => byte !== undefined).length;
    expect([found.size, found.allocated]).toEqual([node.data.length, allocated]);
    expect(await file.read(0, found.size + 1)).toEqual(Uint8Array.from(contentOf(node)));
    if (close) await file.close();
  }

  /** When all sessions have ended, only what has a name is left. */
  async #expectNothingLeftBehind(): Promise<void> {
    const named = new Set(this.#model.all().map(({ node }) => node)).size;
    expect(this.harness.primitives["figures.store"]().inodes).toBe(named);
    expect(this.harness.primitives["reclaim.list"](1)).toEqual([]);
  }

  #tree(): NamespaceTree {
    const tree = this.#pick(this.#trees);
    if (tree === undefined) throw new Error("there is no session");
    return tree;
  }

  #path(): string {
    const depth = 1 + this.#random.below(3);
    return Array.from({ length: depth }, () => `/${this.#pick(["a", "b", "c"])}`).join("");
  }

  #bytes(): number[] {
    return Array.from({ length: this.#random.below(30) }, () => this.#random.below(256));
  }

  #pick<const T>(from: readonly T[]): T {
    return from[this.#random.below(from.length)] as T;
  }
}

function contentOf(node: Node): number[] {
  return node.data.map((byte) => byte ?? 0);
}

describe("random operations", () => {
  let steps = 0;

  for (let index = 0; index < SEQUENCES; index++) {
    test(`do what the model does, sequence ${index}`, async () => {
      const sequence = new Sequence(seededRandom(seed + index), index % 4 === 3);
      try {
        await sequence.run();
      } catch (error) {
        console.log(`DFS_TEST_SEED=${seed}, sequence ${index}, the last steps:`);
        console.log(sequence.log.slice(-20).join("\n"));
        throw error;
      } finally {
        steps += sequence.log.length;
        sequence.harness.close();
      }
    });
  }

  afterAll(() => expect(steps).toBeGreaterThan(SEQUENCES * STEPS * 0.5));
});
