#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The closing line of ./dev test counts what meson wrote, and nothing that failed goes unseen.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

result() {
    mkdir -p "$1/meson-logs"
    printf '{"name": "imgo:%s / %s", "result": "%s", "duration": 0.5, "stdout": "SKIPPED: no Kafka\\n"}\n' "$2" "$3" "$4" \
        >>"$1/meson-logs/testlog.json"
}

# expect STATUS CLOSING-LINE RUN…
expect() {
    local status=$1 line=$2 got=0
    shift 2
    printf '%s\n' "$@" >runs
    python3 "$here/summary.py" runs >out 2>&1 || got=$?
    [ "$got" -eq "$status" ] && grep -qx "$line" out && return
    echo "FAILED: $*: status $got, not $status, or no line '$line':" >&2
    cat out >&2
    exit 1
}

result good unit one OK
result good unit two EXPECTEDFAIL
result good integration three SKIP
result bad unit one OK
result bad unit two TIMEOUT

expect 0 "2 passed, 0 failed, 1 skipped" good=0
grep -q 'good: three: SKIPPED: no Kafka' out
expect 1 "1 passed, 1 failed, 0 skipped" bad=1
expect 1 "3 passed, 2 failed, 1 skipped" good=0 bad=1 clang=build-failed
expect 0 "3 passed, 0 failed, 1 skipped" good=0 clang=compiles
expect 0 "22 passed, 0 failed, 1 skipped" good=0 clang=fuzz:0:20:0
expect 1 "21 passed, 1 failed, 1 skipped" good=0 clang=fuzz:1:19:1
expect 1 "2 passed, 1 failed, 1 skipped" good=0 clang=fuzz:2:0:0
# meson itself failed, or was stopped before it wrote anything.
expect 1 "2 passed, 1 failed, 1 skipped" good=2
expect 1 "0 passed, 1 failed, 0 skipped" none=1
expect 1 "0 passed, 0 failed, 0 skipped" none=0
