#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bus_kafka.sh TEST_BUS KAFKA.SH [CASE]: the cases of the bus against a real broker of their own, which ends with them.
# Exit status 77, loudly, when there is no Kafka to be had.
set -u
test_bus=$1 kafka=$2
shift 2
dir=$(mktemp -d "${TMPDIR:-/tmp}/imgo-kafka.XXXXXX")
trap '"$kafka" kill "$dir"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
"$kafka" start "$dir" 0 || exit
"$test_bus" kafka "$kafka" "$dir" "$@"
