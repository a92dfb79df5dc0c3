/**
 * A file system in a few dozen lines, to compare the real one with: objects for inodes, maps for directories, arrays for
 * content. It answers with the errno that an operation must fail with, or undefined. Symbolic links lead nowhere.
 */
import type { Errno } from "../../../../src/base/errno.ts";

export type NodeType = "file" | "directory" | "symlink";

export interface Node {
  readonly type: NodeType;
  /** Of a directory. */
  readonly children: Map<string, Node>;
  /** Of a file: its bytes; undefined where nothing was written. */
  data: (number | undefined)[];
  mode: number;
}

export type Outcome = Errno | undefined;

interface Place {
  readonly parent: Node;
  readonly name: string;
}

export class Model {
  readonly root = newNode("directory", 0o755);

  mkdir(path: string): Outcome {
    return this.#make(path, () => newNode("directory", 0o755));
  }

  symlink(path: string): Outcome {
    return this.#make(path, () => newNode("symlink", 0o777));
  }

  link(existing: string, path: string): Outcome {
    const source = this.find(existing);
    if (typeof source === "string") return source;
    const place = this.#place(path);
    if (typeof place === "string") return place;
    if (place.parent.children.has(place.name)) return "EEXIST";
    if (source.type === "directory") return "EPERM";
    place.parent.children.set(place.name, source);
    return undefined;
  }

  /** The file that is created or found. */
  create(path: string, exclusive: boolean): Node | Errno {
    const place = this.#place(path);
    if (typeof place === "string") return place;
    const found = place.parent.children.get(place.name);
    if (found === undefined) {
      const file = newNode("file", 0o644);
      place.parent.children.set(place.name, file);
      return file;
    }
    if (exclusive || found.type === "symlink") return "EEXIST";
    return found.type === "directory" ? "EISDIR" : found;
  }

  open(path: string): Node | Errno {
    const found = this.find(path);
    if (typeof found === "string") return found;
    if (found.type === "symlink") return "ENOENT";
    return found.type === "directory" ? "EISDIR" : found;
  }

  put(path: string, content: readonly number[], exclusive: boolean, keep: boolean): Outcome {
    const place = this.#place(path);
    if (typeof place === "string") return place;
    const found = place.parent.children.get(place.name);
    if (found !== undefined && exclusive) return "EEXIST";
    if (found?.type === "directory") return "EISDIR";
    const file = newNode("file", keep && found?.type === "file" ? found.mode : 0o644);
    file.data = [...content];
    place.parent.children.set(place.name, file);
    return undefined;
  }

  unlink(path: string): Outcome {
    const place = this.#place(path);
    if (typeof place === "string") return place;
    const found = place.parent.children.get(place.name);
    if (found === undefined) return "ENOENT";
    if (found.type === "directory") return "EISDIR";
    place.parent.children.delete(place.name);
    return undefined;
  }

  rmdir(path: string): Outcome {
    const place = this.#place(path);
    if (typeof place === "string") return place;
    const found = place.parent.children.get(place.name);
    if (found === undefined) return "ENOENT";
    if (found.type !== "directory") return "ENOTDIR";
    if (found.children.size > 0) return "ENOTEMPTY";
    place.parent.children.delete(place.name);
    return undefined;
  }

  rename(from: string, to: string, how: "replace" | "noReplace" | "exchange"): Outcome {
    const old = this.#place(from);
    if (typeof old === "string") return old;
    const fresh = this.#place(to);
    if (typeof fresh === "string") return fresh;
    const source = old.parent.children.get(old.name);
    const target = fresh.parent.children.get(fresh.name);
    if (source === undefined) return "ENOENT";
    if (target === undefined && how === "exchange") return "ENOENT";
    if (target !== undefined && how === "noReplace") return "EEXIST";
    if (contains(source, fresh.parent)) return "EINVAL";
    if (target !== undefined && old.parent !== fresh.parent && contains(target, old.parent)) {
      return how === "exchange" ? "EINVAL" : "ENOTEMPTY";
    }
    if (target === source) return undefined;
    if (target !== undefined && how === "exchange") {
      old.parent.children.set(old.name, target);
    } else {
      const refused = target === undefined ? undefined : overRefused(source, target);
      if (refused !== undefined) return refused;
      old.parent.children.delete(old.name);
    }
    fresh.parent.children.set(fresh.name, source);
    return undefined;
  }

  chmod(path: string, mode: number): Outcome {
    const found = this.find(path);
    if (typeof found === "string") return found;
    if (found.type === "symlink") return "ENOENT";
    found.mode = mode;
    return undefined;
  }

  truncate(path: string, size: number): Outcome {
    const found = this.open(path);
    if (typeof found === "string") return found;
    resize(found, size);
    return undefined;
  }

  /** What a path leads to, a symbolic link at its end not followed. */
  find(path: string): Node | Errno {
    if (path === "/") return this.root;
    const place = this.#place(path);
    if (typeof place === "string") return place;
    return place.parent.children.get(place.name) ?? "ENOENT";
  }

  /** Names that lead to `node`; 2 and the subdirectories for a directory. */
  nlink(node: Node): number {
    if (node.type !== "directory") return this.all().filter((each) => each.node === node).length;
    const children = [...node.children.values()];
    return 2 + children.filter((child) => child.type === "directory").length;
  }

  /** Every path with its node, the root first. */
  all(): { readonly path: string; readonly node: Node }[] {
    const walk = (path: string, node: Node): { path: string; node: Node }[] => [
      { path: path === "" ? "/" : path, node },
      ...[...node.children].flatMap(([name, child]) => walk(`${path}/${name}`, child)),
    ];
    return walk("", this.root);
  }

  #make(path: string, node: () => Node): Outcome {
    const place = this.#place(path);
    if (typeof place === "string") return place;
    if (place.parent.children.has(place.name)) return "EEXIST";
    place.parent.children.set(place.name, node());
    return undefined;
  }

  #place(path: string): Place | Errno {
    const names = path.split("/").slice(1);
    const name = names.pop() ?? "";
    let parent = this.root;
    for (const each of names) {
      const next = parent.children.get(each);
      if (next === undefined || next.type === "symlink") return "ENOENT";
      if (next.type === "file") return "ENOTDIR";
      parent = next;
    }
    return { parent, name };
  }
}

export function write(node: Node, offset: number, bytes: readonly number[]): void {
  if (bytes.length === 0) return;
  resize(node, Math.max(node.data.length, offset + bytes.length));
  bytes.forEach((byte, index) => (node.data[offset + index] = byte));
}

export function resize(node: Node, size: number): void {
  node.data = Array.from({ length: size }, (_, index) => node.data[index]);
}

function newNode(type: NodeType, mode: number): Node {
  return { type, children: new Map(), data: [], mode };
}

/** True when `node` is `inside` or above it. */
function contains(node: Node, inside: Node): boolean {
  return node === inside || [...node.children.values()].some((child) => contains(child, inside));
}

function overRefused(source: Node, target: Node): Outcome {
  if (source.type === "directory" && target.type !== "directory") return "ENOTDIR";
  if (source.type !== "directory" && target.type === "directory") return "EISDIR";
  return target.children.size > 0 ? "ENOTEMPTY" : undefined;
}
