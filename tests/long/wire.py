# SPDX-License-Identifier: Apache-2.0
"""A client's connection of which every byte passes through here, plain or TLS, so that it can be cut at any of them; and a
reader of HTTP/1.1 messages by the letter, for both sides, on asyncio."""

import asyncio
import os
import socket
import ssl
import struct
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import BadMessage, Closed, Request, Response, TOKEN, VALUE      # noqa: E402

LINGER_NONE = struct.pack("ii", 1, 0)


class Cut(Exception):
    """The connection was ended here on purpose."""


class CutAt:
    """Ends a connection after so many bytes on the wire, of those sent or those received."""

    def __init__(self, how, sent=None, received=None):
        self.how, self.sent, self.received = how, sent, received


def reset(sock):
    """Closes with a RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    except OSError:
        pass
    sock.close()


class Wire:
    def __init__(self, sock, cut=None):
        self.sock, self.cut = sock, cut
        self.loop = asyncio.get_running_loop()
        self.unix = sock.family == socket.AF_UNIX
        self.sent = self.received = 0
        self.open, self.was_cut = True, False
        self.waiter = None              # who waits for bytes
        self.ssl = self.inward = self.outward = None
        self.step = 262144              # how much is read at a time
        self.writing = asyncio.Lock()

    @classmethod
    async def dial(cls, address, source=None, cut=None, rcvbuf=0):
        """`address`: a port of 127.0.0.1 or a path; `source`: from which loopback address."""
        unix = isinstance(address, str)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        try:
            sock.setblocking(False)
            if rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            if not unix:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.bind((source or "127.0.0.1", 0))
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(sock, address if unix else ("127.0.0.1", address)), 20)
        except BaseException:
            sock.close()
            raise
        return cls(sock, cut)

    # --- raw bytes

    def end(self, how="fin"):
        if not self.open:
            return
        self.open = False
        self.loop.remove_reader(self.sock)
        self.loop.remove_writer(self.sock)
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(Closed("closed here"))
        if how == "rst":
            reset(self.sock)
        else:
            self.sock.close()

    def cut_now(self):
        how = self.cut.how
        if how == "half":               # says that it sends no more, and reads on
            self.cut = None
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return
        self.was_cut = True
        self.end(how)
        raise Cut()

    async def raw_send(self, data):
        async with self.writing:
            left = None if not self.cut or self.cut.sent is None else self.cut.sent - self.sent
            part = data if left is None or left >= len(data) else data[:max(left, 0)]
            try:
                await self.loop.sock_sendall(self.sock, part)
            except (BrokenPipeError, ConnectionResetError) as e:
                raise Closed("reset while sending") from e
            except OSError as e:
                raise (Closed("closed here") if not self.open else e) from e
            self.sent += len(part)
            if left is not None and left <= len(data):
                self.cut_now()

    async def raw_recv(self):
        n = self.step
        if self.cut and self.cut.received is not None:
            n = min(n, self.cut.received - self.received)
            if n <= 0:
                self.cut_now()
                n = self.step
        data = await self.recv_some(n)
        self.received += len(data)
        return data

    async def recv_some(self, n):
        while self.open:
            try:
                return self.sock.recv(n)
            except BlockingIOError:
                pass
            except ConnectionResetError as e:
                raise Closed("reset") from e
            self.waiter = self.loop.create_future()
            self.loop.add_reader(self.sock, self.wake)
            try:
                await self.waiter
            finally:
                if self.open:
                    self.loop.remove_reader(self.sock)
        raise Closed("closed here")

    def wake(self):
        if not self.waiter.done():
            self.waiter.set_result(None)

    # --- what is above it

    async def begin_tls(self, context, name):
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.inward, self.outward, server_hostname=name)
        while True:
            try:
                self.ssl.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.flush()
                await self.feed()
        await self.flush()

    async def flush(self):
        data = self.outward.read()
        if data:
            await self.raw_send(data)

    async def feed(self):
        data = await self.raw_recv()
        if data:
            self.inward.write(data)
        else:
            self.inward.write_eof()

    async def send(self, data):
        if not self.ssl:
            await self.raw_send(data)
            return
        for at in range(0, len(data), 65536):
            try:
                self.ssl.write(data[at:at + 65536])
            except ssl.SSLError as e:
                raise Closed("TLS: %s" % e) from e
            await self.flush()

    async def recv(self):
        """b"" at a clean end; Closed at any other."""
        while self.ssl:
            try:
                return self.ssl.read(self.step)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as e:
                raise Closed("TLS: %s" % e) from e
        return await self.raw_recv()


def fields_of(lines):
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name) or not VALUE.match(value):
            raise BadMessage("field: %r" % line)
        fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    return fields


class Reader:
    """Messages out of what `recv` gives. Closed says an end between messages; Short one within."""

    def __init__(self, recv):
        self.recv = recv
        self.buf = bytearray()
        self.ended = False

    async def fill(self, inside=True):
        data = b"" if self.ended else await self.recv()
        if not data:
            self.ended = True
            raise Closed("end within a message" if inside else "end")
        self.buf += data

    async def take(self, n, inside=True):
        while len(self.buf) < n:
            await self.fill(inside or bool(self.buf))
        data = bytes(memoryview(self.buf)[:n])
        del self.buf[:n]
        return data

    async def until(self, mark, inside=True, most=70000):
        start = 0
        while True:
            at = self.buf.find(mark, start)
            if at >= 0:
                return await self.take(at + len(mark))
            if len(self.buf) > most:
                raise BadMessage("no end of a section in %d bytes: %r" % (len(self.buf), bytes(self.buf[:100])))
            start = max(0, len(self.buf) - len(mark) + 1)
            await self.fill(inside or bool(self.buf))

    async def head(self, kind):
        raw = await self.until(b"\r\n\r\n", inside=False)
        lines = raw[:-4].split(b"\r\n")
        for line in lines:
            if b"\r" in line or b"\n" in line or b"\0" in line:
                raise BadMessage("a line that does not end in CRLF alone: %r" % line)
        return kind(lines[0].decode("latin-1"), fields_of(lines[1:]), raw)

    def has_body(self, m, bodyless):
        length, coding = m.all("content-length"), m.all("transfer-encoding")
        if length and coding:
            raise BadMessage("both lengths: %r" % m.fields)
        if len(length) > 1 or (length and not length[0].isascii()) or (length and not length[0].isdigit()):
            raise BadMessage("Content-Length: %r" % length)
        if coding and [c.lower() for c in coding] != ["chunked"]:
            raise BadMessage("Transfer-Encoding: %r" % coding)
        if bodyless:
            return None
        return "chunked" if coding else int(length[0]) if length else None

    async def pieces(self, m, framing):
        """The body's bytes as they come."""
        if framing == "chunked":
            while True:
                line = (await self.until(b"\r\n"))[:-2]
                if not line or len(line) > 16 or line.strip(b"0123456789abcdefABCDEF"):
                    raise BadMessage("chunk size: %r" % line)
                n = int(line, 16)
                if n == 0:
                    break
                while n:
                    if not self.buf:
                        await self.fill()
                    part = await self.take(min(n, len(self.buf)))
                    n -= len(part)
                    yield part
                if await self.take(2) != b"\r\n":
                    raise BadMessage("no CRLF behind a chunk")
            while True:
                line = (await self.until(b"\r\n"))[:-2]
                if not line:
                    return
                m.trailers += fields_of([line])
        elif framing == "close":
            while True:
                if self.buf:
                    yield await self.take(len(self.buf))
                try:
                    await self.fill(False)
                except Closed:
                    if not self.ended:
                        raise
                    return
        else:
            while framing:
                if not self.buf:
                    await self.fill()
                part = await self.take(min(framing, len(self.buf)))
                framing -= len(part)
                yield part

    async def request(self):
        return await self.head(Request)

    async def response(self, on_interim=None):
        """The head of the next final answer (or a 101)."""
        while True:
            m = await self.head(Response)
            if m.status >= 200 or m.status == 101:
                return m
            if on_interim:
                on_interim(m)
