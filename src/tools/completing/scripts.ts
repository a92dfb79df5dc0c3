/**
 * What a shell runs when the tab key is pressed: small scripts that ask `dfs completion candidates -- WORD...` and hand what
 * it prints to the shell. The words are those behind `dfs`, the last one being completed.
 *
 * Each line that comes back is a candidate, a tab, and what it is; or `:files` or `:directories` for names on this machine.
 * Behind a candidate that ends in `/` or `=` no space is wanted.
 */

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * bash(1) cuts words at `=` and `:` too and hands them on quoted as they were typed; both is undone here. Of a candidate it
 * wants what stands behind the last of these cuts.
 */
const BASH = `# Completion of dfs for bash: eval "$(dfs completion bash)"
_dfs() {
  local IFS=$'\\n' line="\${COMP_LINE:0:COMP_POINT}" name quoted word i current cut="" quote="" kept=$'\\x01'
  local rest="$line"
  local -a words=()
  COMPREPLY=()
  # The words as they were typed, glued together where bash cut them.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [[ $i -gt 0 && "$rest" != [[:space:]]* && ( -n "$rest" || "$line" != *[[:space:]] ) ]]; then
      words[\${#words[@]}-1]+="$word"
    else
      words+=("$word")
    fi
    rest="\${rest#"\${rest%%[![:space:]]*}"}"
    rest="\${rest#"$word"}"
  done
  current="\${words[\${#words[@]}-1]}"
  # Within quotes bash cuts nothing, and a backslash is one.
  [[ "$current" == [\\'\\"]* ]] && quote="\${current:0:1}"
  [[ -z "$quote" && "$current" == *[=:]* ]] && cut="\${current%"\${current##*[=:]}"}"
  for ((i = 0; i < \${#words[@]}; i++)); do
    word="\${words[i]}"
    if [[ "$word" == \\'* ]]; then
      word="\${word:1}"
      words[i]="\${word%\\'}"
      continue
    fi
    [[ "$word" == \\"* ]] && word="\${word:1}"
    word="\${word%\\"}"
    word="\${word//\\\\\\\\/$kept}"
    word="\${word//\\\\/}"
    words[i]="\${word//$kept/\\\\}"
  done
  cut="\${cut//\\\\/}"
  current="\${words[\${#words[@]}-1]#"$cut"}"
  while IFS= read -r line; do
    name="\${line%%$'\\t'*}"
    case "$name" in
      :files) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$current")) ;;
      :directories) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "$current")) ;;
      *)
        [[ "$name" == *[/=] ]] && compopt -o nospace 2>/dev/null
        name="\${name#"$cut"}"
        case "$quote" in
          \\') [[ "$name" == *\\'* ]] && continue; quoted="$name" ;; # within '' nothing stands for a '
          \\")
            quoted="\${name//\\\\/\\\\\\\\}"
            quoted="\${quoted//\\"/\\\\\\"}"
            quoted="\${quoted//\\$/\\\\\\$}"
            quoted="\${quoted//\\\`/\\\\\\\`}"
            ;;
          *) printf -v quoted '%q' "$name" ;;
        esac
        COMPREPLY+=("$quoted")
        ;;
    esac
  done < <("\${words[0]}" completion candidates -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _dfs dfs`;

const ZSH = `#compdef dfs
# Completion of dfs for zsh: eval "$(dfs completion zsh)", behind compinit; or as a file _dfs in $fpath.
_dfs() {
  local line name
  local -a asked plain plainTold open openTold
  asked=("\${(@Q)words[2,CURRENT]}")
  # A quote that is not closed yet is no quote to (Q).
  [[ "$words[CURRENT]" == [\\'\\"]* ]] && asked[-1]="\${\${(Q)words[CURRENT]}#[\\'\\"]}"
  for line in "\${(@f)$("\${words[1]}" completion candidates -- "\${asked[@]}" 2>/dev/null)}"; do
    name="\${line%%$'\\t'*}"
    case "$name" in
      '') ;;
      :files) _files ;;
      :directories) _files -/ ;;
      *[/=]) open+=("$name"); openTold+=("\${name}  \${line#*$'\\t'}") ;;
      *) plain+=("$name"); plainTold+=("\${name}  \${line#*$'\\t'}") ;;
    esac
  done
  (( \${#plain} )) && compadd -l -d plainTold -- "\${plain[@]}"
  (( \${#open} )) && compadd -l -S '' -d openTold -- "\${open[@]}"
}
if [[ "\${funcstack[1]}" == _dfs ]]; then _dfs "$@"; else compdef _dfs dfs; fi`;

const FISH = `# Completion of dfs for fish: dfs completion fish > ~/.config/fish/completions/dfs.fish
function __dfs_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l program $before[1]
    set -e before[1]
    for line in ($program completion candidates -- $before (string unescape -- $current) 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path $current
            case :directories
                __fish_complete_directories $current
            case '*'
                printf '%s\\n' $line
        end
    end
end
complete -c dfs -f -a '(__dfs_complete)'`;

/** The script for a shell. */
export function completionScript(shell: Shell): string {
  return { bash: BASH, zsh: ZSH, fish: FISH }[shell];
}
