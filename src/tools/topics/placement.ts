/** `dfs help placement`. */
export const TEXT = `
A file is cut into blocks. Block i of a file belongs to placement group (base + i) mod 1024, where base is a hash of the path
that the file was created under; it stays with the file when that is renamed. A table names three servers for each group, to
begin with servers g, g+1 and g+2, modulo their number: the rule of the classic course project. dfs explain FILE shows for
each block its group, its servers, and where the copies really are.

  Where copies should be is computed, where they are is recorded. Repair, rebuild and drain only ever drive the second
  towards the first.

  A server that is down or full when a block is written is replaced by a stand-in, so that a new block has three copies
  anyway; the copy moves to its place later.
  Servers that join, drain or leave change the table with as few moves as possible.
  Copies of one block are in different zones, where servers were started with --zone.

Cluster settings, chosen when it is made: --block-size (8 bytes to 16 MiB), --replicas, --write-quorum, --read-quorum.
See the blocks of a course example: dfs up --dir /tmp/course --block-size 8.`;
