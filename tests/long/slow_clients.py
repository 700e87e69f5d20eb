#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""slowhttptest against weir, with a normal client beside it: what slow clients cost those who are not, and in memory.

    slow_clients.py [--connections 8000] [--seconds 60] [--kinds headers,body,read] [--asks 100]

The slow clients come from 127.0.0.2, again as soon as they were let go; the normal one from 127.0.0.3 asks so often a second.
Prints a line for each kind, and ends with 1 when the normal client's p99 is above 50 ms, one of its requests failed, or a
slow connection cost more than 16 KiB. weir runs with its defaults, but for what `--set` adds to the listener.
"""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
from harness import Closed, Mock, Peer, Weir, raise_files, request_bytes   # noqa: E402

P99_MS, KIB = 50, 16
# slowhttptest sends on all connections in one moment, every -i seconds (its own default is 10).
KINDS = {
    "headers": ["-H", "-i", "10", "-x", "24", "-t", "GET"],
    "body": ["-B", "-i", "10", "-s", "65536", "-x", "10", "-t", "POST"],
    "read": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "1"],
}
# What the slow readers ask for is no more than the kernel has room for, 8,000 times over two connections (tcp_mem).
RATES = {"headers": 2000, "body": 500, "read": 500}      # new ones a second: all are open before the first is let go
PATHS = {"headers": "/bytes/100", "body": "/whole", "read": "/bytes/%d" % (96 << 10)}
CONF = """version: 1
listen: [{at: "127.0.0.1:@PORT@"%s}]
admin: 127.0.0.1:@ADMIN@
workers: %s
log: {to: none}
upstreams:
  api: {endpoints: ["%s"]}
  normal: {endpoints: ["%s"]}
routes:
  - {match: /normal/, upstream: normal, rewrite: {prefix: /}}
  - {match: /, upstream: api}
"""


class Normal(threading.Thread):
    """Asks at fixed times, whatever the last answer took; so an answer that is late makes the next one late."""

    def __init__(self, port, a_second):
        super().__init__()
        self.port, self.every = port, 1 / a_second
        self.times, self.failed, self.over = [], [], threading.Event()

    def dial(self):
        return Peer(socket.create_connection(("127.0.0.1", self.port), timeout=10, source_address=("127.0.0.3", 0)))

    def run(self):
        peer, due = self.dial(), time.monotonic()
        while not self.over.is_set():
            due += self.every
            time.sleep(max(0, due - time.monotonic()))
            try:
                peer.send(request_bytes(path="/normal/bytes/100"))
                if peer.read_response().status != 200:
                    self.failed.append("status")
            except (OSError, Closed, AssertionError) as e:
                self.failed.append(repr(e))
                peer.close()
                peer = self.dial()
            self.times.append(time.monotonic() - due)
        peer.close()

    def ms(self, share):
        times = sorted(self.times)
        return 1000 * times[min(len(times) - 1, int(share * len(times)))]


def attack(kind, args, port, shim, seconds):
    env = dict(os.environ, LD_PRELOAD=shim, BIND_FROM="127.0.0.2")
    return subprocess.Popen(["slowhttptest", *KINDS[kind], "-c", str(args.connections), "-r", str(RATES[kind]),
                             "-l", str(seconds), "-p", "5", "-u", "http://127.0.0.1:%d%s" % (port, PATHS[kind])],
                            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(kind, args, shim, directory):
    mock, other = Mock(directory), Mock(directory)       # what the slow ones do to their upstream is not what is measured
    w = Weir(directory, CONF % (args.set, args.workers, mock.url, other.url))
    tool, normal = None, Normal(w.port, args.asks)
    most = {"open": 0, "rss": 0, "lag": 0}
    rounds = 0
    try:
        alone = Normal(w.port, args.asks)
        alone.start()
        time.sleep(5)
        alone.over.set()
        alone.join()
        rss = w.rss()
        normal.start()
        end = time.monotonic() + args.seconds
        while time.monotonic() < end:
            if tool is None or tool.poll() is not None:
                rounds += 1
                tool = attack(kind, args, w.port, shim, max(5, int(end - time.monotonic())))
            metrics = w.metrics()
            n, now = metrics["weir_client_connections"] - 1, w.rss()
            most["lag"] = max([most["lag"]] + [1000 * v for k, v in metrics.items() if k.startswith("weir_worker_lag_seconds")])
            most["open"], most["rss"] = max(most["open"], n), max(most["rss"], now)
            time.sleep(0.5)
        metrics = w.metrics()
    finally:
        if tool is not None and tool.poll() is None:
            tool.terminate()
            tool.wait()
        normal.over.set()
        if normal.ident:
            normal.join()
        w.stop()
        mock.stop()
        other.stop()
    kib = (most["rss"] - rss) / 1024 / max(1, most["open"])
    good = normal.ms(0.99) <= P99_MS and not normal.failed and kib <= KIB
    print("%-8s %5d connections open at most, %2d rounds | normal client: %d requests, %d failed, p50 %.2f ms, p99 %.2f ms, "
          "max %.0f ms (alone: %.2f, %.2f) | %.1f KiB a connection (RSS %.1f to %.1f MiB) | let go: %d bodies, %d readers | slow turns: %d, longest %.0f ms | %s"
          % (kind, most["open"], rounds, len(normal.times), len(normal.failed), normal.ms(0.5), normal.ms(0.99), normal.ms(1),
             alone.ms(0.5), alone.ms(0.99), kib, rss / 2**20, most["rss"] / 2**20, metrics["weir_slow_bodies_total"],
             metrics["weir_slow_readers_total"], metrics["weir_slow_turns_total"], most["lag"], "good" if good else "NOT GOOD"), flush=True)
    for why in normal.failed[:3]:
        print("         failed: " + why)
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--connections", type=int, default=8000)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--asks", type=int, default=100, help="requests a second of the normal client")
    p.add_argument("--workers", default="auto")
    p.add_argument("--kinds", default="headers,body,read")
    p.add_argument("--set", default="", help='further keys of the listener: ", min_rate: 1kB"')
    args = p.parse_args()
    if shutil.which("slowhttptest") is None:
        sys.exit("slow_clients: slowhttptest is not installed")
    raise_files(2 * args.connections + 1000)
    directory = tempfile.mkdtemp(prefix="weir-slow-")
    try:
        shim = os.path.join(directory, "bind_from.so")
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", shim, os.path.join(HERE, "bind_from.c"), "-ldl"],
                       check=True)
        good = [run(kind, args, shim, directory) for kind in args.kinds.split(",")]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("load average: %s" % re.sub(r"^((\S+ ){3}).*", r"\1", open("/proc/loadavg").read()).strip())
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
