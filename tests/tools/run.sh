#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh WEIR CONFIG    starts a mock upstream on 127.0.0.1:9000 and the gateway in front of it; Ctrl-C ends both
set -uo pipefail

weir=$1
conf=$2
mock=127.0.0.1:9000
port=$(sed -n 's/^listen:[^#]*:\([0-9]\{1,5\}\).*/\1/p' "$conf" | head -n 1)
port=${port:-8080}

answers() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

for at in "127.0.0.1:$port" "$mock"; do
    if answers "$at"; then
        echo "run: port ${at##*:} is taken: something else already listens on $at; end it and try again" >&2
        exit 1
    fi
done

pids=()
cleanup() {
    local p
    trap - EXIT INT TERM HUP
    for p in "${pids[@]}"; do
        kill -TERM "$p" 2>/dev/null
    done
    for p in "${pids[@]}"; do
        wait "$p" 2>/dev/null
    done
}
trap cleanup EXIT
trap 'exit 0' INT TERM HUP

# Waits until $2 listens on $1; fails when it ends before, or after 10 s.
await() {
    local i
    for ((i = 0; i < 100; i++)); do
        kill -0 "$2" 2>/dev/null || return 1
        answers "$1" && return 0
        sleep 0.1
    done
    return 1
}

"$weir" mock --listen "$mock" &
pids+=($!)
if ! await "$mock" "${pids[0]}"; then
    echo "run: the mock upstream did not start on $mock" >&2
    exit 1
fi
"$weir" run -c "$conf" &
pids+=($!)
if ! await "127.0.0.1:$port" "${pids[1]}"; then
    echo "run: the gateway did not start on port $port with $conf" >&2
    exit 1
fi

cat <<EOT

weir listens on http://127.0.0.1:$port, with a mock upstream on $mock behind it. Configuration: $conf. Try:

    curl -i http://127.0.0.1:$port/

Ctrl-C ends it.

EOT
wait -n "${pids[@]}"
status=$?
echo "run: a server ended by itself with status $status" >&2
[ $status -ne 0 ] || status=1
exit $status
