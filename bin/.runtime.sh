# Finds or installs what dfs runs on: Bun of exactly one version, and the packages of bun.lock.
# Sourced by bin/dfs, bin/dfs-bun and bin/test, which set $root (the project's folder, absolute).
#
#   dfs_prepare none   sets $bun
#   dfs_prepare run    sets $bun, and has the packages installed that the commands need
#   dfs_prepare dev    sets $bun, and has the packages for tests and checks installed as well
#
# Invariants
# - POSIX sh, and nothing here reads standard input: it belongs to the command (`dfs put - NAME`).
# - Whatever lies in its final place is whole. Things are built in .runtime/work.PID and renamed, so
#   an install killed at any moment leaves nothing but a work folder, which the next install removes.
# - One install at a time, through an flock that the kernel drops with the last process holding it:
#   there is no stale lock. npm and bun inherit it on purpose, so that what a killed launcher left
#   running ends before the next install begins. Where there is no flock command, two first starts
#   may both do the work; renames keep the result whole all the same.
# - Once all is installed this costs file tests and no process (one `bun --version` if Bun comes
#   from PATH), and nothing is written, so the project's folder may be read-only.

bun_version=1.4.5 # the same as "engines" in package.json; a test compares them

dfs_runtime="$root/.runtime"
dfs_own_bun="$dfs_runtime/bun-$bun_version/bun"

# dfs_prepare none|run|dev: see above. Ends the script with exit code 1 when it cannot.
dfs_prepare() {
  if ! dfs_find_bun || ! dfs_packages_ready "$1"; then
    dfs_install "$1" || exit 1
    dfs_find_bun || dfs_fail "Bun vanished from $dfs_own_bun while dfs was starting; try again"
  fi
  # Bun's thread pool has one thread per core unless told otherwise: two blocked file calls would
  # hold up all others. It must be in the environment before Bun starts.
  export UV_THREADPOOL_SIZE="${UV_THREADPOOL_SIZE:-16}"
  # Bun's allocator gives memory that was freed back to the system at once, and the system hands it out again page by page:
  # with data that comes over sockets that was up to a third of all work. Kept for good, a process stays at the most that it ever
  # had in use, and grows by what falls between; kept for a second (milliseconds here), it is there for what comes next.
  export MIMALLOC_PURGE_DELAY="${MIMALLOC_PURGE_DELAY:-1000}"
  # cbor-x can use a native helper; dfs never does, so that every machine runs the same code.
  export CBOR_NATIVE_ACCELERATION_DISABLED=true
}

dfs_say() {
  printf 'dfs: %s\n' "$1" >&2
}

