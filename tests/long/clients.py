# SPDX-License-Identifier: Apache-2.0
"""The clients of a gateway under chaos, each an endless row of connections: well-behaved ones whose answers are checked byte
for byte, and all sorts of others."""

import asyncio
import base64
import json
import random
import socket
import ssl
import struct
import time

from asks import Ask, CALM
from wire import BadMessage, Closed, Cut, CutAt, Reader, Wire

PATIENCE = 45                               # seconds for any answer: only what hangs takes as long
ROUTES = ("calm", "calm", "calm", "limited", "said", "small", "renamed", "wild", "wild", "once", "plainly")


class Client:
    """`life()` is one connection from its beginning to its end."""
    pause = 0.05                            # seconds between two, on average, before the pace is applied
    doors = ("plain", "plain", "tls", "tls", "unix", "proxy")
    lenient = False                         # did something that makes refusals right

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.rng = random.Random("%d %s %d" % (world.seed, type(self).__name__, number))
        self.ledger, self.places = world.ledger, world.places
        self.source = "127.0.%d.%d" % (1 + number % 3, 1 + number)
        self.context = self.session = None
        self.doing = "nothing"

    @property
    def name(self):
        return "%s %d" % (type(self).__name__, self.number)

    async def run(self):
        while not self.world.over:
            await self.world.rest()
            try:
                await self.life()
                self.ledger.counts["lives " + type(self).__name__] += 1
            except Cut:
                self.ledger.counts["cut by clients"] += 1
            except TimeoutError:                # an OSError, too: the one that nothing that was done here makes right
                self.ledger.problem("%s: nothing came while %s" % (self.name, self.doing))
            except (Closed, OSError, ssl.SSLError) as e:
                self.ended(e)
            except (BadMessage, AssertionError) as e:
                self.ledger.problem("%s: %s" % (self.name, e))
            except Exception as e:
                self.ledger.problem("%s: %r while %s" % (self.name, e, self.doing))
            await self.world.sleep(self.rng.expovariate(1 / self.pause))

    def ended(self, e):
        """A connection ended that was not cut here: for the well-behaved, a fault."""
        self.ledger.problem("%s: %r while %s" % (self.name, e, self.doing))

    # --- connections

    def cut(self):
        return None

    def tls_context(self):
        if self.context is None or self.rng.random() < 0.1:
            self.context, self.session = ssl.create_default_context(cafile=self.places.path("ca.pem")), None
            if self.rng.random() < 0.3:
                self.context.maximum_version = ssl.TLSVersion.TLSv1_2
            self.context.set_alpn_protocols(["http/1.1"])
        return self.context

    async def connect(self, door=None, **more):
        """Through a door at random; proves the gateway's certificate where there is one."""
        door = door or self.rng.choice(self.doors)
        address = getattr(self.places, door)
        self.doing = "connecting to %s" % door
        wire = await Wire.dial(address, self.source, self.cut(), **more)
        self.wire = wire
        try:
            if door == "proxy":
                await wire.send(self.proxy_header())
            if door == "tls" or (door == "extra" and self.rng.random() < 0.7):
                await self.handshake(wire)
        except BaseException:
            wire.end()
            raise
        return wire

    async def handshake(self, wire):
        self.doing = "shaking hands"
        await asyncio.wait_for(wire.begin_tls(self.tls_context(), self.rng.choice(["site.example", "other.example"])), PATIENCE)
        self.ledger.counts["handshakes by clients"] += 1

    def proxy_header(self):
        port = self.rng.randrange(1024, 65536)
        if self.rng.random() < 0.5:
            return b"PROXY TCP4 %s 127.0.0.1 %d 80\r\n" % (self.source.encode(), port)
        data = socket.inet_aton(self.source) + socket.inet_aton("127.0.0.1") + struct.pack(">HH", port, 80)
        return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", len(data)) + data

    # --- exchanges

    async def send_ask(self, wire, ask, go):
        self.ledger.counts["requests"] += 1
        await wire.send(ask.head())
        if ask.waits:
            try:
                await asyncio.wait_for(go.wait(), 2)
            except TimeoutError:
                pass
        if ask.up or ask.chunked:
            for part in ask.body():
                await wire.send(part)

    async def send_all(self, wire, asks, go):
        if len(asks) > 1 and not any(a.up for a in asks):
            self.ledger.counts["requests"] += len(asks)
            self.ledger.counts["pipelined"] += len(asks)
            await wire.send(b"".join(a.head() + (b"0\r\n\r\n" if a.chunked else b"") for a in asks))
            return
        for ask in asks:
            go.clear()
            await self.send_ask(wire, ask, go)

    async def exchange(self, wire, reader, asks):
        """True when the connection goes on."""
        go = asyncio.Event()
        for ask in asks:
            ask.unix = wire.unix
        sender = asyncio.create_task(self.send_all(wire, asks, go))
        keeps = True
        try:
            for ask in asks:
                self.doing = "asking %s %s" % (ask.method, ask.target)
                try:
                    keeps = await asyncio.wait_for(ask.receive(reader, self.lenient, lambda m: go.set()), PATIENCE)
                except TimeoutError:
                    raise
                except (Closed, OSError, ssl.SSLError) as e:
                    if wire.was_cut:
                        raise Cut() from None
                    if self.lenient:
                        raise
                    ask.early(e)
                    keeps = False
                go.set()
                if not keeps:
                    break
            if keeps:
                await asyncio.wait_for(sender, PATIENCE)
        except TimeoutError:
            raise
        except (Closed, OSError):
            if wire.was_cut:
                raise Cut() from None
            raise
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if wire.ssl:
                self.session = wire.ssl.session or self.session
        return keeps and not any(a.version == "1.0" for a in asks)

    def asks(self, route=None):
        route = route or self.rng.choice(ROUTES)
        return [Ask(self.ledger, self.rng, route)]

    async def visit(self, wire, most):
        """Some requests in a row, until either side wants no more."""
        reader = Reader(wire.recv)
        for _ in range(most):
            if not await self.exchange(wire, reader, self.asks()):
                return
            if self.world.resting or self.rng.random() < 0.05:
                break
            await self.world.sleep(self.rng.expovariate(1 / self.pause))
        if reader.buf:
            raise BadMessage("bytes that nobody asked for: %r" % bytes(reader.buf[:200]))

    async def life(self):
        wire = await self.connect()
        try:
            await self.visit(wire, self.rng.choice([1, 3, 30]))
        finally:
            wire.end()


