# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev, in the root of the tree: messages, locks, logged commands.

state=$root/.imgo
logs=$state/log
mkdir -p "$logs" "$state/run"

# Progress goes to stderr, so that what a verb answers can be piped.
say() {
    echo "$*" >&2
}

die() {
    echo "./dev: $*" >&2
    exit 1
}

usage() {
    echo "./dev: $* (./dev help)" >&2
    exit 2
}

# One ./dev at a time does this; the lock is held until the process ends. Whatever is left running must not inherit
# it: start it with 8>&- 9>&-.
lock() {
    local fd=$1 name=$2
    eval "exec $fd>\"\$state/\$name.lock\""
    flock -n "$fd" && return
    say "waiting for another ./dev here ($name) …"
    flock "$fd"
}

unlock() {
    eval "exec $1>&-"
}

# logged LOG WHAT COMMAND…: says WHAT, keeps the output in LOG, shows the end of it when the command fails.
logged() {
    local log=$1 what=$2 status=0
    shift 2
    say "$what …"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    [ "$status" -eq 0 ] && return
    tail -n 40 "$log" >&2
    say "./dev: failed: $what (all of it: $log)"
    return "$status"
}
