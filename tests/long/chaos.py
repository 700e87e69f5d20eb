#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed chaos around one gateway, from a seed, for as long as wanted:

    WEIR=build/san-address/weir tests/long/chaos.py [--seconds 3600] [--seed N] [--keep DIRECTORY]

Clients of all sorts (clients.py) ask for what endpoints (endpoints.py) answer as the question says, while endpoints die and
come back, configurations and certificates are replaced by good and by broken ones (trouble.py), and connections end at any
byte. Every answer to a client that did nothing wrong must be right.

At quiet points, after the first minute, then now and then, and at the end, all clients leave; then no connection, request,
slot, waiter, probe or buffered byte may be left in the gateway's figures, its open files must be those of before they
came, and its memory must not grow from one to the next. In the end it must leave with status 0, and no sanitizer may
have anything to say. Prints a table of each minute and a summary; exit status 1 if anything was wrong.
"""

import argparse
import asyncio
import os
import random
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import clients                                                           # noqa: E402
import quiet                                                             # noqa: E402
import trouble                                                           # noqa: E402
import variants                                                          # noqa: E402
from certs import CA                                                     # noqa: E402
from endpoints import Endpoint, Impostor, Ledger                         # noqa: E402
from wire import Closed, Reader, Wire                                    # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNHEALTHY = re.compile(rb"check failed|[Ss]anitizer|runtime error")
# The caller alone, for each new stack of an allocation is kept for ever: resident memory would grow. What leaks is then found
# again with a longer one.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=16:malloc_context_size=1:abort_on_error=0:"
                    "allocator_release_to_os_interval_ms=1000",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1",
}
TLS_ENDPOINTS = ("calm-b", "wild-c")
MOST_AT_ONCE = 200                      # connections of clients


def ports_below_the_ephemeral(n):
    """Free ports that no outgoing connection can take while nobody listens there."""
    rng, found = random.Random(), []
    while len(found) < n:
        port = rng.randrange(20000, 32000)
        try:
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found


class World:
    """What clients and troublemakers share."""

    def __init__(self, args, directory):
        self.args, self.seed, self.directory = args, args.seed, directory
        self.ledger = Ledger(args.seed)
        self.over = self.resting = False
        self.at_rest, self.go = 0, asyncio.Event()
        self.go.set()
        self.pace = 1.0
        self.room = asyncio.Semaphore(MOST_AT_ONCE)
        self.corpus = clients.corpus_of(os.path.join(TOP, "tests", "corpus", "requests.jsonl"))
        self.weir, self.began = None, time.monotonic()
        self.minutes, self.rows, self.live = 0, [], None

    # --- for everyone

    async def rest(self):
        """Stands still while it is quiet."""
        if self.resting and not self.over:
            self.at_rest += 1
            await self.go.wait()
            self.at_rest -= 1

    async def sleep(self, seconds):
        """Slower when the machine is busy, and cut short when all shall rest."""
        until = time.monotonic() + seconds * self.pace
        while not self.over and not self.resting and time.monotonic() < until:
            await asyncio.sleep(min(0.2, max(0, until - time.monotonic())))
        await asyncio.sleep(0)

    async def admin(self, method, path, body=b"", patience=60):
        """(status, body) of a page of the admin listener."""
        wire = await Wire.dial(self.places.admin)
        try:
            head = "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer %s\r\n" % (
                method, path, variants.TOKEN)
            await wire.send(head.encode() + (b"Content-Length: %d\r\n" % len(body) if method == "POST" else b"") + b"\r\n" + body)
            reader = Reader(wire.recv)
            m = await asyncio.wait_for(reader.response(), patience)
            framing = reader.has_body(m, False)
            parts = [p async for p in reader.pieces(m, "close" if framing is None else framing)]
            return m.status, b"".join(parts)
        finally:
            wire.end()

    async def metrics(self):
        status, text = await self.admin("GET", "/metrics")
        if status != 200:
            raise AssertionError("/metrics: %d" % status)
        return {m.group(1): float(m.group(2)) for m in re.finditer(r"^([^#\s].*) (\S+)$", text.decode(), re.M)}

    def configuration(self, rng=None):
        return variants.configuration(self.places, rng)

    # --- beginning and end

    async def begin(self):
        ports = ports_below_the_ephemeral(12)
        names = ["calm-a", "calm-b", "spare", "wild-a", "wild-b", "wild-c"]
        self.endpoints = {}
        for i, name in enumerate(names):
            rng = random.Random("%d endpoint %d" % (self.seed, i))
            self.endpoints[name] = Endpoint(self.ledger, rng, name, wild=name.startswith("wild"))
            self.endpoints[name].port = ports[i]
            self.endpoints[name].proxied = name == "spare"
        sock = Endpoint(self.ledger, random.Random("%d endpoint" % self.seed), "wild-u", True, self.path("wild.sock"))
        self.endpoints["wild-u"] = sock
        ca = CA(self.directory)
        for name in TLS_ENDPOINTS:
            self.endpoints[name].context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.endpoints[name].context.load_cert_chain(*ca.issue("endpoint-" + name, "DNS:site.example"))
        self.endpoints["impostor"] = Impostor(self.ledger, random.Random("%d impostor" % self.seed), "impostor")
        for e in self.endpoints.values():
            await e.start()
        free = ports_below_the_ephemeral(20)
        self.places = variants.Places(self.directory, [p for p in free if p not in ports][:7], self.endpoints)
        self.certificates = variants.Certificates(self.places, ca)
        variants.write(self.places.path("token"), variants.TOKEN + "\n")
        variants.write(self.places.conf, self.configuration())
        env = {**os.environ, **SANITIZERS, **self.live_bytes_probe()}
        with open(self.path("stderr"), "wb") as err:
            self.weir = subprocess.Popen([self.args.weir, "run", "-c", self.places.conf], stdout=subprocess.DEVNULL, stderr=err,
                                         stdin=subprocess.DEVNULL, env=env)
        for _ in range(300):
            try:
                if (await self.admin("GET", "/readyz"))[0] == 200:
                    return
            except (OSError, Closed):
                pass
            if self.weir.poll() is not None:
                break
            await asyncio.sleep(0.1)
        raise AssertionError("weir is not ready: %s" % self.stderr()[-3000:])

    def live_bytes_probe(self):
        """What makes a gateway with AddressSanitizer tell how much it has allocated (live_bytes.c)."""
        library, source = self.path("live_bytes.so"), os.path.join(os.path.dirname(os.path.abspath(__file__)), "live_bytes.c")
        with open(self.args.weir, "rb") as f:
            if b"__asan_init" not in f.read():
                return {}
        done = subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], capture_output=True)
        if done.returncode != 0:
            print("live bytes are not looked at: %s" % done.stderr.decode()[-500:])
            return {}
        with open(self.path("live_bytes"), "wb") as f:
            f.write(bytes(8))
        self.live = self.path("live_bytes")
        return {"LD_PRELOAD": library, "WEIR_LIVE_BYTES": self.live,
                "ASAN_OPTIONS": SANITIZERS["ASAN_OPTIONS"] + ":verify_asan_link_order=0"}

    def path(self, name):
        return os.path.join(self.directory, name)

    def stderr(self):
        with open(self.path("stderr"), "rb") as f:
            return f.read()

    def cpu(self):
        """Seconds of CPU, of weir and of this program."""
        with open("/proc/%d/stat" % self.weir.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        own = resource.getrusage(resource.RUSAGE_SELF)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), own.ru_utime + own.ru_stime

    async def watch(self):
        """Keeps both to about one CPU, sees the gateway die, and writes a row each minute."""
        last, row = self.cpu(), time.monotonic() + 60
        at = time.monotonic()
        while not self.over:
            await asyncio.sleep(1)
            if self.over or self.ledger.deaf:
                return
            if self.weir.poll() is not None:
                self.ledger.problem("weir ended with %d: %s" % (self.weir.returncode, self.stderr()[-6000:].decode("latin-1")))
                self.over = True
                self.go.set()
                return
            now, t = self.cpu(), time.monotonic()
            used = (sum(now) - sum(last)) / (t - at)
            last, at = now, t
            if not self.resting:
                self.pace = min(8.0, max(0.2, self.pace * (1.1 if used > self.args.cpu else 0.97)))
            if t >= row:
                row += 60
                self.row()

    def row(self):
        self.minutes += 1
        c = self.ledger.counts
        figures = {"min": self.minutes, "requests": c["requests"], "cut": c["cut by clients"] + c["cancelled"],
                   "kills": c["endpoints killed"], "reloads": c["reloads taken"], "refused": c["reloads refused"],
                   "hands cut": c["handshakes to be cut"], "MB": quiet.rss(self.weir.pid) / 1e6,
                   "fds": len(quiet.files(self.weir.pid)), "cpu weir": self.cpu()[0], "cpu own": self.cpu()[1],
                   "pace": self.pace, "wrong": c["problems"]}
        if self.minutes % 20 == 1:
            print("  ".join("%9s" % k for k in figures), flush=True)
        print("  ".join("%9.1f" % v if isinstance(v, float) else "%9d" % v for v in figures.values()), flush=True)

    async def run(self):
        await self.begin()
        print("seed %d, %d seconds, weir %d in %s" % (self.seed, self.args.seconds, self.weir.pid, self.directory), flush=True)
        silence = quiet.Quiet(self)
        await silence.before()
        end = time.monotonic() + self.args.seconds
        watch = asyncio.create_task(self.watch())
        self.crew = [cls(self, i) for cls, n in clients.CREW for i in range(n)
                     if not self.args.only or cls.__name__ in self.args.only.split(",")]
        self.crew += trouble.all_of(self)
        tasks = [asyncio.create_task(c.run()) for c in self.crew]
        first = time.monotonic() + min(60, self.args.seconds / 4)
        while not self.over and time.monotonic() < end:
            await asyncio.sleep(min(0.5, max(0, end - time.monotonic())))
            if time.monotonic() >= first and time.monotonic() < end - 10:
                await silence.point()
                first = time.monotonic() + self.args.quiet
        if self.args.rough and not self.over:
            self.ledger.deaf = True             # they are refused now, and find nobody there
            self.weir.send_signal(signal.SIGTERM)
            await self.ended(40)
        elif not self.over:
            await silence.point()
        self.over = True
        self.go.set()
        done, late = await asyncio.wait(tasks, timeout=60)
        self.ledger.deaf = False
        for t in late:
            t.cancel()
            self.ledger.problem("a task does not end: %r" % t.get_coro())
        for t in done:
            if not t.cancelled() and t.exception():
                self.ledger.problem("a task died of %r" % t.exception())
        await watch
        silence.judge()
        await self.finish()

    async def ended(self, patience):
        until = time.monotonic() + patience
        while self.weir.poll() is None and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def finish(self):
        if self.weir.poll() is None:
            self.weir.send_signal(signal.SIGTERM)
            await self.ended(60)
        if self.weir.poll() is None:
            self.weir.kill()
            self.ledger.problem("it did not end on SIGTERM")
        # 3: requests were cut in the end.
        if self.weir.wait() not in ((0, 3) if self.args.rough else (0,)):
            self.ledger.problem("it ended with status %d" % self.weir.returncode)
        said = self.stderr()
        if UNHEALTHY.search(said):
            self.ledger.problem("stderr:\n" + said[-12000:].decode("latin-1"))
        for e in self.endpoints.values():
            await e.kill("fin")

    def summary(self):
        c = self.ledger.counts
        print("\n--- %s, seed %d, %d s" % (time.strftime("%Y-%m-%d %H:%M"), self.seed, time.monotonic() - self.began))
        for name in sorted(c):
            print("%12d  %s" % (c[name], name))
        for row in self.rows:
            print(row)
        for p in self.ledger.problems:
            print("WRONG: " + p)
        for line in self.ledger.lines:
            print("the log says: " + line)
        print("%d wrong" % c["problems"], flush=True)
        return 1 if c["problems"] else 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=float, default=float(os.environ.get("CHAOS_SECONDS", 60)))
    ap.add_argument("--seed", type=int, default=int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 31))))
    ap.add_argument("--quiet", type=float, default=300, help="seconds between quiet points")
    ap.add_argument("--cpu", type=float, default=0.9, help="CPUs that weir and this program may use together")
    ap.add_argument("--rough", action="store_true", help="SIGTERM comes while all are at it, in place of the last quiet point")
    ap.add_argument("--only", help="classes of clients, with a comma between: no others")
    ap.add_argument("--keep", help="a directory to work in that is not removed")
    ap.add_argument("--weir", default=os.environ.get("WEIR", os.path.join(TOP, "build", "san-address", "weir")))
    args = ap.parse_args()
    directory = args.keep or tempfile.mkdtemp(prefix="weir-chaos-")
    os.makedirs(directory, exist_ok=True)

    async def go():
        # Handshakes that fail are what this is about, and not worth a line each.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        world = World(args, directory)
        try:
            await world.run()
        finally:
            if world.weir and world.weir.poll() is None:
                world.weir.kill()
                world.weir.wait()
        return world.summary()
    try:
        return asyncio.run(go())
    finally:
        if not args.keep:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
