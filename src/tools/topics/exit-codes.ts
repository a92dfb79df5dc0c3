/** `dfs help exit-codes`. */
export const TEXT = `
  0    done
  1    failed
  2    usage: the command was not understood and nothing was done
  3    partly done: what could not be done is listed on standard error
  4    not found: a file, directory or server
  5    the cluster cannot be reached
  130  Ctrl-C (129 hang-up, 143 SIGTERM)

dfs status
  0    healthy
  6    degraded: all can be read, but copies, servers, backups of the metadata or room for it are missing
  7    at risk: one more failure would lose data, or some of it cannot be read now

dfs fsck, as fsck(8)
  0    no errors
  1    errors were found, and all of them corrected
  4    errors are left (with --dry-run: were found)
  8    it could not run, or not to the end

Warnings go to standard error and change no exit status. Output that nobody reads any more (dfs ls | head) ends a command
quietly with 0.`;