class Normal(Client):
    """Well-behaved: whatever happens to it is the gateway's fault."""


class Pipeliner(Client):
    """Sends requests before their forerunners are answered."""
    pause = 0.2

    def asks(self, route=None):
        route = self.rng.choice(sorted(CALM) + ["said"])
        asks = [Ask(self.ledger, self.rng, route) for _ in range(self.rng.randrange(2, 9))]
        for a in asks:
            a.headers = [h for h in a.headers if h[0] != "Expect"]
            a.version = "1.1"
        # What is said behind an answer that closes is lost, as it should be.
        return asks


class SlowReader(Client):
    """Takes what it gets slowly, and all of it."""
    pause = 0.3

    def asks(self, route=None):
        ask = Ask(self.ledger, self.rng, self.rng.choice(sorted(CALM)))
        ask.query.update(n=self.rng.randrange(100000, 1500000))
        ask.query.pop("s", None)
        return [ask]

    async def life(self):
        wire = await self.connect(rcvbuf=32768)
        wire.step = self.rng.choice([4000, 20000])
        quick, until = wire.recv_some, time.monotonic() + 20

        async def slowly(n):
            if self.rng.random() < 0.3 and time.monotonic() < until:
                await asyncio.sleep(self.rng.choice([0.002, 0.02, 0.2]) if not self.world.resting else 0)
            return await quick(n)
        wire.recv_some = slowly
        try:
            await self.visit(wire, 2)
        finally:
            wire.end()


