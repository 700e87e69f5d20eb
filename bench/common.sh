# SPDX-License-Identifier: Apache-2.0
# For the shell scripts beside this file: an upstream on $up and, by start_weir, the gateway on $listen, ended on exit.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
weir=${WEIR:-$here/../build/weir}
conf=${CONF:-$here/plain.yaml}
up=9000
listen=9100
dir=$(mktemp -d)
pids=()

cleanup() {
    local p
    for p in "${pids[@]}"; do
        kill "$p" 2>/dev/null || true
        wait "$p" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

await() {
    local i
    for ((i = 0; i < 300; i++)); do
        if answers "$1"; then
            return 0
        fi
        sleep 0.1
    done
    echo "$0: nothing listens on port $1" >&2
    exit 1
}

for port in $up $listen; do
    if answers $port; then
        echo "$0: port $port is taken" >&2
        exit 1
    fi
done

sed -e "s/{up}/$up/; s/{listen}/$listen/" "$conf" > "$dir/weir.yaml"
echo "workers: 1" >> "$dir/weir.yaml"
cc -O2 -o "$dir/upstream" "$here/upstream.c" -lm
"$dir/upstream" $up &
pids+=($!)
await $up

# start_weir [WRAPPER ...]: leaves its process id in $weir_pid
start_weir() {
    "$@" "$weir" run -c "$dir/weir.yaml" 2>"$dir/weir.log" >/dev/null &
    weir_pid=$!
    pids+=($weir_pid)
    await $listen
}

# load N [CONNECTIONS]: exactly N requests over kept connections, all of which must succeed
load() {
    h2load --h1 -t1 -n "$1" -c "${2:-16}" "http://127.0.0.1:$listen/" > "$dir/load.log" 2>&1
    if ! grep -q " $1 succeeded, 0 failed" "$dir/load.log"; then
        cat "$dir/load.log" >&2
        exit 1
    fi
}
