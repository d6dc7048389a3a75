#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the fuzzers of a build with -Dfuzz=true, each for SECONDS, two at a time. New inputs are kept in
# BUILD/corpus/<name>, what crashes in BUILD/crashes/; the logs are BUILD/fuzz_<name>.log. A line "name: N runs" or
# "name: FAILED" each; exit status 1: something was found.
#
#	tests/fuzz/run.sh BUILD SECONDS [NAME...]
set -eu

[ $# -ge 2 ] || { sed -n '3,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
build=$1 seconds=$2
shift 2
corpus=$(cd "$(dirname "$0")" && pwd)/corpus
if [ $# -eq 0 ]; then
	for program in "$build"/tests/fuzz/fuzz_*; do
		[ -f "$program" ] && [ -x "$program" ] && set -- "$@" "${program##*/fuzz_}"
	done
fi
[ $# -ge 1 ] || { echo "no fuzzers in $build: it is set up without -Dfuzz=true" >&2; exit 2; }
mkdir -p "$build/crashes"

export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
export seconds build corpus
printf '%s\n' "$@" | xargs -P 2 -I '{}' sh -c '
	mkdir -p "$build/corpus/{}"
	if "$build/tests/fuzz/fuzz_{}" -max_total_time="$seconds" -max_len=2048 -timeout=25 -rss_limit_mb=1024 \
		-artifact_prefix="$build/crashes/{}-" -print_final_stats=1 \
		"$build/corpus/{}" "$corpus/{}" >"$build/fuzz_{}.log" 2>&1
	then
		echo "{}: $(sed -n "s/^stat::number_of_executed_units: *//p" "$build/fuzz_{}.log") runs"
	else
		echo "{}: FAILED, see $build/fuzz_{}.log"; tail -n 40 "$build/fuzz_{}.log" >&2; exit 1
	fi'
