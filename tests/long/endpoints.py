# SPDX-License-Identifier: Apache-2.0
"""The endpoints behind a gateway under chaos. What one does with a request stands in the request's own query, so that the
client knows what must come back; what it does besides (it is slow, resets, says 503, is gone) is its mood of the hour.

    i  the request's number: names the bytes of both bodies      u  bytes of its body
    n  bytes of the answer's body                                f  their framing: length, chunked or close
    s  status        a  Retry-After in seconds                   d  milliseconds before the answer
    p  pieces of the body, and g  milliseconds between them      b  says Connection: close
    x  the answer ends after so many bytes, and h  how: fin, rst r  resets after so many bytes of the request's body
    e  answers before it reads the body                          j  so many 103 before the answer
    t  trailers behind chunks                                    o  bytes that are no HTTP
"""

import asyncio
import collections
import os
import random
import re
import socket
import sys
import urllib.parse

from wire import BadMessage, Closed, LINGER_NONE, Reader

BLOCK = 1 << 20


class Bytes:
    """The bodies: each number names a place in one block of random bytes, so that nobody's can be taken for another's."""

    def __init__(self, seed):
        block = random.Random(seed).randbytes(BLOCK)
        self.text = block * 5

    def of(self, number, n):
        at = number * 7919 % BLOCK
        return self.text[at:at + n]

    def up(self, number, n):
        return self.of(number + 500009, n)


class Ledger:
    """What both sides know of each other: figures, what was worked on, and whatever must not be."""

    def __init__(self, seed):
        self.bytes = Bytes(seed)
        self.counts = collections.Counter()
        self.problems = []
        self.wanted, self.lines = set(), []     # numbers in problems, and what the access log says of them
        self.worked = {}                # unsafe requests by number: how often they were worked on
        self.last, self.deaf = 0, False

    def number(self):
        self.last += 1
        return self.last

    def problem(self, text):
        if self.deaf:
            return
        self.counts["problems"] += 1
        self.wanted.update(re.findall(r"\bi=(\d+)&", text)[:1])
        if len(self.problems) < 50:
            self.problems.append(text)
            print("PROBLEM: " + text, file=sys.stderr, flush=True)


class Done(Exception):
    """The connection was ended as the query said."""


class Sender:
    """Writes an answer, and ends the connection after so many bytes of it."""

    def __init__(self, conn, query):
        self.conn = conn
        self.left = int(query["x"]) if "x" in query else None
        self.how = query.get("h", "rst")

    async def write(self, data):
        writer = self.conn.writer
        if writer.transport.is_closing():
            raise Closed("it has gone")
        if self.left is not None:
            data = data[:self.left]
            self.left -= len(data)
        writer.write(data)
        if writer.transport.get_write_buffer_size() > 65536 or self.left == 0:
            await writer.drain()
        if self.left == 0:
            self.conn.endpoint.ledger.counts["answers cut by an endpoint"] += 1
            self.conn.end(self.how)
            raise Done()


