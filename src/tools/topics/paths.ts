/** `dfs help paths`. */
export const TEXT = `
A path in the cluster begins at its root: /projects/report. Without the first slash it means the same; there is no current
directory. Names are bytes: any but / and the zero byte, up to 255 of them, and 4,096 in a path. They need not be UTF-8.

What is printed
  Names with control characters, or bytes that are no text, are shown with backslashes (a\\nb, \\xff), so that no name can
  drive a terminal. --json gives the text and, where that is not the exact name, its bytes as pathBase64.

Which argument is where
  dfs put     the last argument is in the cluster, all others on this machine; - is standard input
  dfs get     the last argument is on this machine, all others in the cluster; - is standard output
  all others  in the cluster, but for directories of servers (--dir) and mount points

Where things go
  As with cp and mv: when the last argument is a directory, the others go into it under their own names; otherwise it is
  the new name. A slash at the end can only mean a directory. dir/. means what is in it.

Operands that begin with a dash
  -- ends the options: dfs rm -- -odd-name. A lone - is standard input or output.`;
