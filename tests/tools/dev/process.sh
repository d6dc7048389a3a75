# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev: processes that were started here, and only those. A pid file holds the pid, its start time and
# the boot it belongs to, so that a pid that was used again, after a reboot too, is never taken for ours.

# PID -> its start time and this boot; fails for a process that has ended, reaped or not.
identity() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [ "${fields[0]}" != Z ] && [ "${fields[0]}" != X ] || return 1
    echo "${fields[19]} $(cat /proc/sys/kernel/random/boot_id)"
}

# NAME -> its pid; fails when it does not run.
pid_of() {
    local pid rest now
    if [ "$1" = kafka ]; then
        "$kafka" status "$state/kafka" 2>/dev/null | awk '$1 == "running" { print $2; found = 1 } END { exit !found }'
        return
    fi
    read -r pid rest 2>/dev/null <"$state/run/$1.pid" || return 1
    now=$(identity "$pid") && [ "$now" = "$rest" ] && echo "$pid"
}

# launch NAME COMMAND…: in the background, in a session of its own, its output at the end of NAME's log.
launch() {
    local name=$1 log=$logs/$1.log pid
    shift
    if [ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -gt $((16 << 20)) ]; then
        mv "$log" "$log.1"
    fi
    setsid "$@" >>"$log" 2>&1 </dev/null 8>&- 9>&- &
    pid=$!
    disown "$pid"
    echo "$pid $(identity "$pid")" >"$state/run/$name.pid" || true
}

# end NAME SIGNAL SECONDS: sends it, waits so long for the end; fails when NAME outlives that.
end() {
    local pid deadline=$((SECONDS + $3))
    pid=$(pid_of "$1") || return 0
    kill "-$2" "$pid" 2>/dev/null || true
    while pid_of "$1" >/dev/null; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
    rm -f "$state/run/$1.pid"
}

# Who listens on a TCP port: "PID NAME", or "somebody" where that cannot be seen; fails when nobody does.
listener_of() {
    local inode fd pid
    inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port && !seen++ { print $10 }') || true
    [ -n "$inode" ] || return 1
    fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null) || true
    [ -n "$fd" ] || { echo "somebody whom only root can see"; return; }
    pid=${fd#/proc/}
    pid=${pid%%/*}
    echo "pid $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-80))"
}

# Fails, with a message, when one of the ports is taken.
ports_free() {
    local port who status=0
    for port; do
        who=$(listener_of "$port") || continue
        say "./dev: port $port is taken by $who"
        status=1
    done
    [ $status -eq 0 ] || say "(IMGO_PORT_SHIFT=N adds N to every port)"
    return $status
}

answers_tcp() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
