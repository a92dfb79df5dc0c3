// What sequences of commands have found (sequences.test.ts), each by itself: the same commands on a cluster and, with the programs
// of the system, on a local directory.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LocalCluster } from "../support/local-cluster.ts";
import { dfsIn, Mirror } from "./support/mirror.ts";

setDefaultTimeout(120_000);

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3");
});
afterAll(() => cluster.stop());

// What sequences found: rm of one path twice ended with "inode 28 is gone" and left the rest; rm -f of a name below a file
// failed; mv of a hard link to another name of its file was called done and both names stayed; mv of a link onto the file that
// it leads to made it lead to itself, and the file was lost.
test("rm and mv of the same thing under two names", async () => {
  const mirror = new Mirror(cluster, "same");
  await mirror.run("mkdir", "-p", "same/a/b", "same/c/d", "same/e");
  await mirror.run("touch", "same/file", "same/a/x", "same/c/d/y");
  await mirror.run("rm", "-rf", "same/a", "same/a", "same/c/d/y", "same/c", "same/c/d", "same/e");
  await mirror.run("rm", "-f", "same/file/x", "same/file/", "same/nothing/x");
  await mirror.run("rm", "same/file/x");
  await mirror.run("ln", "same/file", "same/other");
  await mirror.run("ln", "-s", "file", "same/link");
  await mirror.run("ln", "-s", "circle", "same/circle");
  await mirror.run("ln", "-s", ".", "same/here");
  await mirror.run("mv", "same/file", "same/other");
  await mirror.run("mv", "same/file", "same/here/file");
  await mirror.run("mv", "same/file", "same");
  await mirror.run("mv", "same/link", "same/file");
  await mirror.expectSame("mode", "nlink");
  await mirror.run("mv", "same/circle", "same/round");
  await mirror.run("mv", "same/other", "same/round");
  await mirror.run("mv", "same/file", "same/link");
  await mirror.expectSame("mode", "nlink");
});

test("directories where files are meant, and links where directories are", async () => {
  const mirror = new Mirror(cluster, "meant");
  await mirror.run("mkdir", "meant", "meant/behind");
  await mirror.run("ln", "-s", "behind", "meant/ahead");
  await mirror.run("mv", "meant/ahead/", "meant/elsewhere"); // the link was moved
  await mirror.run("truncate", "-s", "9", "meant/full");
  await mirror.run("truncate", "-r", "meant/behind", "meant/full"); // the file was emptied
  await mirror.run("mkdir", "-m", "1777", "meant/everybodys");
  await mirror.run("cp", "-r", "meant/everybodys", "meant/copy"); // it was not sticky any more
  await mirror.expectSame("mode", "nlink", "size");
});

// The second of two files with one name took the place of the first: after mv it was gone, after put and get only one was there.
test("several sources with the same name", async () => {
  const mirror = new Mirror(cluster, "names");
  await mirror.run(
    "mkdir",
    "-p",
    "names/one/d",
    "names/two/d",
    "names/to",
    "names/copies",
    "names/links",
  );
  for (const [path, size] of [
    ["one/f", "1"],
    ["two/f", "2"],
    ["one/d/x", "3"],
    ["two/d/y", "4"],
  ]) {
    await mirror.run("truncate", "-s", size!, `names/${path}`);
  }
  await mirror.run(
    "cp",
    "-r",
    "names/one/f",
    "names/two/f",
    "names/one/d",
    "names/two/d",
    "names/copies",
  );
  await mirror.run("ln", "-f", "names/one/f", "names/two/f", "names/links");
  await mirror.run("mv", "names/one/f", "names/two/f", "names/to");
  await mirror.run("mv", "-f", "names/one/d", "names/two/d", "names/to");
  await mirror.run("mkdir", "-p", "names/one/e", "names/two/e");
  await mirror.run("mv", "names/one/e", "names/two/e", "names/to"); // a directory replaces an empty one
  await mirror.run("mkdir", "names/put");
  const sources = ["one", "two"].map((name) => join(mirror.path("names"), name, "f"));
  await mirror.run("touch", "names/one/f", "names/two/f");
  for (const source of sources) writeFileSync(source, source);
  await mirror.pair(["put", ...sources, "names/put"], ["cp", ...sources, "names/put"]);
  await mirror.expectSame("mode", "nlink");
  const back = cluster.path("names-back");
  mkdirSync(back);
  const got = await dfsIn(cluster, "get", "/names/to/f", "/names/put/f", back);
  expect(got).toMatchObject({ code: 3 });
  expect(got.stderr).toContain("another source of that name has just been put there");
});

// One of several sources took the place of the link that the target was, and the next ones failed or went elsewhere.
test("several things into a directory that is reached over a link in it", async () => {
  const mirror = new Mirror(cluster, "link");
  await mirror.run("mkdir", "-p", "link/mv", "link/cp", "link/ln");
  await mirror.run("touch", "link/y", "link/z");
  for (const command of ["mv", "cp", "ln"]) await mirror.run("ln", "-s", ".", `link/${command}/y`);
  await mirror.run("ln", "-s", "z", "link/sub");
  await mirror.run("mkdir", "link/from");
  await mirror.run("ln", "-s", "nowhere", "link/from/y");
  await mirror.run("cp", "-r", "link/from/y", "link/z", "link/cp/y");
  await mirror.run("ln", "-f", "link/y", "link/z", "link/ln/y");
  await mirror.run("mv", "link/y", "link/z", "link/mv/y");
  await mirror.expectSame("mode", "nlink");
});
