#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes docs/manual.md: its prose (docs/manual-head.md) and each program's settings, as the program itself tells them.
#   tests/tools/manual.sh BUILD_DIR [--check]     --check: fails when the committed manual is not what comes out
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
made=$(mktemp)
trap 'rm -f "$made"' EXIT
cat "$top/docs/manual-head.md" >"$made"
for name in imgo imgo-comet imgo-logic imgo-router imgo-job; do
    printf '### %s\n\n' "$name" >>"$made"
    "$build/daemons/$name" --manual >>"$made"
    printf '\n' >>"$made"
done
if [ "${2:-}" = --check ]; then
    diff -u "$top/docs/manual.md" "$made" || { echo "docs/manual.md is stale: run tests/tools/manual.sh BUILD_DIR" >&2; exit 1; }
else
    cp "$made" "$top/docs/manual.md"
fi
