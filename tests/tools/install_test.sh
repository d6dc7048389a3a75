#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Proves the install: installs the build into a temporary folder, compiles the examples outside of the tree through
# pkg-config alone, and runs one until it listens.
#   tests/tools/install_test.sh BUILD_DIR
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
meson install -C "$build" --no-rebuild --quiet --destdir "$work/root" >/dev/null
pc=$(dirname "$(find "$work/root" -name libimgo.pc)")
lib=$(dirname "$(find "$work/root" -name libimgo.so)")
if nm -D "$lib/libimgo.so" | grep -qE " U __(asan|tsan)_"; then
    echo "SKIPPED: a library with a sanitizer needs programs with it" >&2
    exit 77
fi
export PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$work/root
for name in standalone embed; do
    extra=
    [ "$name" = embed ] && extra=-lev
    # shellcheck disable=SC2046,SC2086 # words
    cc "$top/examples/$name.c" $(pkg-config --cflags --libs libimgo) $extra -o "$work/$name"
    echo "ok   $name compiles through pkg-config"
done
[ -e "$lib/libimgo.a" ] && echo "ok   the static library is installed"
# What is exported is the public API and nothing else.
bad=$(nm -D --defined-only "$lib/libimgo.so" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | grep -vE '^imgo_[a-z0-9]' || true)
[ -z "$bad" ] || { echo "exported, and not ours: $bad" >&2; exit 1; }
internal=$(nm -D --defined-only "$lib/libimgo.so" | awk '{print $3}' | grep '^imgo__' || true)
[ -z "$internal" ] || { echo "internal, and exported: $internal" >&2; exit 1; }
echo "ok   only the public API is exported"
