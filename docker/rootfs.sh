#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# rootfs.sh base DEST               a root without programs: links, /etc, CA certificates
# rootfs.sh add DEST BINARY...      adds binaries, each at the place it has here, with the libraries that ldd names
#
# For a build stage on Debian, as root. For each package that a file was taken from it adds the licence, and the record
# that scanners for vulnerabilities read in images without a package manager (/var/lib/dpkg/status.d).
# glibc answers names of /etc/hosts and of DNS by itself since 2.34: there are no NSS modules to copy.
set -eu

# The path with its directory's links followed: ldd names /lib, which is a link to /usr/lib, and the copy of a tree over
# another must not find a directory where that one has the link.
place() {
    printf '%s/%s\n' "$(realpath "$(dirname "$1")")" "$(basename "$1")"
}

copy() {
    at=$(place "$1")
    [ ! -e "$dest$at" ] || return 0
    mkdir -p "$dest$(dirname "$at")"
    cp -L "$1" "$dest$at"
    record "$at"
}

# dpkg may know the file by the name it had before /lib became a part of /usr/lib. What no package owns has no record.
record() {
    package=$(dpkg-query -S "$1" 2>/dev/null || dpkg-query -S "${1#/usr}" 2>/dev/null) || return 0
    package=${package%%:*}
    mkdir -p "$dest/usr/share/doc/$package" "$dest/var/lib/dpkg/status.d"
    cp -L "/usr/share/doc/$package/copyright" "$dest/usr/share/doc/$package/"
    dpkg-query -s "$package" >"$dest/var/lib/dpkg/status.d/$package"
}

add() {
    for binary in "$@"; do
        copy "$binary"
        # ldd fails on a static binary, which needs none.
        listed=$(ldd "$binary" 2>/dev/null) || listed=
        case $listed in *'not found'*)
            echo "rootfs: $binary lacks a library: $listed" >&2
            exit 1
            ;;
        esac
        for library in $(printf '%s\n' "$listed" | sed -n 's|^[^/]*\(/[^ ]*\) (0x[0-9a-f]*)$|\1|p'); do
            copy "$library"
        done
    done
}

base() {
    mkdir -p "$dest/etc/ssl/certs" "$dest/usr/lib/ssl"
    for name in bin sbin lib lib64; do
        mkdir -p "$dest/usr/$name"
        ln -s usr/$name "$dest/$name"
    done
    cp /etc/ssl/certs/ca-certificates.crt "$dest/etc/ssl/certs/"
    # Where OpenSSL looks when nobody tells it.
    ln -s /etc/ssl/certs/ca-certificates.crt "$dest/usr/lib/ssl/cert.pem"
    record /usr/sbin/update-ca-certificates
    cp -L /etc/os-release "$dest/etc/"
    echo 'hosts: files dns' >"$dest/etc/nsswitch.conf"
    printf '%s\n' root:x:0:0:root:/:/sbin/nologin weir:x:65532:65532:weir:/:/sbin/nologin >"$dest/etc/passwd"
    printf '%s\n' root:x:0: weir:x:65532: >"$dest/etc/group"
}

verb=$1
dest=$2
shift 2
case $verb in
base) base ;;
add) add "$@" ;;
*)
    echo "rootfs: base or add, not $verb" >&2
    exit 2
    ;;
esac