# dfs_fail MESSAGE [FILE]: says what went wrong, shows the lines of FILE below it, and exits.
dfs_fail() {
  dfs_say "$1"
  if [ $# -gt 1 ]; then
    sed 's/^/  | /' "$2" >&2
  fi
  exit 1
}

dfs_find_bun() {
  if [ -x "$dfs_own_bun" ]; then
    bun=$dfs_own_bun
  elif [ "$(bun --version 2>/dev/null </dev/null)" = "$bun_version" ]; then
    bun=bun
  else
    return 1
  fi
}

# Whether the packages of kind $1 are installed as package.json and bun.lock now say.
dfs_packages_ready() {
  [ "$1" != none ] || return 0
  dfs_stamp="$root/node_modules/.dfs-$1"
  if [ "$dfs_stamp" -nt "$root/package.json" ] && [ "$dfs_stamp" -nt "$root/bun.lock" ]; then
    return 0
  fi
  # Times say little in a tree that was copied or unpacked: what counts is the content.
  [ -f "$dfs_stamp" ] || return 1
  [ "$(cat "$dfs_stamp")" = "$(dfs_fingerprint "$root")" ] || return 1
  touch "$dfs_stamp" 2>/dev/null || : # a read-only project: the next start compares again
}

# One line that changes when package.json or bun.lock in folder $1 does.
dfs_fingerprint() {
  cat "$1/package.json" "$1/bun.lock" | cksum
}

# Installs what is missing for kind $1. A subshell: lock, traps and settings end with it.
dfs_install() (
  kind=$1
  mkdir -p "$dfs_runtime" || dfs_fail "Bun and the packages of dfs must be installed inside $root, \
which cannot be written to. Start dfs once as a user who may write there."
  dfs_lock

  work="$dfs_runtime/work.$$"
  trap 'rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir -p "$work" || dfs_fail "cannot write to $dfs_runtime"
  if [ -z "${HOME:-}" ] || [ ! -d "$HOME" ] || [ ! -w "$HOME" ]; then
    # Nowhere to keep downloads: they go with the work folder.
    export npm_config_cache="${npm_config_cache:-$work/npm-cache}"
    export BUN_INSTALL_CACHE_DIR="${BUN_INSTALL_CACHE_DIR:-$work/bun-cache}"
  fi

  # Looked at again, because another start may have done it while this one waited for the lock.
  dfs_find_bun || dfs_install_bun || exit 1
  # In a checkout that has the packages for tests, keep them.
  if [ "$kind" = run ] && [ -f "$root/node_modules/.dfs-dev" ]; then
    kind=dev
  fi
  dfs_packages_ready "$kind" || dfs_install_packages || exit 1
)

dfs_lock() {
  command -v flock >/dev/null || return 0
  exec 9>>"$dfs_runtime/lock" || dfs_fail "cannot write to $dfs_runtime"
  if ! flock -n 9; then
    dfs_say "another start of dfs is installing; waiting for it"
    flock 9 || dfs_fail "cannot lock $dfs_runtime/lock"
  fi
  # Whoever holds the lock is alone, so every work folder is a leftover.
  rm -rf "$dfs_runtime"/work.*
}

# Installs Bun through npm, which picks the build for this machine. Its install script is not run:
# it would only link the binary into place.
dfs_install_bun() {
  command -v npm >/dev/null || dfs_fail "Bun $bun_version is needed and was not found, nor npm to \
install it with. Install Node.js with npm (for example: apt install npm), or put Bun $bun_version \
on your PATH, then try again."
  dfs_say "first start: installing Bun $bun_version through npm into $dfs_runtime"
  mkdir -p "$work/bun" || dfs_fail "cannot write to $dfs_runtime"
  (
    cd "$work/bun" &&
      npm install --prefix . --no-save --no-package-lock --global=false --include=optional \
        --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error --logs-max=0 \
        --fetch-retries=2 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=3000 \
        "bun@$bun_version"
  ) >"$work/log" 2>&1 </dev/null ||
    dfs_fail "npm could not install Bun $bun_version. It said:" "$work/log"

  # npm versions that know nothing of C libraries install a build for each: take the one that runs.
  for built in "$work"/bun/node_modules/@oven/bun-*/bin/bun; do
    chmod +x "$built" 2>/dev/null || : # already so, or there is none, which the next line notices
    if [ "$("$built" --version 2>/dev/null </dev/null)" = "$bun_version" ]; then
      mkdir -p "${dfs_own_bun%/*}" && mv "$built" "$dfs_own_bun" ||
        dfs_fail "cannot write to $dfs_runtime"
      bun=$dfs_own_bun
      return 0
    fi
  done
  dfs_fail "npm installed Bun $bun_version, but it has no build that runs on this machine \
($(uname -s -m))"
}

dfs_install_packages() {
  dfs_say "installing the packages of bun.lock into $root/node_modules"
  mkdir -p "$work/packages" || dfs_fail "cannot write to $dfs_runtime"
  # The stamp is older than the files it speaks for: an edit made meanwhile is newer than it.
  : >"$work/stamp"
  cp "$root/package.json" "$root/bun.lock" "$root/bunfig.toml" "$work/packages/" ||
    dfs_fail "cannot copy package.json, bun.lock and bunfig.toml from $root"
  (
    cd "$work/packages" || exit 1
    set -- --frozen-lockfile --ignore-scripts --no-progress
    [ "$kind" = dev ] || set -- "$@" --production --omit=optional
    "$bun" install "$@"
  ) >"$work/log" 2>&1 </dev/null ||
    dfs_fail "the packages of bun.lock could not be installed. Bun said:" "$work/log"

  new="$work/packages/node_modules"
  dfs_fingerprint "$work/packages" >"$work/content" &&
    cp "$work/content" "$new/.dfs-run" && touch -r "$work/stamp" "$new/.dfs-run" &&
    { [ "$kind" != dev ] || cp -p "$new/.dfs-run" "$new/.dfs-dev"; } ||
    dfs_fail "cannot write to $new"

  mv "$root/node_modules" "$work/old" 2>/dev/null || : # none yet
  mv "$new" "$root/node_modules" || dfs_fail "cannot write to $root"
  # Without flock, another install may have put its own there in between: this one landed inside.
  rm -rf "$root/node_modules/node_modules"
}
