# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev: test, fuzz and chaos.

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
    # Most tests of daemons wait more than they compute.
    meson test -C "$dir" --no-rebuild --print-errorlogs -t "$times" --num-processes $(($(nproc) * 2)) "$@" </dev/null ||
        status=$?
    echo "$dir=$status" >>"$results"
}

# The clang build is the fuzzers': what it compiles is fuzzed, beside the tests, with what they leave of the processors.
fuzz_seconds=20

fuzz_start() {
    fuzz_job=
    if ! build_all build-clang -Dtests=enabled; then
        echo "build-clang=build-failed" >>"$results"
        return
    fi
    echo "build-clang=compiles" >>"$results"
    say "fuzzing each target for $fuzz_seconds s meanwhile …"
    setsid nice -n 19 tests/fuzz/run.sh build-clang "$fuzz_seconds" >"$logs/fuzz.log" 2>&1 </dev/null &
    fuzz_job=$!
    trap 'rm -f "$results"; kill -- "-$fuzz_job" 2>/dev/null || true' EXIT
}

fuzz_end() {
    local status=0
    [ -n "$fuzz_job" ] || return 0
    say "waiting for the fuzzers …"
    wait "$fuzz_job" || status=$?
    trap 'rm -f "$results"' EXIT
    cat "$logs/fuzz.log"
    echo "build-clang=fuzz:$status:$(grep -cE ': [0-9]+ runs$' "$logs/fuzz.log"):$(grep -c ': FAILED' "$logs/fuzz.log")" >>"$results"
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
    [ "$quick" = yes ] || fuzz_start
    test_in build 1 "${arguments[@]}"
    if [ "$quick" = no ]; then
        test_in build-asan 3 "${arguments[@]}"
        [ "$all" = no ] || test_in build-tsan 5 "${arguments[@]}"
        fuzz_end
    fi
    /usr/bin/env python3 tests/tools/dev/summary.py "$results"
}

verb_fuzz() {
    local seconds=60
    case ${1:-} in
    [1-9]*) seconds=$1 && shift ;;
    esac
    need_packages "${packages_build[@]}" "${packages_test[@]}"
    build_all build-clang -Dtests=enabled || exit 1
    exec tests/fuzz/run.sh build-clang "$seconds" "$@"
}

verb_chaos() {
    [ -x tests/chaos/run ] || die "there is no tests/chaos/run in this tree"
    need_packages "${packages_build[@]}" "${packages_test[@]}"
    build_all "$programs" -Dtests=enabled || exit 1
    exec tests/chaos/run "$programs" "$@"
}