class Conn:
    def __init__(self, endpoint, reader, writer):
        self.endpoint, self.writer = endpoint, writer
        self.reader = Reader(lambda: reader.read(65536))
        self.rng = endpoint.rng

    def end(self, how):
        if how == "rst":
            sock = self.writer.get_extra_info("socket")
            try:
                if sock:                # of TLS, not while it is closing
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            except OSError:
                pass
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def serve(self):
        if self.endpoint.mood == "resets" and self.rng.random() < 0.3:
            self.end("rst")
            return
        if self.endpoint.proxied:
            await self.proxy_header()
        while await self.exchange():
            pass

    async def proxy_header(self):
        """Who it is for: a client of ours, by a header of either version."""
        first = await self.reader.take(6, inside=False)
        if first == b"PROXY ":
            words = (await self.reader.until(b"\r\n")).decode("latin-1").split()
            source = words[1] if words[0] == "TCP4" else None
        else:
            first += await self.reader.take(10)
            rest = await self.reader.take(int.from_bytes(first[14:], "big"))
            source = socket.inet_ntoa(rest[:4]) if first[12:14] == b"\x21\x11" else None
            if not first.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
                source = repr(first)
        self.endpoint.ledger.counts["PROXY headers at endpoints"] += 1
        # Without one: who came by the unix socket. 9.9.9.9 is what a case of the corpus says at the door for proxies.
        if source and source != "9.9.9.9" and not source.startswith("127.0."):
            self.endpoint.ledger.problem("a PROXY header says %r" % source)

    async def exchange(self):
        ledger, mood = self.endpoint.ledger, self.endpoint.mood
        if self.endpoint.wild and self.rng.random() < 0.05:
            idle = self.rng.uniform(0.01, 1.5)      # it does not keep its connections for long
            try:
                m = await asyncio.wait_for(self.reader.request(), idle)
            except (asyncio.TimeoutError, TimeoutError):
                return False
        else:
            m = await self.reader.request()
        ledger.counts["requests at endpoints"] += 1
        path, _, query = m.target.partition("?")
        query = dict(urllib.parse.parse_qsl(query)) if "i=" in query else {}
        if path == "/health":
            return await self.health(m)
        if self.endpoint.wild and await self.moody(mood):
            return False
        if (m.get("upgrade") or "").lower() == "websocket" and "i" in query:
            await self.echo()
            return False
        sender = Sender(self, query)
        framing = self.reader.has_body(m, False)
        if query.get("e"):
            await self.answer(m, query, sender, "close")
            return False
        if framing == "chunked" or framing:
            if any("100-continue" in v.lower() for v in m.all("expect")):
                self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self.body(m, query, framing)
        if self.endpoint.wild and mood == "errors" and self.rng.random() < 0.7 or "a" in query:
            query = {**query, "s": query.get("s", self.rng.choice(["503", "502", "500"]))}
            if "a" not in query and query["s"] == "503" and self.rng.random() < 0.5:
                query["a"] = "0"
        if "i" in query and m.method == "POST" and not m.all("idempotency-key") and "a" not in query:
            self.worked_on(int(query["i"]))
        return await self.answer(m, query, sender)

    def worked_on(self, number):
        worked = self.endpoint.ledger.worked
        worked[number] = worked.get(number, 0) + 1
        if worked[number] > 1:
            self.endpoint.ledger.problem("request %d is a POST and was sent %d times" % (number, worked[number]))

    async def health(self, m):
        ok = self.endpoint.mood not in ("errors", "mute")
        if not ok and self.endpoint.mood == "mute":
            await asyncio.sleep(0.5)
        self.writer.write(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok" % (b"200 OK" if ok else b"503 Bad Mood"))
        return (m.get("connection") or "").lower() != "close"

    async def moody(self, mood):
        """True when the connection was ended."""
        if mood == "slow":
            await asyncio.sleep(self.rng.uniform(0, 0.4))
        elif mood == "mute":
            self.endpoint.ledger.counts["endpoint was mute"] += 1
            await asyncio.sleep(self.rng.uniform(0.2, 4))
        elif mood == "resets" and self.rng.random() < 0.5:
            self.endpoint.ledger.counts["endpoint reset"] += 1
            self.end("rst")
            return True
        return False

    async def body(self, m, query, framing):
        ledger, got, most = self.endpoint.ledger, 0, int(query.get("r", -1))
        known = "i" in query
        want = ledger.bytes.up(int(query["i"]), int(query.get("u", 0))) if known else b""
        async for part in self.reader.pieces(m, framing):
            if known and part != want[got:got + len(part)]:
                ledger.problem("request %s: its body is not its own at %d: %r" % (m.first[:200], got, part[:60]))
                known = False
            got += len(part)
            if 0 <= most <= got:
                ledger.counts["requests reset by an endpoint"] += 1
                self.end("rst")
                raise Done()
        if known and got != len(want):
            ledger.problem("request %s: whole with %d bytes of %d" % (m.first[:200], got, len(want)))

    async def echo(self):
        self.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        self.endpoint.ledger.counts["tunnels"] += 1
        if self.reader.buf:
            self.writer.write(bytes(self.reader.buf))
            self.reader.buf.clear()
        while True:
            data = await self.reader.recv()
            if not data:
                return
            if self.endpoint.wild and self.rng.random() < 0.02:
                self.end(self.rng.choice(["rst", "fin"]))
                return
            if self.writer.transport.is_closing():
                return
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self, m, query, sender, connection=None):
        """False when the connection ends with it."""
        number, n = int(query.get("i", 0)), int(query.get("n", 2))
        if "d" in query:
            await asyncio.sleep(int(query["d"]) / 1000)
        for k in range(int(query.get("j", 0))):
            await sender.write(b"HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\n\r\n" % k)
        if "o" in query:
            await sender.write(self.endpoint.ledger.bytes.of(number, int(query["o"])))
            self.end("fin")
            return False
        status, framing = int(query.get("s", 200)), query.get("f", "length")
        bodyless = status in (204, 304) or m.method == "HEAD"
        if m.version == "1.0" and framing == "chunked":
            framing = "close"
        closes = connection == "close" or framing == "close" or "b" in query or m.version == "1.0" \
            or (m.get("connection") or "").lower() == "close"
        head = "HTTP/1.1 %d Said\r\nX-Number: %d\r\nX-At: %s\r\n" % (status, number, self.endpoint.name)
        if "a" in query:
            head += "Retry-After: %s\r\n" % query["a"]
        if status != 204:
            head += {"length": "Content-Length: %d\r\n" % n, "chunked": "Transfer-Encoding: chunked\r\n", "close": ""}[framing]
        head += "Connection: close\r\n\r\n" if closes else "\r\n"
        await sender.write(head.encode())
        if not bodyless:
            await self.send_body(query, sender, self.endpoint.ledger.bytes.of(number, n), framing)
        await self.writer.drain()
        return not closes

    async def send_body(self, query, sender, body, framing):
        pieces = max(1, int(query.get("p", 1)))
        each = max(1, -(-len(body) // pieces))
        for at in range(0, len(body), each):
            part = body[at:at + each]
            await sender.write(b"%x\r\n%s\r\n" % (len(part), part) if framing == "chunked" else part)
            if "g" in query:
                await asyncio.sleep(int(query["g"]) / 1000)
        if framing == "chunked":
            await sender.write(b"0\r\n%s\r\n" % (b"X-End: yes\r\n" if "t" in query else b""))


class Endpoint:
    MOODS = ("slow", "resets", "errors", "mute")

    def __init__(self, ledger, rng, name, wild=False, path=None):
        self.ledger, self.rng, self.name, self.wild, self.path = ledger, rng, name, wild, path
        self.mood, self.port, self.server, self.conns, self.proxied = "well", 0, None, {}, False
        self.context = None             # of one that speaks TLS

    @property
    def url(self):
        return "unix:" + self.path if self.path else "http%s://127.0.0.1:%d" % ("s" if self.context else "", self.port)

    async def start(self):
        if self.path:
            if os.path.exists(self.path):
                os.unlink(self.path)
            self.server = await asyncio.start_unix_server(self.connected, self.path)
        else:
            self.server = await asyncio.start_server(self.connected, "127.0.0.1", self.port, backlog=512, ssl=self.context)
            self.port = self.server.sockets[0].getsockname()[1]

    async def connected(self, reader, writer):
        conn = Conn(self, reader, writer)
        self.conns[conn] = asyncio.current_task()
        self.ledger.counts["connections at endpoints"] += 1
        try:
            await conn.serve()
        except BadMessage as e:
            self.ledger.problem("an endpoint was sent what is no HTTP: %s" % e)
        except (Closed, Done, OSError):
            pass
        except asyncio.CancelledError:
            return
        except Exception as e:
            # To write behind the end is an AttributeError of asyncio's TLS transport, and OSError of all others.
            if not (isinstance(e, AttributeError) and writer.is_closing()):
                self.ledger.problem("endpoint: %r" % e)
        finally:
            del self.conns[conn]
            writer.close()

    async def kill(self, how):
        """As when its process dies: nothing listens, and all its connections are gone."""
        if not self.server:
            return
        self.server.close()
        self.server = None
        for conn, task in list(self.conns.items()):
            conn.end(how)
            task.cancel()
        await asyncio.sleep(0)


class Impostor(Endpoint):
    """Takes part in handshakes for a while, but cannot end one."""

    async def connected(self, reader, writer):
        rng = self.rng
        self.ledger.counts["connections at the impostor"] += 1
        conn = Conn(self, reader, writer)
        try:
            await asyncio.wait_for(reader.read(rng.choice([1, 100, 5000])), 1)
            if rng.random() < 0.7:
                body = rng.randbytes(rng.randrange(1, 3000))
                writer.write(rng.choice([b"\x16\x03\x03" + len(body).to_bytes(2, "big") + b"\x02\0\0\x50\x03\x03", b""]) + body)
            await asyncio.sleep(rng.choice([0, 0.05, 0.8]))
        except (OSError, asyncio.TimeoutError, TimeoutError):
            pass
        finally:
            conn.end(rng.choice(["rst", "fin"]))

    @property
    def url(self):
        return "https://127.0.0.1:%d" % self.port
