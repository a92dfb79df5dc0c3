#!/bin/sh
# Runs pjdfstest, the public suite of POSIX file systems (github.com/pjd/pjdfstest), on a mount of a cluster of its own. Root only.
#
#   tests/mount/pjdfstest.sh PJDFSTEST                        all of it; more than ten minutes
#   tests/mount/pjdfstest.sh PJDFSTEST chmod rename           these folders of its tests
#   tests/mount/pjdfstest.sh -o cache=none PJDFSTEST chmod    with these options of `dfs mount`
#   tests/mount/pjdfstest.sh -u nobody PJDFSTEST chmod        on the mount of that ordinary user, with allow_other
#   tests/mount/pjdfstest.sh -j 2 PJDFSTEST                   so many of its files at a time
#
# PJDFSTEST is a folder in which `autoreconf -ifs && ./configure && make pjdfstest` have been done; nothing is fetched here. It
# needs prove (perl) and openssl, and for -u fusermount3 and unshare. No failure is expected and none is passed over: the
# exit status is prove's. Cluster, mount and folder are gone in the end; what `prove` printed is kept when -l names a file.
set -u

usage() {
	echo "usage: tests/mount/pjdfstest.sh [-o OPTIONS] [-u USER] [-j N] [-l LOG] PJDFSTEST [FOLDER...]" >&2
	exit 2
}

options= user= jobs=1 log=
while getopts o:u:j:l: letter; do
	case $letter in
	o) options=$OPTARG ;;
	u) user=$OPTARG ;;
	j) jobs=$OPTARG ;;
	l) log=$OPTARG ;;
	*) usage ;;
	esac
done

# fusermount3 reads in /etc/fuse.conf whether a user may let others in: one that says so, in a mount namespace of our own.
if [ -n "$user" ] && [ -z "${DFS_PJDFSTEST_NAMESPACE:-}" ]; then
	DFS_PJDFSTEST_NAMESPACE=1 exec unshare --mount --propagation private -- "$0" "$@"
fi
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
[ "$(id -u)" = 0 ] || { echo "pjdfstest becomes other users: it has to be run by root" >&2; exit 2; }
suite=$(CDPATH='' cd -P -- "$1" && pwd) || exit 2
shift
[ -x "$suite/pjdfstest" ] || { echo "$suite has no program pjdfstest: build it there first" >&2; exit 2; }
dfs=$(CDPATH='' cd -P -- "${0%/*}/../../bin" && pwd)/dfs

root=$(mktemp -d "${TMPDIR:-/tmp}/dfs-pjdfstest-XXXXXX") || exit 1
unset DFS_META
export DFS_DIR="$root/cluster"
# `prove` would be stopped in the middle by the end of the mount, so Ctrl-C ends it first and then comes here.
clean_up() {
	cd /
	"$dfs" umount --force "$root/mnt"
	"$dfs" down
	rm -rf "$root"
}
trap 'clean_up' EXIT
trap 'exit 130' INT TERM

mkdir "$root/mnt"
"$dfs" up --detach >"$root/up.log" 2>&1 || { cat "$root/up.log"; exit 1; }
meta=$(sed -n 's/.*"meta": *"\([^"]*\)".*/\1/p' "$DFS_DIR/cluster.json")
if [ -z "$user" ]; then
	"$dfs" mount "$meta" "$root/mnt" --log "$root/mount.log" ${options:+-o "$options"} || exit 1
else
	chmod 711 "$root" && mkdir "$root/home" && chown "$user" "$root/mnt" "$root/home" || exit 1
	echo user_allow_other >"$root/fuse.conf" && mount --bind "$root/fuse.conf" /etc/fuse.conf || exit 1
	(cd / && HOME=$root/home setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$dfs" \
		mount "$meta" "$root/mnt" --log "$root/home/mount.log" -o "allow_other${options:+,$options}") || exit 1
fi
mkdir "$root/mnt/x" && cd "$root/mnt/x" || exit 1
[ $# -gt 0 ] || set -- .
tests=
for folder; do tests="$tests $suite/tests/$folder"; done
{
	# shellcheck disable=SC2086 # a list of words
	prove -j "$jobs" -r $tests
	echo $? >"$root/status"
} 2>&1 | tee ${log:+"$log"} | if [ -t 1 ]; then cat; else grep -v '\.\. ok$'; fi
exit "$(cat "$root/status")"
