// Programs that people use, on a mount, compared with what they do in a local directory.

import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { mkdirSync } from "node:fs";
import { differences, runMark } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

setDefaultTimeout(240_000); // programs that make thousands of system calls, on a busy machine

let mounted: Mounted;
let count = 0;
/** A directory on the mount, and one beside it on the local disk. */
let remote: string;
let local: string;

/** Runs a test where the programs are there; says which are not where not. */
function withPrograms(programs: readonly string[], title: string, run: () => Promise<void>): void {
  const missing = programs.filter((name) => Bun.which(name) === null);
  if (missing.length > 0) console.log(`skipped, as ${missing.join(", ")} is missing: ${title}`);
  test.skipIf(missing.length > 0)(title, run);
}

const GIT = {
  GIT_AUTHOR_NAME: "A",
  GIT_AUTHOR_EMAIL: "a@example.org",
  GIT_COMMITTER_NAME: "A",
  GIT_COMMITTER_EMAIL: "a@example.org",
  GIT_CONFIG_NOSYSTEM: "1",
  ...runMark(),
};

describe.skipIf(cannotMount !== undefined)("on a mount", () => {
  beforeAll(async () => {
    mounted = await Mounted.up();
  });
  afterAll(() => mounted.stop());
  beforeEach(() => {
    remote = `${mounted.path}/case-${++count}`;
    local = mounted.cluster.path(`case-${count}`);
    mkdirSync(remote);
    mkdirSync(local);
  });

  const git = (script: string, cwd = remote): Promise<string> => mounted.ok(script, cwd, GIT);

  withPrograms(["git"], "git: clone, commit, branches, gc and fsck", async () => {
    await git(
      `git init -q -b main source; cd source
       for n in 1 2 3 4 5 6 7 8 9; do mkdir -p d$n; seq $n 2000 > d$n/file; git add .; git commit -qm "commit $n"; done
       git tag -a -m tagged first HEAD~5`,
      local,
    );
    await git(
      `git clone -q ${local}/source clone; cd clone
       git checkout -q -b work; echo more >> d1/file; git mv d2 moved; git commit -qam work
       git checkout -q main; echo other > new; git add new; git commit -qm other
       git merge -q -m merged work; git stash list; git gc -q --aggressive --prune=now`,
    );
    expect(await git("cd clone; git fsck --full --strict 2>&1 || echo broken")).not.toContain(
      "broken",
    );
    expect(await git("cd clone; git status --porcelain")).toBe("");
    expect(await git("cd clone; git log --oneline | wc -l")).toBe("12\n");
    await git(`git clone -q ${remote}/clone again`, local);
    await git("rm -r clone/.git; mv clone result");
    await git("rm -r again/.git", local);
    expect(await differences(`${remote}/result`, `${local}/again`)).toBe("");
  });

  const INSERTS = 60;
  for (const mode of ["delete", "wal"]) {
    withPrograms(["sqlite3"], `sqlite3 in journal mode ${mode}, from two processes`, async () => {
      const sql = (text: string) => ["sqlite3", "-cmd", ".timeout 60000", `${remote}/db`, text];
      await mounted.ok(
        `sqlite3 db "PRAGMA journal_mode=${mode}; CREATE TABLE t (who TEXT, n INTEGER, PRIMARY KEY (who, n))"`,
        remote,
      );
      const insert = (who: string): string =>
        Array.from({ length: INSERTS }, (_, n) => `INSERT INTO t VALUES ('${who}', ${n});`).join(
          "\n",
        );
      const writers = ["a", "b"].map((who) => mounted.program(sql(insert(who))));
      for (const writer of writers) {
        const [code, stderr] = [await writer.exited, await writer.stderr.text()];
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      }
      const check = mounted.program(
        sql(
          "PRAGMA integrity_check; SELECT who, count(*), sum(n) FROM t GROUP BY who ORDER BY who",
        ),
      );
      const sum = (INSERTS * (INSERTS - 1)) / 2;
      expect(await check.stdout.text()).toBe(`ok\na|${INSERTS}|${sum}\nb|${INSERTS}|${sum}\n`);
    });
  }

  /** A tree with all that a backup must keep. */
  const TREE = `
    mkdir -p tree/a/b tree/empty; seq 30000 > tree/numbers; printf x > tree/a/one; : > tree/a/b/nothing
    ln tree/numbers tree/a/hard; ln -s ../numbers tree/a/soft; ln -s nowhere tree/dangling; mkfifo tree/fifo
    mknod tree/null c 1 3; mknod tree/disk b 8 7; truncate -s 3000000 tree/sparse; printf end >> tree/sparse
    chmod 0 tree/a/one; chmod 4751 tree/a/b/nothing; chmod 1777 tree/empty; chown 12:34 tree/a/one tree/fifo
    chown -h 56:78 tree/a/soft
    touch -d '1999-12-31 23:59:59.123456789' tree/a/one; touch -h -d '2001-02-03 04:05:06.000000007' tree/a/soft
    touch -d '1970-01-01 00:00:00.5 UTC' tree/empty tree/a/b tree/a tree`;
  /** Everything about each file of a tree but its inode number. */
  const LISTING = "find tree -printf '%p %y %m %U %G %n %s %T@ %l\\n' | sort";
  const SUMS = "find tree -type f -exec md5sum {} + | sort -k2";

  withPrograms(["tar"], "tar: a tree comes back as it was, both ways", async () => {
    await mounted.ok(TREE, local);
    const [listing, sums] = [await mounted.ok(LISTING, local), await mounted.ok(SUMS, local)];
    await mounted.ok(
      `tar -C ${local} --format=posix -cf - tree | tar -xpf - --numeric-owner`,
      remote,
    );
    expect(await mounted.ok(LISTING, remote)).toBe(
      directoriesOwnSize(listing, await mounted.ok(LISTING, remote)),
    );
    expect(await mounted.ok(SUMS, remote)).toBe(sums);
    await mounted.ok(
      `mkdir back; tar -C ${remote} --format=posix -cSf - tree | tar -C back -xpf - --numeric-owner`,
      local,
    );
    expect(await mounted.ok(LISTING, `${local}/back`)).toBe(listing);
    expect(await mounted.ok(SUMS, `${local}/back`)).toBe(sums);
  });

  /** The expected listing with the sizes of directories as they are here: each file system has its own. */
  function directoriesOwnSize(expected: string, found: string): string {
    const sizes = new Map(
      found.split("\n").map((line) => [line.split(" ")[0], line.split(" ")[6] ?? ""] as const),
    );
    return expected
      .split("\n")
      .map((line) => {
        const fields = line.split(" ");
        if (fields[1] === "d") fields[6] = sizes.get(fields[0]) ?? "";
        return fields.join(" ");
      })
      .join("\n");
  }

  withPrograms(
    ["rsync"],
    "rsync -aHAX --numeric-ids --sparse: a tree comes back as it was",
    async () => {
      // Without the window rsync takes times within the same second for equal, and leaves them as they are.
      const rsync = "rsync -aHAX --numeric-ids --sparse --checksum --delete --modify-window=-1";
      await mounted.ok(TREE, local);
      const note = Buffer.from("user.note");
      posix.xattrSet(`${local}/tree/numbers`, note, Buffer.from("kept"));
      const [listing, sums] = [await mounted.ok(LISTING, local), await mounted.ok(SUMS, local)];
      await mounted.ok(`${rsync} ${local}/tree ./`, remote);
      expect(await mounted.ok(`${rsync} --itemize-changes ${local}/tree ./`, remote)).toBe("");
      expect(await mounted.ok(LISTING, remote)).toBe(
        directoriesOwnSize(listing, await mounted.ok(LISTING, remote)),
      );
      expect(await mounted.ok(SUMS, remote)).toBe(sums);
      expect(String(Buffer.from(posix.xattrGet(`${remote}/tree/a/hard`, note)))).toBe("kept");
      expect(await mounted.ok("stat -c %i tree/numbers tree/a/hard | uniq | wc -l", remote)).toBe(
        "1\n",
      );
      // The hole has stayed one: 3 bytes of data in 3 MB.
      expect(Number(await mounted.ok("stat -c %b tree/sparse", remote))).toBeLessThan(3000);
      await mounted.ok(`mkdir back; ${rsync} ${remote}/tree back/`, local);
      expect(await mounted.ok(LISTING, `${local}/back`)).toBe(listing);
      expect(await mounted.ok(SUMS, `${local}/back`)).toBe(sums);
      const back = posix.xattrGet(`${local}/back/tree/numbers`, note);
      expect(String(Buffer.from(back))).toBe("kept");
      expect(await mounted.ok(`${rsync} --itemize-changes ${remote}/tree back/`, local)).toBe("");
    },
  );

  withPrograms(
    ["find", "grep"],
    "find and grep -r find the same as in a local directory",
    async () => {
      const make = `for d in 1 2 3 4 5; do mkdir -p dir$d/sub; for f in 1 2 3 4 5 6 7 8 9; do
      echo "needle $d $f" > dir$d/file$f; seq $f 500 > dir$d/sub/other$f; done; done`;
      const look =
        "find . -name '*e3' | sort; grep -rl 'needle 4' . | sort; grep -rc 499 dir2 | sort; du -a --apparent-size -b dir3/file1";
      await mounted.ok(make, local);
      await mounted.ok(make, remote);
      expect(await mounted.ok(look, remote)).toBe(await mounted.ok(look, local));
    },
  );

  /** A C program as they are: headers, a static library, files of dependencies, tests, an installation. */
  const C_PROGRAM = `
    mkdir src include
    for n in 1 2 3 4 5 6 7 8 9; do
      echo "int f$n(int x); /* of $n */" > include/f$n.h
      printf '#include "all.h"\n#include "f%s.h"\nint f%s(int x) { return x * %s + SCALE; }\n' $n $n $n > src/f$n.c
    done
    { echo '#pragma once'; echo '#define SCALE 1'; for n in 1 2 3 4 5 6 7 8 9; do echo "#include \\"f$n.h\\""; done; } > include/all.h
    cat > src/main.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include "all.h"
int main(int argc, char **argv) {
  int sum = 0, x = argc > 1 ? atoi(argv[1]) : 1;
  int (*all[])(int) = {f1, f2, f3, f4, f5, f6, f7, f8, f9};
  for (int i = 0; i < 9; i++) sum += all[i](x);
  printf("%d\\n", sum);
  return 0;
}
END
    cat > Makefile <<'END'
CFLAGS = -O2 -g -Wall -Werror -Iinclude -MMD -MP -ffile-prefix-map=$(CURDIR)=.
OBJECTS = $(patsubst %,src/f%.o,1 2 3 4 5 6 7 8 9)
prog: src/main.o libf.a
	$(CC) -o $@ $^
libf.a: $(OBJECTS)
	$(AR) rcsD $@ $^
check: prog
	test "$$(./prog 2)" = 99
install: prog
	install -d $(DESTDIR)/bin && install -m 755 prog $(DESTDIR)/bin && ln -sf prog $(DESTDIR)/bin/p
clean:
	rm -f prog libf.a src/*.o src/*.d
-include $(wildcard src/*.d)
END`;

  withPrograms(
    ["gcc", "make", "ar"],
    "make builds a C program as on the local disk, again what has changed, and it runs from the mount",
    async () => {
      for (const place of [remote, local]) {
        await mounted.ok(`${C_PROGRAM}\nmake -s -j4 check install DESTDIR="$PWD/installed"`, place);
      }
      expect(await differences(remote, local)).toBe("");
      expect(await mounted.ok("installed/bin/p 2", remote)).toBe("99\n");
      expect(await mounted.ok("make", remote)).toContain("up to date");
      // One header: make makes what needs it, and nothing else, by the times that the mount tells.
      await mounted.ok(
        "sleep 0.02; echo '/* changed */' >> include/f3.h; touch include/f3.h",
        remote,
      );
      const made = await mounted.ok("make | grep -c -- ' -c '", remote);
      expect(made).toBe("10\n");
      await mounted.ok(
        "sleep 0.02; touch src/f5.c; make > log; grep -c -- ' -c ' log | grep -x 1",
        remote,
      );
      await mounted.ok("make -s clean; test ! -e prog; make -s -j4; ./prog", remote);
    },
  );
});