class SlowWriter(Client):
    """Sends its requests in small pieces."""
    pause = 0.3

    async def send_ask(self, wire, ask, go):
        self.ledger.counts["requests"] += 1
        data = ask.head() + b"".join(ask.body())
        each, until = max(1, len(data) // 100), time.monotonic() + 3        # in time, even where this machine is slow
        for at in range(0, len(data), each):
            await wire.send(data[at:at + each])
            if self.rng.random() < 0.5 and not self.world.resting and time.monotonic() < until:
                await asyncio.sleep(self.rng.choice([0, 0.005, 0.05]))

    def asks(self, route=None):
        ask = Ask(self.ledger, self.rng, self.rng.choice(["calm", "renamed", "said"]))
        ask.headers = [h for h in ask.headers if h[0] != "Expect"]
        return [ask]


class Impolite(Client):
    """What ends unexpectedly is its own doing; what it gets is looked at all the same."""
    doors = Client.doors + ("extra",)       # which is not always there
    lenient = True

    def ended(self, e):
        self.ledger.counts["ended on the impolite"] += 1


class Cutter(Impolite):
    """Ends its connections after any number of bytes, in either direction."""
    pause = 0.1

    def cut(self):
        how = self.rng.choice(["rst", "rst", "fin", "half"])
        n = self.rng.choice([self.rng.randrange(1, 200), self.rng.randrange(1, 5000), self.rng.randrange(1, 300000)])
        return CutAt(how, sent=n) if self.rng.random() < 0.5 else CutAt("rst" if how == "half" else how, received=n)

    def asks(self, route=None):
        return [Ask(self.ledger, self.rng, r) for r in [self.rng.choice(ROUTES)] * self.rng.choice([1, 1, 1, 5])]


class HandshakeCutter(Impolite):
    """Leaves in the middle of a TLS handshake."""

    def cut(self):
        how = self.rng.choice(["rst", "fin", "half"])
        if self.rng.random() < 0.5:
            return CutAt(how, sent=self.rng.randrange(1, 800))
        return CutAt("rst" if how == "half" else how, received=self.rng.randrange(1, 3000))

    async def life(self):
        self.ledger.counts["handshakes to be cut"] += 1
        wire = await self.connect("tls")
        try:
            await self.visit(wire, 1)
        finally:
            wire.end()


class Canceller(Impolite):
    """Asks for what takes its time, and does not wait for it."""
    pause = 0.1

    async def life(self):
        wire = await self.connect()
        ask = Ask(self.ledger, self.rng, self.rng.choice(["calm", "calm", "wild", "plainly", "once"]))
        ask.query.update(d=self.rng.choice([50, 500, 3000]))
        try:
            reader = Reader(wire.recv)
            await asyncio.wait_for(self.exchange(wire, reader, [ask]), self.rng.choice([0.01, 0.05, 0.3]))
        except TimeoutError:
            self.ledger.counts["cancelled"] += 1
        finally:
            wire.end(self.rng.choice(["rst", "fin"]))


class Uploader(Client):
    """Asks before it sends a body."""
    pause = 0.2

    def asks(self, route=None):
        ask = Ask(self.ledger, self.rng, self.rng.choice(["calm", "renamed", "wild"]))
        ask.method, ask.up, ask.version = self.rng.choice(["POST", "PUT"]), self.rng.randrange(1, 400000), "1.1"
        ask.query["u"] = ask.up
        ask.headers = [("Expect", "100-continue")]
        self.ledger.counts["uploads that wait for 100"] += 1
        return [ask]


class Tunnel(Client):
    """Upgrades, and sends bytes that must come back."""
    pause = 0.5

    async def life(self):
        rng, route = self.rng, self.rng.choice(["calm", "calm", "plainly"])
        number = self.ledger.number()
        wire = await self.connect()
        reader = Reader(wire.recv)
        try:
            self.doing = "upgrading on %s" % route
            await wire.send(b"GET /%s/ws?i=%d HTTP/1.1\r\nHost: site.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                            % (route.encode(), number))
            m = await asyncio.wait_for(reader.response(), PATIENCE)
            if m.status != 101:
                if route == "calm":
                    raise BadMessage("no tunnel: %r" % m.raw[:300])
                return
            self.ledger.counts["tunnels of clients"] += 1
            for _ in range(rng.randrange(20)):
                data = self.ledger.bytes.of(rng.randrange(1 << 20), rng.choice([1, 100, 5000, 100000]))
                sender = asyncio.create_task(wire.send(data))
                try:
                    got = await asyncio.wait_for(reader.take(len(data)), PATIENCE)
                    await sender
                except TimeoutError:
                    raise
                except (Closed, OSError):
                    if route == "calm":
                        raise
                    return
                finally:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)
                if got != data:
                    raise BadMessage("other bytes came back out of a tunnel")
                await self.world.sleep(0.02)
                if self.world.resting:
                    return
        finally:
            wire.end(rng.choice(["rst", "fin"]))


class Crowd(Impolite):
    """Opens more connections at once than one address may have."""
    pause = 1.0

    def __init__(self, world, number):
        super().__init__(world, number)
        self.source = "127.0.9.%d" % (1 + number)

    async def one(self):
        wire = await Wire.dial(self.places.crowd, self.source)
        try:
            await wire.send(b"GET /said HTTP/1.1\r\nHost: site.example\r\n\r\n")
            m = await asyncio.wait_for(Reader(wire.recv).response(), PATIENCE)
            self.ledger.counts["crowd %d" % m.status] += 1
            if m.status not in (200, 429):
                raise BadMessage("in a crowd: %r" % m.raw[:200])
            await asyncio.sleep(self.rng.uniform(0, 0.1))
        except TimeoutError:
            raise
        except (Closed, OSError):
            self.ledger.counts["crowd closed"] += 1
        finally:
            wire.end(self.rng.choice(["rst", "fin"]))

    async def life(self):
        await asyncio.gather(*[self.one() for _ in range(self.rng.randrange(1, 9))])


class Garbage(Impolite):
    """Anything but HTTP, and what is almost HTTP: the cases of the corpora, whole, mixed and mutated."""
    pause = 0.1

    def bytes(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.2:
            return rng.randbytes(rng.choice([1, 20, 500, 60000]))
        data = bytearray(rng.choice(self.world.corpus))
        if kind > 0.5 and data:
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        if kind > 0.8:
            data = data[:rng.randrange(len(data) + 1)] + rng.choice(self.world.corpus)
        return bytes(data)

    async def life(self):
        door = self.rng.choice(["plain", "plain", "tls", "unix", "proxy", "crowd", "admin"])
        if door == "tls" and self.rng.random() < 0.5:
            wire = await self.connect(door)         # within TLS
        else:
            wire = await Wire.dial(getattr(self.places, door), self.source)
        try:
            data = self.bytes()
            self.ledger.counts["pieces of garbage"] += 1
            at = self.rng.randrange(len(data) + 1)
            await wire.send(data[:at])
            await asyncio.sleep(self.rng.choice([0, 0, 0.02]))
            await wire.send(data[at:])
            try:
                while await asyncio.wait_for(wire.recv(), self.rng.choice([0.02, 0.3])):
                    pass
            except TimeoutError:
                pass
        finally:
            wire.end(self.rng.choice(["rst", "fin"]))


class AdminReader(Client):
    """Reads the pages of the admin listener, and asks what a reload would change."""
    pause = 0.5
    PAGES = ("/metrics", "/limits", "/upstreams", "/config", "/readyz", "/healthz")

    async def life(self):
        page = self.rng.choice(self.PAGES)
        if self.rng.random() < 0.2:
            text = self.world.configuration(self.rng)
            status, body = await self.world.admin("POST", "/plan", text.encode())
            if status != 200 and b'"code":"E07' not in body:     # a certificate may be under way
                raise BadMessage("/plan: %d %r" % (status, body[:500]))
            self.ledger.counts["plans"] += 1
            return
        if self.rng.random() < 0.2:                 # leaves in the middle
            wire = await Wire.dial(self.places.admin,
                                   cut=CutAt(self.rng.choice(["rst", "fin"]), received=self.rng.randrange(1, 3000)))
            try:
                await wire.send(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % page.encode())      # and without the token
                while await wire.recv():
                    pass
            finally:
                wire.end()
            return
        status, body = await self.world.admin("GET", page)
        if status != 200:
            raise BadMessage("%s: %d %r" % (page, status, body[:300]))
        if page in ("/limits", "/upstreams", "/config"):
            json.loads(body)
        self.ledger.counts["pages"] += 1


def corpus_of(path):
    with open(path) as f:
        return [base64.b64decode(json.loads(line)["raw_b64"]) for line in f]


# How many of each there are.
CREW = ((Normal, 16), (Pipeliner, 3), (SlowReader, 4), (SlowWriter, 4), (Cutter, 10), (HandshakeCutter, 3), (Canceller, 6),
        (Uploader, 3), (Tunnel, 3), (Crowd, 2), (Garbage, 4), (AdminReader, 2))
