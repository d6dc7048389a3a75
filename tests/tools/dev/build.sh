# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev: the build folders, and bench, fmt and clean, which need nothing else.

export LC_ALL=C.UTF-8

# The options of each build folder, one a word; CC= is its compiler.
options_of() {
    case $1 in
    build) echo "CC=gcc" ;;
    build-asan) echo "CC=gcc -Db_sanitize=address,undefined -Dfailpoints=true" ;;
    build-tsan) echo "CC=gcc -Db_sanitize=thread -Dfailpoints=true" ;;
    build-clang) echo "CC=clang -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false" ;;
    build-release) echo "CC=gcc --buildtype=release" ;;
    *) return 1 ;;
    esac
}

# configure FOLDER OPTION…: meson setup, or again with other options than last time. Without an OPTION a folder that
# was set up with some is left as it is: one made for the tests is good enough to run from.
configure() {
    local dir=$1 options words
    shift
    options=$(options_of "$dir") || die "no such build folder: $dir"
    options="$options${*:+ $*}"
    if [ ! -f "$dir/build.ninja" ]; then
        read -ra words <<<"$options"
        logged "$logs/$dir.log" "configuring $dir" env "${words[0]}" meson setup "${words[@]:1}" "$dir" || return
    elif [ $# -gt 0 ] && [ "$(cat "$dir/.dev-options" 2>/dev/null)" != "$options" ]; then
        logged "$logs/$dir.log" "configuring $dir" meson configure "$@" "$dir" || return
    else
        return 0
    fi
    echo "$options" >"$dir/.dev-options"
}

# The path in FOLDER of a program that meson.build defines; fails when it defines none of that name.
target_of() {
    local found
    found=$(ninja -C "$1" -t targets all 2>/dev/null | sed -nE "s#^((.*/)?$2): c_LINKER(_RSP)?\$#\\1#p") || true
    [ -n "$found" ] && echo "${found%%$'\n'*}"
}

# build_programs FOLDER PROGRAM…: only these and what they need.
build_programs() {
    local dir=$1 name target targets=()
    shift
    lock 8 "$dir"
    configure "$dir" || die "the configuration failed; ./dev clean may help"
    for name; do
        target=$(target_of "$dir" "$name") || die "this tree has no program called $name"
        targets+=("$target")
    done
    logged "$logs/$dir.log" "building $dir" ninja -C "$dir" "${targets[@]}" || exit 1
    unlock 8
}

# build_all FOLDER OPTION…: everything; fails, and does not end ./dev.
build_all() {
    local status=0
    lock 8 "$1"
    configure "$@" && logged "$logs/$1.log" "building $1" ninja -C "$1" || status=$?
    unlock 8
    return "$status"
}

verb_bench() {
    [ -x bench/run ] || die "there is no bench/run in this tree"
    need_packages "${packages_build[@]}"
    build_all build-release || exit 1
    exec bench/run build-release "$@"
}

changed_files() {
    local base
    if [ "$1" = yes ]; then
        git ls-files -- '*.c' '*.h'
        return
    fi
    base=$(git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
    git diff --name-only --diff-filter=d "$base" -- '*.c' '*.h'
    git ls-files --others --exclude-standard -- '*.c' '*.h'
}

verb_fmt() {
    local all=no how=(-i) files
    while [ $# -gt 0 ]; do
        case $1 in
        --all) all=yes ;;
        --check) how=(--dry-run -Werror) ;;
        *) usage "fmt: unknown argument $1" ;;
        esac
        shift
    done
    need_packages clang-format=clang-format git=git
    mapfile -t files < <(changed_files "$all" | sort -u)
    [ ${#files[@]} -gt 0 ] || { say "no .c or .h file differs from main (--all: look at all)"; return; }
    clang-format "${how[@]}" "${files[@]}"
}

verb_clean() {
    case $# in
    0) rm -rf build build-* ;;
    *)
        [ "$*" = --all ] || usage "clean: unknown argument $*"
        [ -z "$(verb_ps)" ] || die "something still runs: ./dev down first"
        rm -rf build build-* .imgo
        ;;
    esac
}
