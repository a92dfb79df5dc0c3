// Who may import whom, and a checker for it: given source files, it names every import that goes
// against the arrows and every place that reaches around a seam. tests/architecture.test.ts runs it
// on src; ARCHITECTURE.md draws the same arrows.
//
// - A file belongs to the area whose folder it lies in. An area may import itself and the areas in
//   its row; nothing else, not even for types, because a type that both sides need is a message or
//   belongs to a lower area.
// - Imports are found in two ways, whose findings are joined: Bun's own scanner, which knows the
//   syntax but drops type-only imports, and patterns, which see those, `new URL("...",
//   import.meta.url)` for workers, and imports of computed names, which are refused.
// - Relative imports name a file that exists, with its extension; packages are dependencies in
//   package.json, so that a copy without the development packages runs.

import { builtinModules } from "node:module";
import { posix } from "node:path";

/** A source file: its path inside the project with `/` between names, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** One import: what it names, the line it is on, and whether it happens only when it is reached. */
export interface ImportSite {
  readonly specifier: string;
  readonly line: number;
  readonly lazy: boolean;
}

/** What each area may import besides itself. `src/cli.ts` is an area of its own. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  "src/cli.ts": ["src/tools", "src/client", "src/protocol", "src/base"],
  "src/tools": ["src/client", "src/protocol", "src/base"],
  "src/mount": ["src/client", "src/protocol", "src/base"],
  "src/client": ["src/protocol", "src/base"],
  "src/server/meta": ["src/protocol", "src/base"],
  "src/server/data": ["src/log", "src/protocol", "src/base"],
  "src/log": ["src/base"],
  "src/protocol": ["src/base"],
  "src/base": [],
};

/** The command line starts these by lazy import of a file that lies directly in the folder. */
const STARTED_LAZILY: readonly string[] = ["src/server/meta", "src/server/data", "src/mount"];

/** Arrows of single files. */
const FILE_ARROWS: Readonly<Record<string, readonly string[]>> = {
  "src/tools/log-dump.ts": ["src/log"], // prints a data server's folder without the server
};

/** Who may read the version from package.json. */
const READS_PACKAGE_JSON: readonly string[] = ["src/cli.ts", "src/tools"];

/** Modules that load Node's streams, so that whoever imports them starts markedly later, and what does instead. */
const SLOW_TO_LOAD: Readonly<Record<string, string>> = {
  "node:crypto": "Bun.CryptoHasher, or the global crypto",
  "node:net": "Bun.listen and Bun.connect",
  "node:readline": "what comes, cut at its line ends",
  "node:stream": "an async generator",
  "node:tty": "src/tools/shared/terminal.ts",
  "node:zlib": "the compression of Bun itself",
};

/** Areas that get clock, timers and randomness passed in. The adapters to the real ones are in src/base. */
const BEHIND_SEAMS: readonly string[] = [
  "src/client",
  "src/log",
  "src/protocol",
  "src/server/meta",
  "src/server/data",
];

const USE_CLOCK = "take a Clock (src/base/clock.ts)";
const USE_RANDOM = "take a Random (src/base/random.ts)";

