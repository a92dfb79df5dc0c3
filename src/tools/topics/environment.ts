/** `dfs help environment`. */
export const TEXT = `
Where the cluster is, in this order
  --meta HOST:PORT     the metadata server
  --dir DIR            the directory of a cluster that dfs up started on this machine
  DFS_META             as --meta
  DFS_DIR              as --dir
  the default          \${XDG_DATA_HOME:-~/.local/share}/dfs, where dfs up puts a cluster

Every option has a variable: --block-size is DFS_BLOCK_SIZE. dfs COMMAND --help names them in brackets. For options without a
value 1, yes, true, on and 0, no, false, off are understood. What is typed counts more than what is in the environment.

Others
  NO_COLOR             no colours
  TMPDIR               where dfs drill makes its cluster

Files
  cluster.json         in the directory of dfs up: address of the metadata server, addresses, processes and directories of the
                       data servers. Scripts may read it.
  logs/                beside it: what the servers wrote to standard error`;
