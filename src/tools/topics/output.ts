/** `dfs help output`. */
export const TEXT = `
Results go to standard output, everything else to standard error: errors, warnings, progress.

  --json       JSON Lines: one object a line, with keys that stay; dfs COMMAND --help lists them. 64-bit numbers are text.
  --quiet, -q  no progress and no summary; warnings and errors are told all the same
  --progress   bar, plain (a line every ten seconds) or none. Without it: a bar on a terminal, plain lines elsewhere, and
               nothing at all for short work. Shown are things and bytes done and to do, the rate, the remaining time.
               Commands that print results (find, du, get to -) show no bar by themselves when a pipe reads these.
  --debug      on an error, where in dfs it came from

Tables that are wider than the terminal have a line for each cell.

Colours are used on a terminal alone, and not when NO_COLOR is set or TERM is dumb.

Ctrl-C ends a command in good order: it begins nothing any more, says what was done and how to go on, with exit status 130. A
second Ctrl-C ends it at once; temporary files are removed all the same. What the metadata service does (rebuild, drain,
backup) goes on by itself.

Every error says what could not be done, with which value, and what to do next.`;
