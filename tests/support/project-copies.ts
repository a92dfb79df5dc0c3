// Copies of the project in a scratch folder, and ways to start the launcher in them as on a machine
// that has nothing but the tools named here: an empty HOME, no Bun on PATH, no setting of ours.
//
// npm's cache is shared by all copies, so that only the first install downloads.

import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import pkg from "../../package.json" with { type: "json" };

/** The project that these tests are part of. */
export const ROOT = join(import.meta.dir, "../..");

/** The pinned version of Bun. */
export const PINNED = pkg.engines.bun;

/** What a POSIX system has, and Node.js for npm. flock is missing on some systems, npm on others. */
const TOOLS =
  "sh env node uname cat cksum chmod cp mkdir mv readlink rm sed sleep touch npm flock".split(" ");

/** What the launcher copies or reads. */
const FILES = ["bin", "src", "package.json", "bun.lock", "bunfig.toml", "tsconfig.json"];

/** How this machine reaches the registry, and the mark by which left-over processes are found. */
const INHERITED = /^(DFS_TEST_RUN|.*_PROXY|.*_proxy|.*_CERTS|SSL_.*|npm_config_registry)$/;

/** What a program that ran to its end left. */
export interface Result {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to start a program. */
export interface StartOptions {
  /** Default: the tools, with npm and without Bun. */
  readonly path?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Default: `--version`. */
  readonly arguments?: readonly string[];
  /** Default: the project's `bin/dfs`. */
  readonly program?: string;
  /** In a process group of its own, which can be killed as a whole. */
  readonly detached?: boolean;
}

/** A scratch folder (its path has a space in it) with project copies and tool folders. */
export class ProjectCopies {
  readonly scratch = realpathSync(mkdtempSync(join(tmpdir(), "dfs launcher ")));
  /** A PATH of all the tools, without Bun. */
  readonly tools = this.#link("tools", TOOLS);

  readonly #home = this.folder("home");
  readonly #npmCache = this.folder("npm-cache");

  /** Removes everything. */
  dispose(): void {
    rmSync(this.scratch, { recursive: true, force: true });
  }

  /** A copy of the project as it stands, with nothing installed. */
  fresh(name: string): string {
    const target = this.folder(name);
    for (const file of FILES) {
      cpSync(join(ROOT, file), join(target, file), { recursive: true });
    }
    return target;
  }

  /** A copy of an installed copy. The large Bun binary is shared by a link: nothing writes to it. */
  installed(source: string, name: string): string {
    const target = join(this.scratch, name);
    const bun = join(".runtime", `bun-${PINNED}`, "bun");
    cpSync(source, target, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => path !== join(source, bun),
    });
    linkSync(join(source, bun), join(target, bun));
    return target;
  }

  /** A PATH of the tools but for those in `missing`. */
  toolsWithout(...missing: readonly string[]): string {
    return this.#link(
      ["tools", ...missing].join("-without-"),
      TOOLS.filter((tool) => !missing.includes(tool)),
    );
  }

  /** The same, with the Bun that runs these tests. */
  toolsWithBun(...missing: readonly string[]): string {
    const path = this.toolsWithout("bun", ...missing);
    symlinkSync(process.execPath, join(path, "bun"));
    return path;
  }

  /** A new folder in the scratch folder. */
  folder(name: string): string {
    const path = join(this.scratch, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Starts a program of `project`, with one line on its standard input. */
  launch(project: string, options: StartOptions = {}) {
    const program = options.program ?? join(project, "bin/dfs");
    const inherited = Object.entries(process.env).filter(([name]) => INHERITED.test(name));
    return Bun.spawn([program, ...(options.arguments ?? ["--version"])], {
      cwd: options.cwd ?? this.scratch,
      detached: options.detached ?? false,
      env: {
        ...Object.fromEntries(inherited),
        PATH: options.path ?? this.tools,
        HOME: this.#home,
        TMPDIR: this.scratch,
        npm_config_cache: this.#npmCache,
        ...options.env,
      },
      stdio: [new TextEncoder().encode("some input\n"), "pipe", "pipe"],
    });
  }

  /** Starts a program and waits for its end. */
  start(project: string, options: StartOptions = {}): Promise<Result> {
    return finished(this.launch(project, options));
  }

  /** A folder with links to the named tools and nothing else. */
  #link(name: string, names: readonly string[]): string {
    const path = this.folder(name);
    for (const tool of names) {
      const found = Bun.which(tool);
      if (found === null) {
        throw new Error(`these tests need ${tool} on PATH`);
      }
      symlinkSync(found, join(path, tool));
    }
    return path;
  }
}

/** Waits for the end of what `launch` started. */
export async function finished(command: ReturnType<ProjectCopies["launch"]>): Promise<Result> {
  const [stdout, stderr, exitCode] = await Promise.all([
    command.stdout.text(),
    command.stderr.text(),
    command.exited,
  ]);
  return { exitCode, stdout, stderr };
}

/** What lies in a project's .runtime, sorted; nothing if there is none. */
export function runtimeOf(project: string): string[] {
  const path = join(project, ".runtime");
  return existsSync(path) ? readdirSync(path).sort((a, b) => a.localeCompare(b)) : [];
}
