/** `dfs help completion`. */
export const TEXT = `
dfs completion SHELL prints a script that completes commands, options, their values, paths of the cluster, servers, and files
of this machine.

  bash   eval "$(dfs completion bash)"                                  in ~/.bashrc
  zsh    eval "$(dfs completion zsh)"                                   in ~/.zshrc, behind compinit
  fish   dfs completion fish > ~/.config/fish/completions/dfs.fish

The cluster is the one that the command itself would use (dfs help environment). When it cannot be reached, its paths are not
completed, after a second at most.

The manual page: dfs help --man > ~/.local/share/man/man1/dfs.1, then man dfs.`;
