# SPDX-License-Identifier: Apache-2.0
"""Quiet points: everybody leaves, and nothing may be left behind."""

import asyncio
import collections
import os
import re
import signal
import statistics
import sys
import time

from wire import Closed, Reader, Wire

# Figures that are 0 when nobody asks for anything; by the beginning of their names.
ZERO = ("weir_client_connections ", "weir_requests_in_flight ", "weir_tunnels ", "weir_buffered_bytes ",
        "weir_upstream_connections ", "weir_upstream_connections_idle ", "weir_concurrency_in_flight{",
        "weir_concurrency_waiting{", "weir_breaker_probes{")
NEVER = ('weir_requests_total{reason="internal"}', 'weir_requests_total{reason="filter_failed"}')
GROWTH, GROWTH_LIVE = 6e6, 1e6   # bytes that memory may swing by, as it is resident and as it is allocated
PATIENCE = 15                   # seconds: longer than anything takes to be noticed, shorter than every timeout


def rss(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024


def files(pid):
    found = []
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            found.append(re.sub(r":?\[\d+\]", "", os.readlink("/proc/%d/fd/%s" % (pid, name))))
        except OSError:
            pass
    return found


class Quiet:
    def __init__(self, world):
        self.world, self.ledger, self.pid = world, world.ledger, world.weir.pid
        self.files, self.sizes, self.lives = None, [], []

    def problem(self, text):
        self.ledger.problem("at quiet point %d: %s" % (len(self.sizes) + 1, text))

    async def point(self):
        w = self.world
        w.resting = True
        w.go.clear()
        began = time.monotonic()
        while w.at_rest < len(w.crew) and not w.over:
            if time.monotonic() > began + 100:
                self.problem("%d of %d rest" % (w.at_rest, len(w.crew)))
                for t in w.crew:
                    print("  %s: %s" % (t.name, t.doing))
                break
            await asyncio.sleep(0.05)
        if not w.over:
            await self.settle()
            await self.look(time.monotonic() - began)
        w.resting = False
        w.go.set()
        while w.at_rest and not w.over:
            await asyncio.sleep(0.01)

    async def settle(self):
        """All as it was in the beginning."""
        w = self.world
        for e in w.endpoints.values():
            e.mood = "well"
            if not e.server:
                await e.start()
        for name in w.certificates.made:
            for at, text in zip(w.certificates.files(name), w.certificates.made[name][0]):
                with open(at, "wb") as f:
                    f.write(text)
        with open(w.places.conf, "w") as f:
            f.write(w.configuration())
        status, body = await w.admin("POST", "/reload")
        if status != 200:
            self.problem("the first configuration is refused: %r" % body[:1000])

    async def before(self):
        """Nobody has come yet: these are the files that it may have open."""
        await self.look_at_files()

    @staticmethod
    def left(figures):
        return {k: v for k, v in figures.items() if v and (k + " ").startswith(ZERO)}

    async def look(self, took):
        w, began, last = self.world, time.monotonic(), "nothing"
        told = False
        while True:
            figures = await w.metrics()
            left = self.left(figures)
            snapshots = figures["weir_config_snapshots"]
            if not left and snapshots == 1:
                break
            last = ", ".join(left) or "configurations"
            if not told and time.monotonic() > began + 6:
                told = True
                print("  after 6 s: %r\n%s" % (left, self.whose()))
            if time.monotonic() > began + PATIENCE:
                self.problem("left behind: %r, %d configurations" % (left, snapshots))
                break
            await asyncio.sleep(0.2)
        for k in NEVER:
            if figures.get(k):
                self.problem("%s %d" % (k, figures[k]))
        zero = time.monotonic() - began
        await self.look_at_files()
        await self.greet()
        size, live = rss(self.pid), await self.live()
        self.sizes.append(size)
        self.lives.append(live)
        row = "quiet at %4d s: all left after %.1f s, figures 0 after %.1f s (last: %s), %d files, %.1f MB resident, %.3f MB allocated" % (
            time.monotonic() - w.began, took, zero, last, len(files(self.pid)), size / 1e6, live / 1e6)
        w.rows.append(row)
        print(row, flush=True)

    def whose(self):
        """The gateway's sockets as the system knows them. One that was reset is known no more."""
        known = {}
        for name in ("tcp", "unix"):
            with open("/proc/%d/net/%s" % (self.pid, name)) as f:
                for line in f:
                    words = line.split()
                    known[words[9] if name == "tcp" else words[6]] = name + " " + line.strip()[:100]
        lines = []
        for fd in sorted(os.listdir("/proc/%d/fd" % self.pid), key=int):
            try:
                m = re.match(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (self.pid, fd)))
            except OSError:
                continue
            if m:
                lines.append("    %s: %s" % (fd, known.get(m.group(1), "nowhere")))
        return "\n".join(lines)

    async def look_at_files(self):
        """Health checks come and go, so the fewest of some looks count."""
        until, fewest = time.monotonic() + PATIENCE / 2, None
        while time.monotonic() < until:
            now = collections.Counter(files(self.pid))
            fewest = now if fewest is None else fewest & now
            if self.files is not None and not fewest - self.files:
                break
            if self.files is None and time.monotonic() > until - PATIENCE / 2 + 3:
                break
            await asyncio.sleep(0.02)
        if self.files is None:
            self.files = fewest
        more = fewest - self.files
        if more:
            self.problem("files that are still open: %r" % dict(more))

    async def greet(self):
        """The doors are open, and an address that was crowded out has its whole number of places again."""
        w = self.world
        await asyncio.sleep(1.2)
        wires = []
        for _ in range(4):
            wires.append(await Wire.dial(w.places.crowd, "127.0.9.1"))
        for wire in wires:
            try:
                await wire.send(b"GET /said HTTP/1.1\r\nHost: site.example\r\n\r\n")
                m = await asyncio.wait_for(Reader(wire.recv).response(), 20)
                if m.status != 200:
                    self.problem("one of four of an address is told %d" % m.status)
            except (Closed, OSError, asyncio.TimeoutError) as e:
                self.problem("one of four of an address: %r" % e)
            finally:
                wire.end()

    async def live(self):
        """Bytes allocated, where the gateway can tell."""
        if not self.world.live:
            return 0
        os.kill(self.pid, signal.SIGRTMAX)
        await asyncio.sleep(0.3)
        with open(self.world.live, "rb") as f:
            return int.from_bytes(f.read(8), sys.byteorder)

    def judge(self):
        """Memory: the later half of the quiet points beside the earlier half, without the first one."""
        for what, sizes, most in (("resident", self.sizes, GROWTH), ("allocated", self.lives, GROWTH_LIVE)):
            if len(sizes) < 5:
                return
            half = len(sizes) // 2
            grown = statistics.median(sizes[half + 1:]) - statistics.median(sizes[1:half + 1])
            if grown > most:
                self.ledger.problem("memory grows, %s: %s MB" % (what, ", ".join("%.2f" % (s / 1e6) for s in sizes)))
