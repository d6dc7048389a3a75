# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Sourced by ./dev: which Debian packages each verb needs, and installing those that are missing.
# COMMAND=PACKAGE is missing when there is no such command, PACKAGE alone when it is not installed.

packages_build=(gcc=gcc meson=meson ninja=ninja-build pkg-config=pkgconf ccache=ccache curl=curl
    libc6-dev libev-dev librdkafka-dev libmemcached-dev libmsgpack-dev libssl-dev liblmdb-dev libjansson-dev libinih-dev)
packages_cluster=(memcached=memcached java=default-jre-headless mvn=maven)
packages_test=("${packages_cluster[@]}" libcmocka-dev clang=clang libclang-rt-14-dev kcat=kcat spin=spin
    valgrind=valgrind python3=python3 openssl=openssl ss=iproute2 chromium=chromium)

missing_packages() {
    local item
    for item; do
        case $item in
        *=*) command -v "${item%%=*}" >/dev/null || echo "${item#*=}" ;;
        *) dpkg-query -W -f='${db:Status-Status}\n' "$item" 2>/dev/null | grep -qx installed || echo "$item" ;;
        esac
    done
}

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

install_packages() {
    # An update that fails in part (one mirror is down) may still be good enough to install from.
    apt update || echo "apt-get update failed; trying to install all the same"
    apt install --no-install-recommends "$@"
}

need_packages() {
    local missing as_root=()
    if ! command -v apt-get >/dev/null; then
        say "This is not Debian: if the build misses something, these are its Debian names: ${*#*=}"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
        # Without a terminal sudo can ask nobody for a password.
        [ -t 0 ] || as_root=(sudo -n)
        "${as_root[@]}" -v 2>/dev/null ||
            die "missing packages; as root: apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    fi
    lock 8 packages
    logged "$logs/apt.log" "installing ${missing[*]}" install_packages "${missing[@]}" || exit 1
    unlock 8
    hash -r
}