/** What reaches around a seam, and what to do instead. A dot before a timer makes it a method. */
const AROUND_SEAMS: readonly { readonly pattern: RegExp; readonly instead: string }[] = [
  { pattern: /\bMath\s*\.\s*random\s*\(/, instead: USE_RANDOM },
  { pattern: /\bcrypto\s*\.\s*(getRandomValues|random[A-Z]\w*)\s*\(/, instead: USE_RANDOM },
  { pattern: /(?<![.\w$])random(Bytes|Int|UUID)\s*\(/, instead: USE_RANDOM },
  { pattern: /\bDate\s*\.\s*now\s*\(/, instead: USE_CLOCK },
  { pattern: /\bnew\s+Date\s*\(\s*\)/, instead: USE_CLOCK },
  { pattern: /\bperformance\s*\.\s*now\s*\(/, instead: USE_CLOCK },
  { pattern: /\bprocess\s*\.\s*hrtime\b/, instead: USE_CLOCK },
  { pattern: /\bBun\s*\.\s*(sleep|sleepSync|nanoseconds)\s*\(/, instead: USE_CLOCK },
  { pattern: /(?<![.\w$])set(Timeout|Interval)\s*\(/, instead: USE_CLOCK },
  { pattern: /\b(globalThis|window)\s*\.\s*set(Timeout|Interval)\b/, instead: USE_CLOCK },
  { pattern: /["'](node:)?timers(\/promises)?["']/, instead: USE_CLOCK },
];

/**
 * Every rule that `files` break, one line each, naming file, line and import.
 *
 * @param dependencies names of the packages that the installed project has.
 */
export function violations(
  files: readonly SourceFile[],
  dependencies: readonly string[],
): readonly string[] {
  const paths = new Set(files.map((file) => file.path));
  return files.flatMap((file) => {
    const area = areaOf(file.path);
    if (area === undefined) {
      return [`${file.path}: lies in no known area; see ARROWS in tests/support/architecture.ts`];
    }
    const imports = importsOf(file).flatMap((site) => {
      const wrong = site.specifier.startsWith(".")
        ? wrongPath(file.path, area, site, paths)
        : wrongPackage(site.specifier, dependencies);
      return wrong === undefined
        ? []
        : [`${file.path}:${site.line}: import of "${site.specifier}": ${wrong}`];
    });
    return [...imports, ...computedImports(file), ...aroundSeams(file, area)];
  });
}

/** The imports and re-exports of a file, type-only and lazy ones included. Throws on a syntax error. */
export function importsOf(file: SourceFile): readonly ImportSite[] {
  const found = new Map<string, ImportSite>();
  const add = (specifier: string, line: number, lazy: boolean): void => {
    // An import that happens at start as well as lazily happens at start.
    const known = found.get(specifier);
    if (known === undefined || (known.lazy && !lazy)) {
      found.set(specifier, { specifier, line, lazy });
    }
  };

  const code = withoutComments(file.text);
  for (const { pattern, lazy } of IMPORT_PATTERNS) {
    for (const match of code.matchAll(pattern)) {
      add(match[1] ?? "", lineAt(code, match.index + match[0].length), lazy);
    }
  }
  for (const { path, kind } of new Bun.Transpiler({ loader: "ts" }).scanImports(file.text)) {
    if (!found.has(path)) {
      add(path, lineAt(code, Math.max(0, code.indexOf(`"${path}"`))), kind === "dynamic-import");
    }
  }
  return [...found.values()];
}

const IMPORT_PATTERNS: readonly { readonly pattern: RegExp; readonly lazy: boolean }[] = [
  { pattern: /^\s*(?:import|export)\s[\w$\s{},*]*?\bfrom\s*["']([^"']+)["']/gm, lazy: false },
  { pattern: /^\s*import\s*["']([^"']+)["']/gm, lazy: false },
  { pattern: /\brequire\s*\(\s*["']([^"']+)["']/g, lazy: false },
  { pattern: /\bimport\s*\(\s*["']([^"']+)["']/g, lazy: true },
  { pattern: /\bnew\s+URL\s*\(\s*["']([^"']+)["']\s*,\s*import\.meta\.url/g, lazy: true },
];
const COMPUTED_IMPORT = /\b(?:import|require)\s*\(\s*(?!["'\s])/g;

function computedImports(file: SourceFile): readonly string[] {
  const code = withoutComments(file.text);
  return [...code.matchAll(COMPUTED_IMPORT)].map(
    (match) =>
      `${file.path}:${lineAt(code, match.index)}: import of a computed name: nobody can check where it leads`,
  );
}

function aroundSeams(file: SourceFile, area: string): readonly string[] {
  if (!BEHIND_SEAMS.includes(area)) {
    return [];
  }
  const lines = withoutComments(file.text).split("\n");
  return lines.flatMap((text, index) =>
    AROUND_SEAMS.flatMap(({ pattern, instead }) => {
      const match = pattern.exec(text);
      return match === null
        ? []
        : [`${file.path}:${index + 1}: ${match[0]} around a seam: ${instead}`];
    }),
  );
}

function areaOf(path: string): string | undefined {
  return Object.keys(ARROWS).find((area) => path === area || path.startsWith(`${area}/`));
}

/** Why a relative import is wrong, or undefined. */
function wrongPath(
  from: string,
  area: string,
  { specifier, lazy }: ImportSite,
  paths: ReadonlySet<string>,
): string | undefined {
  const target = posix.join(posix.dirname(from), specifier);
  if (target === "package.json") {
    return READS_PACKAGE_JSON.includes(area) ? undefined : "package.json is for the command line";
  }
  if (!paths.has(target)) {
    return `there is no source file ${target} (the extension belongs to the name)`;
  }
  const targetArea = areaOf(target);
  const allowed = [area, ...(ARROWS[area] ?? []), ...(FILE_ARROWS[from] ?? [])];
  if (targetArea === undefined || allowed.includes(targetArea)) {
    return undefined; // a file in no area is reported by itself
  }
  if (area === "src/cli.ts" && STARTED_LAZILY.includes(targetArea)) {
    if (!lazy) {
      return "servers and the mount are started by a lazy import";
    }
    return posix.dirname(target) === targetArea ? undefined : "only entry files are started";
  }
  return `${area} may not import ${targetArea}`;
}

/** Why an import of a package is wrong, or undefined. */
function wrongPackage(specifier: string, dependencies: readonly string[]): string | undefined {
  const instead = SLOW_TO_LOAD[specifier];
  if (instead !== undefined) return `slow to load; take ${instead}`;
  if (/^(node|bun):/.test(specifier) || specifier === "bun") {
    return undefined;
  }
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  if (dependencies.includes(name)) {
    return undefined;
  }
  return builtinModules.includes(name)
    ? `write node:${specifier}`
    : "not among the dependencies in package.json";
}

/**
 * The text with comments blanked, line for line. It knows lines that are comments and comments that
 * end a line, which is how formatted source has them; it does not parse strings.
 */
function withoutComments(text: string): string {
  return text
    .split("\n")
    .map((line) => (/^\s*(\/\/|\/\*|\*)/.test(line) ? "" : line.replace(/\s\/\/\s.*$/, "")))
    .join("\n");
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
