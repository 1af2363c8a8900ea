#!/bin/sh
# inmemory.sh COMMAND…: runs it with temporary files in memory, where there is room and programs may run.
# What tests store is thrown away: in memory syncing it costs nothing. What Go compiles stays on disk.
set -eu

room=4194304 # KiB; the tests of two packages at once take some hundreds of MB
free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') || free=0
if [ "${free:-0}" -lt $room ] || ! dir=$(mktemp -d /dev/shm/tests.XXXXXX 2>/dev/null); then
	exec "$@"
fi
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

# Containers often forbid it, and some tests start what they have built.
printf '#!/bin/sh\n' >"$dir/runs"
chmod +x "$dir/runs"
if "$dir/runs" 2>/dev/null; then
	export GOTMPDIR="${GOTMPDIR:-${TMPDIR:-/tmp}}" TMPDIR="$dir"
fi
"$@"
