// Modes as chmod takes them. Every one is tried on files and directories of several modes, by chmod(1) and by us.

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { changedMode, parseModeChange } from "../../src/tools/shared/modes.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("modes");
afterAll(() => folder.remove());

const BEFORE = [0o000, 0o644, 0o755, 0o701, 0o2750, 0o4755, 0o6775, 0o1777, 0o7421];

const MODES = [
  ..."0 7 644 0755 4755 2700 1777 6000 00755 000000755 07777".split(" "),
  ..."+x -x +w =r =rw + - = a+rwx a= u= g= o= ug= ugo+rw".split(" "),
  ..."u+x u-w,g+s go-rwx u=rwX,g=rX,o= a+X a-X,a+X +X u+s g-s u-s a-s +s =s ug+s o+s u=s".split(
    " ",
  ),
  ..."+t o+t u+t a-t -t =t o=t g=u u=g o=g u+o a=u g-o +u =o ug=o u=go".split(" "),
  ..."=755 +111 -0007 +4000 -6000 =0 +7777 u+r-w+x u=r+X,o+w-w a-w+s,g=x".split(" "),
  ..."u=rwx,g=u-w,o=g-x g+s,=644 =644,g+s g=s u=rs".split(" "),
];

/** chmod(1) on the same; undefined when it refuses. */
function chmodMakes(text: string, paths: readonly string[], umask: string): number[] | undefined {
  for (const [index, path] of paths.entries()) chmodSync(path, BEFORE[index >> 1] ?? 0);
  const { exitCode } = Bun.spawnSync([
    "sh",
    "-c",
    `umask ${umask}; chmod -- "$@"`,
    "sh",
    text,
    ...paths,
  ]);
  return exitCode === 0 ? paths.map((path) => statSync(path).mode & 0o7777) : undefined;
}

describe.each(["022", "077"])("with umask %s", (umask) => {
  const paths = BEFORE.flatMap((_, index) => {
    const [file, directory] = [`file-${umask}-${index}`, `directory-${umask}-${index}`];
    writeFileSync(join(folder.path, file), "");
    mkdirSync(join(folder.path, directory));
    return [join(folder.path, file), join(folder.path, directory)];
  });
  test.each(MODES)("%s does what chmod(1) does", (text) => {
    const expected = chmodMakes(text, paths, umask);
    if (expected === undefined) {
      expect(() => parseModeChange(text)).toThrow("expected a mode");
      return;
    }
    const change = parseModeChange(text);
    const made = paths.map((_, index) =>
      changedMode(change, BEFORE[index >> 1] ?? 0, index % 2 === 1, Number.parseInt(umask, 8)),
    );
    expect(made.map((mode) => mode.toString(8))).toEqual(expected.map((mode) => mode.toString(8)));
  });
});

test.each(["", "x", "u", "u+q", "8", "10000", "+10000", "u+x,", ",u+x", "u+755", "u++,", "a+r w"])(
  "%j is refused, as by chmod(1)",
  (text) => {
    expect(() => parseModeChange(text)).toThrow("expected a mode");
    const file = join(folder.path, "refused");
    writeFileSync(file, "");
    expect(Bun.spawnSync(["chmod", "--", text, file]).exitCode).not.toBe(0);
  },
);
