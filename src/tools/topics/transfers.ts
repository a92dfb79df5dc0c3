/** `dfs help transfers`. */
export const TEXT = `
dfs put and dfs get copy between this machine and the cluster, by the rules of cp.

Whole or not at all
  A file gets its name when it is complete. Readers, and whoever looks after an interruption, see the old file or the new one.
  kill -9 or a power cut in the moment in which a name is replaced, by a link or special file (with get by a file too), can leave
  a second one beside it, .dfs-put.* in the cluster or .dfs-get.* here: a link, or another name of the file. Nothing needs it.
  While no put, cp or ln runs: dfs find / -name '.dfs-put.*' -delete

Going on
  Give an interrupted -r again: files that are there already, with the same length and the same time of change, are skipped.
  That works because files of a tree keep their time of change (all times, modes and owners with -p). --checksum compares
  contents instead: by checksums, so that hardly anything moves. Without -r a file is always copied.

What is left out
  --exclude PATTERN, several times if need be, has the rules of .gitignore:
    *.o          any file or directory of that name, however deep
    /build       only right below what is copied
    doc/*.pdf    by path; * and ? stop at slashes
    **/cache/    a directory, anywhere
    !keep.o      taken in again; the last pattern that matches decides
  --dry-run tells what would be done.

Speed
  --jobs N files are on their way at a time. Many small files want many: each waits for disks most of the time.`;
