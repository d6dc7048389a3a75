#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ./dev starts and stops what is its own, and nothing else.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
kafka=/bin/false
# shellcheck source-path=SCRIPTDIR
{
    source "$here/common.sh"
    source "$here/process.sh"
    source "$here/services.sh"
}

fail() {
    echo "FAILED, line ${BASH_LINENO[0]}: $*" >&2
    exit 1
}

launch router sleep 300
pid=$(pid_of router) || fail "it runs, and was not found"
[ "$(verb_ps)" = "router $pid" ] || fail "ps: $(verb_ps)"
[ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$(command -v sleep)")" ] || fail "the pid is that of the program"
end router TERM 5 || fail "SIGTERM did not end it"
pid_of router && fail "it was ended, and was found"
[ -z "$(verb_ps)" ] || fail "ps: $(verb_ps)"

# One that ended by itself, by a crash too, is not running, reaped or not.
launch router sleep 300
kill -KILL "$(pid_of router)"
for _ in $(seq 50); do pid_of router >/dev/null || break; sleep 0.1; done
pid_of router && fail "it was killed, and was found"
launch router true
for _ in $(seq 50); do pid_of router >/dev/null || break; sleep 0.1; done
pid_of router && fail "it ended, and was found"

# A pid that belongs to another program by now is not ours, nor is one of an earlier boot.
sleep 300 &
other=$!
read -r started boot <<<"$(identity $other)"
echo "$other $((started - 1)) $boot" >"$state/run/router.pid"
pid_of router && fail "another start time was taken for ours"
end router KILL 1 || fail "end of one that does not run"
echo "$other $started 00000000-0000-0000-0000-000000000000" >"$state/run/router.pid"
pid_of router && fail "another boot was taken for ours"
stop_one router
kill -0 $other || fail "a foreign process was killed"
echo "$other" >"$state/run/router.pid"
pid_of router && fail "a pid alone was taken for ours"
kill $other

# One that ignores SIGTERM is killed, and that is said.
# shellcheck disable=SC2016 # for the other shell
launch router bash -c 'trap "" TERM; touch "$1"; while :; do sleep 1; done' bash "$root/deaf"
while [ ! -e "$root/deaf" ]; do sleep 0.05; done
stop_one router 1 2>"$root/said"
grep -q 'killing it' "$root/said" || fail "nothing was said: $(cat "$root/said")"
pid_of router && fail "it outlived SIGKILL"

# Who has a port is told. Port 0 asks the kernel for a free one.
python3 -u -m http.server --bind 127.0.0.1 0 >"$root/port" 2>&1 &
other=$!
while ! grep -qs ' port ' "$root/port"; do sleep 0.05; done
taken=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$root/port")
[[ $(listener_of "$taken") == "pid $other "* ]] || fail "port $taken: $(listener_of "$taken")"
ports_free "$taken" 2>/dev/null && fail "port $taken counts as free"
kill $other
wait $other 2>/dev/null || true
ports_free "$taken" || fail "port $taken counts as taken"

# Every part has its own ports (one is the standalone server's), and the shift moves them all.
mapfile -t before < <(for name in "${cluster_names[@]}"; do ports_of "$name"; done)
[ ${#before[@]} -eq $((${#default_port[@]} - 1)) ] || fail "ports of the parts: ${before[*]}"
[ "$(printf '%s\n' "${before[@]}" | sort -u | wc -l)" -eq ${#before[@]} ] || fail "a port is used twice: ${before[*]}"
port_shift=100000
mapfile -t after < <(for name in "${cluster_names[@]}"; do ports_of "$name"; done)
for i in "${!before[@]}"; do
    [ "${after[i]}" -eq $((before[i] + 100000)) ] || fail "${before[i]} became ${after[i]}"
done
[[ $(config_of comet2) == *$'\nid=2\n'* ]] || fail "comet2: $(config_of comet2)"
