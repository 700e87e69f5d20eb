#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh build|test|clang|fuzz|analyze|valgrind|bench|scan|slow|image ...    installs what a purpose needs and is missing, on Debian and its
# kin
#
# Silent when nothing is missing. Uses apt-get, through sudo when not root. DEPS=skip: does nothing.
set -euo pipefail

if [ "${DEPS:-}" = skip ]; then
    exit 0
fi

packages=()
for purpose in "$@"; do
    case $purpose in
    build) packages+=(gcc libc6-dev make libevent-dev libyaml-dev libc-ares-dev libseccomp-dev libssl-dev) ;;
    test) packages+=(openssl python3 python3-yaml python3-jsonschema groff-base) ;;
    clang) packages+=(clang) ;;
    fuzz) packages+=(clang libclang-rt-dev python3 python3-h11 node-llhttp) ;;
    analyze) packages+=(gcc clang-tidy cppcheck python3) ;;
    valgrind) packages+=(python3 valgrind libc6-dbg) ;;
    bench) packages+=(python3 wrk nghttp2-client nginx haproxy openssl util-linux strace valgrind) ;;
    scan) packages+=(python3 openssl testssl.sh sslscan) ;;
    slow) packages+=(gcc libc6-dev python3 slowhttptest) ;;
    image)
        packages+=(python3 python3-yaml buildah podman podman-compose runc netavark aardvark-dns iptables iproute2 skopeo
                   mmdebstrap uidmap debian-archive-keyring util-linux)
        ;;
    *)
        echo "deps: no such purpose: $purpose (build, test, clang, fuzz, analyze, valgrind, bench, scan, slow or image)" >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps: this is not Debian; install the likes of: ${packages[*]}" >&2
    echo "deps: then go on with DEPS=skip in the environment" >&2
    exit 1
fi

missing=()
for p in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing: ${missing[*]}" >&2
        echo "deps: neither root nor sudo is at hand; as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# Packages of servers must not start them: Debian asks policy-rc.d.
policy=/usr/sbin/policy-rc.d
if [[ " $* " == *" bench "* ]] && [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    "${as_root[@]}" chmod 755 $policy
fi

log=$(mktemp)
install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" \
        >"$log" 2>&1 </dev/null
}

echo "deps: installing ${missing[*]}"
if ! install; then
    # The package lists are absent or old.
    if ! "${as_root[@]}" apt-get update -q >"$log" 2>&1 </dev/null || ! install; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        echo "deps: apt-get could not install: ${missing[*]}" >&2
        exit 1
    fi
fi
rm -f "$log"
