#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# syscalls.sh [REQUESTS]    system calls a request on kept connections, counted by strace
#
# CONF chooses another configuration than plain.yaml, WEIR another binary.
set -euo pipefail
. "$(dirname "$0")/common.sh"

n=${1:-20000}
start_weir
load 2000
strace -f -c -S calls -o "$dir/counts" -p "$weir_pid" 2>"$dir/strace.log" &
tracer=$!
pids+=($tracer)
for ((i = 0; i < 100; i++)); do
    grep -q attached "$dir/strace.log" && break
    sleep 0.1
done
load "$n"
kill -INT $tracer
wait $tracer || true
awk -v n="$n" '
    $1 ~ /^[0-9.]+$/ && $NF != "total" { printf "%-16s %8.3f a request  (%d)\n", $NF, $4 / n, $4; sum += $4 }
    END { printf "%-16s %8.3f a request\n", "all", sum / n }' "$dir/counts"
