# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev: test and chaos.

# As in any C program, malloc answers NULL to what it cannot give. The rest is what meson itself would set.
export ASAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_summary=1:allocator_may_return_null=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_summary=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# test_in FOLDER TIMES ARGUMENT…: builds the folder and runs its tests with TIMES the time allowed; what came of it goes
# into $results. Never ends ./dev.
test_in() {
    local dir=$1 times=$2 status=0
    shift 2
    if ! build_all "$dir" -Dtests=enabled; then
        echo "$dir=build-failed" >>"$results"
        return
    fi
    rm -f "$dir/meson-logs/testlog.json"
    say "testing $dir …"
    meson test -C "$dir" --no-rebuild --print-errorlogs -t "$times" "$@" </dev/null || status=$?
    echo "$dir=$status" >>"$results"
}

compiles_in() {
    if build_all "$@"; then
        echo "$1=compiles" >>"$results"
    else
        echo "$1=build-failed" >>"$results"
    fi
}

verb_test() {
    local all=no quick=no arguments=()
    while [ $# -gt 0 ]; do
        case $1 in
        --all) all=yes ;;
        --quick) quick=yes ;;
        *) arguments+=("$1") ;;
        esac
        shift
    done
    [ "$all" = yes ] || arguments=(--no-suite long "${arguments[@]}")
    need_packages "${packages_build[@]}" "${packages_test[@]}"
    say "looking for Kafka …"
    "$kafka" fetch >/dev/null </dev/null || say "The tests that need Kafka will be skipped."

    results=$(mktemp "$state/results.XXXXXX")
    trap 'rm -f "$results"' EXIT
    test_in build 1 "${arguments[@]}"
    if [ "$quick" = no ]; then
        test_in build-asan 3 "${arguments[@]}"
        compiles_in build-clang -Dtests=enabled
        [ "$all" = no ] || test_in build-tsan 5 "${arguments[@]}"
    fi
    /usr/bin/env python3 tests/tools/dev/summary.py "$results"
}

verb_chaos() {
    [ -x tests/chaos/run ] || die "there is no tests/chaos/run in this tree"
    need_packages "${packages_build[@]}" "${packages_test[@]}"
    build_all "$programs" -Dtests=enabled || exit 1
    exec tests/chaos/run "$programs" "$@"
}
