// Walking trees: order, width, depth, and what an error does.

import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/base/random.ts";
import { walkTree, type Step } from "../../src/tools/shared/tree.ts";
import { failureOf } from "./support/files.ts";

const { signal: never } = new AbortController();

interface Node {
  readonly name: string;
  readonly children?: readonly Node[];
}

/** Walks made-up nodes and writes down what happens. Each step takes a few turns of the event loop. */
class Recorder {
  readonly events: string[] = [];
  active = 0;
  mostActive = 0;
  mostPulled = 0;
  readonly #random = seededRandom(7);

  async walk(roots: readonly Node[], width: number): Promise<void> {
    await walkTree(this.steps(roots), width, never);
  }

  async *steps(nodes: readonly Node[]): AsyncIterable<Step> {
    for (const node of nodes) yield () => this.step(node);
  }

  async step(node: Node): ReturnType<Step> {
    this.mostActive = Math.max(this.mostActive, ++this.active);
    this.events.push(`begin ${node.name}`);
    for (let turn = this.#random.below(4); turn >= 0; turn--) await Promise.resolve();
    this.active--;
    if (node.name.startsWith("bad")) throw new Error(node.name);
    this.events.push(`end ${node.name}`);
    if (node.children === undefined) return undefined;
    return {
      steps: this.steps(node.children),
      leave: async () => {
        await Promise.resolve();
        this.events.push(`leave ${node.name}`);
      },
    };
  }
}

/** A tree with `fanout` directories in each directory and a file in each, `depth` deep. */
function tree(name: string, fanout: number, depth: number): Node {
  if (depth === 0) return { name };
  const children = Array.from({ length: fanout }, (_, index) =>
    tree(`${name}.${index}`, fanout, depth - 1),
  );
  return { name, children };
}

function namesIn(node: Node): string[] {
  return [node.name, ...(node.children ?? []).flatMap(namesIn)];
}

describe.each([1, 3, 24])("walkTree with %d workers", (width) => {
  test("does every step once, directories before and leaves after what is in them", async () => {
    const root = tree("r", 3, 4);
    const recorder = new Recorder();
    await recorder.walk([root, { name: "other" }], width);
    const at = new Map(recorder.events.map((event, index) => [event, index]));
    expect(at.size).toBe(recorder.events.length);
    const names = [...namesIn(root), "other"];
    expect(recorder.events.filter((event) => event.startsWith("end "))).toHaveLength(names.length);
    const check = (node: Node): void => {
      for (const child of node.children ?? []) {
        expect(at.get(`begin ${child.name}`)!).toBeGreaterThan(at.get(`end ${node.name}`)!);
        const last = child.children === undefined ? "end" : "leave";
        expect(at.get(`leave ${node.name}`)!).toBeGreaterThan(at.get(`${last} ${child.name}`)!);
        check(child);
      }
    };
    check(root);
    expect(recorder.mostActive).toBeLessThanOrEqual(width);
    if (width > 1) expect(recorder.mostActive).toBeGreaterThan(1);
  });

  test("an empty tree and empty directories end", async () => {
    const recorder = new Recorder();
    await recorder.walk([], width);
    await recorder.walk([{ name: "empty", children: [] }], width);
    expect(recorder.events).toEqual(["begin empty", "end empty", "leave empty"]);
  });

  test("the first error ends the walk, and is thrown", async () => {
    const recorder = new Recorder();
    const many = Array.from({ length: 200 }, (_, index) => ({ name: `n${index}` }));
    const root = { name: "root", children: [{ name: "bad one" }, ...many] };
    expect(String(await failureOf(recorder.walk([root], width)))).toContain("bad one");
    await recorder.walk([], 1);
    expect(recorder.events).not.toContain("leave root");
    expect(recorder.events).not.toContain("begin n199");
  });
});

test("no depth is too deep", async () => {
  let node: Node = { name: "bottom" };
  for (let depth = 0; depth < 20_000; depth++) node = { name: `d${depth}`, children: [node] };
  const recorder = new Recorder();
  await recorder.walk([node], 8);
  expect(recorder.events.at(-1)).toBe("leave d19999");
});

test("a wide directory is taken piece by piece, never as a whole", async () => {
  let pulled = 0;
  let done = 0;
  let most = 0;
  async function* steps(): AsyncIterable<Step> {
    for (let index = 0; index < 10_000; index++) {
      pulled++;
      most = Math.max(most, pulled - done);
      yield async () => {
        await Promise.resolve();
        done++;
        return undefined;
      };
    }
  }
  await walkTree(steps(), 16, never);
  expect(done).toBe(10_000);
  expect(most).toBeLessThanOrEqual(17);
});
