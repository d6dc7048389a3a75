#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the fuzzers with clang in build-fuzz/ and runs each for SECONDS, two at a time. New inputs are kept in
# build-fuzz/corpus/<name>, what crashes in build-fuzz/crashes/. Exit status 1: something was found.
#
#	tests/fuzz/run.sh SECONDS [NAME...]
set -eu

[ $# -ge 1 ] || { sed -n '3,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
seconds=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${FUZZ_BUILD:-$root/build-fuzz}

[ -f "$build/build.ninja" ] || CC=clang meson setup "$build" "$root" -Dfuzz=true -Db_lundef=false >/dev/null
ninja -C "$build" fuzzers >/dev/null || ninja -C "$build" fuzzers
[ $# -ge 1 ] || set -- $(cd "$root/tests/fuzz" && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
mkdir -p "$build/crashes"

export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
export seconds root build
printf '%s\n' "$@" | xargs -P 2 -I '{}' sh -c '
	mkdir -p "$build/corpus/{}"
	if "$build/tests/fuzz/fuzz_{}" -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=1024 \
		-artifact_prefix="$build/crashes/{}-" -print_final_stats=1 \
		"$build/corpus/{}" "$root/tests/fuzz/corpus/{}" >"$build/{}.log" 2>&1
	then
		echo "{}: $(sed -n "s/^stat::number_of_executed_units: *//p" "$build/{}.log") runs"
	else
		echo "{}: FAILED"; tail -n 40 "$build/{}.log"; exit 1
	fi'
