#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# instructions.sh [REQUESTS]    user-space instructions a request on kept connections, counted by callgrind
#
# Two runs with N and 3 N requests; the difference over 2 N has no start, connection or end in it. The figure does not
# depend on how busy the machine is. CONF chooses another configuration than plain.yaml, WEIR another binary.
set -euo pipefail
. "$(dirname "$0")/common.sh"

n=${1:-2000}

# instructions REQUESTS: leaves the instructions of a whole run in $total
instructions() {
    rm -f "$dir"/callgrind.out*
    start_weir valgrind --tool=callgrind --callgrind-out-file="$dir/callgrind.out.%p"
    load "$1"
    kill -TERM "$weir_pid"
    wait "$weir_pid" || true
    total=$(awk '/^(summary|totals):/ { n = $2 } END { print n }' "$dir"/callgrind.out.*)
    if [ -z "$total" ]; then
        cat "$dir/weir.log" >&2
        exit 1
    fi
}

instructions "$n"
first=$total
instructions $((3 * n))
echo "$(((total - first) / (2 * n))) instructions a request"
