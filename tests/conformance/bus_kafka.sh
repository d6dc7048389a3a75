#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bus_kafka.sh KAFKA.SH TEST_BUS TEST_BUS_HURT [CASE]: the cases of the bus against a real broker of their own, which
# ends with them. Exit status 77, loudly, when there is no Kafka to be had.
set -u
kafka=$1 test_bus=$2 test_bus_hurt=$3
shift 3
dir=$(mktemp -d "${TMPDIR:-/tmp}/imgo-kafka.XXXXXX")
trap '"$kafka" kill "$dir"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
"$kafka" start "$dir" 0 || exit
"$test_bus" kafka "$kafka" "$dir" "$@" || failed=1
"$test_bus_hurt" "$dir" || failed=1
exit "${failed:-0}"
