#!/bin/sh
# Installs the embedded ClickHouse engine, libchdb.so, as the lock file in FROM pins it:
#   sh tools/libchdb.sh FROM TO
# TO/done is written when it is there, or when NUDGE_LIBCHDB names one that is.
set -eu
from=$1
to=$2

advice="Set NUDGE_LIBCHDB to the path of a libchdb.so, or do without the embedded engine:
\`make build\`, and in nudge.yaml  store: {dsn: {env: CLICKHOUSE_DSN}}."

mkdir -p "$to"
if [ -n "${NUDGE_LIBCHDB:-}" ]; then
	if [ ! -f "$NUDGE_LIBCHDB" ]; then
		echo "setup: NUDGE_LIBCHDB is $NUDGE_LIBCHDB, and no file is there." >&2
		exit 1
	fi
	echo "setup: using $NUDGE_LIBCHDB" >&2
	exit 0 # without writing TO/done: the next shell may not have the variable
fi
if ! command -v npm >/dev/null 2>&1; then
	echo "setup: npm is missing; the embedded ClickHouse engine comes from its registry." >&2
	echo "Install Node.js with npm. $advice" >&2
	exit 1
fi
cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$to/"
(cd "$to" && npm ci --no-audit --no-fund)
if ! ls "$to"/node_modules/@chdb/*/libchdb.so >/dev/null 2>&1; then
	echo "setup: the lock file has no engine for this machine ($(uname -s) $(uname -m)); it has one for Linux on x86-64 with glibc." >&2
	echo "$advice" >&2
	exit 1
fi
touch "$to/done"
