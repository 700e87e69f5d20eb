# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol over real sockets, in both versions: from proxies in front, by address or unix socket."""

import ipaddress
import os
import socket
import ssl
import struct
import time

from certs import CA
from harness import PATIENCE, Case, Closed, Peer, main, request_bytes, wait_until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ONE = b"PROXY TCP4 203.0.113.7 198.51.100.2 4000 443\r\n"
CONF = """version: 1
listen: {at: "%s", header_timeout: 1s, proxy_protocol: {%s}}
admin: 127.0.0.1:@ADMIN@
routes: [{match: /, respond: {status: 200, body: hello}}]
"""


def two(source, source_port, dest, dest_port, fields=b""):
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(dest)
    rest = a.packed + b.packed + struct.pack(">HH", source_port, dest_port) + fields
    return SIGNATURE + bytes([0x21, 0x11 if a.version == 4 else 0x21]) + struct.pack(">H", len(rest)) + rest


LOCAL = SIGNATURE + b"\x20\0\0\0"


class In(Case):
    def gateway(self, proxy='trusted: 127.0.0.1', at="127.0.0.1:@PORT@"):
        return self.weir(CONF % (at, proxy))

    def dial_from(self, w, address):
        return Peer(socket.create_connection(("127.0.0.1", w.port), timeout=PATIENCE, source_address=(address, 0)))

    def client_of(self, w, p, header):
        """Who the access log says that the connection's request came from."""
        path = "/%d" % time.monotonic_ns()
        p.send(header + request_bytes(path=path))
        self.assertEqual(p.read_response().body, b"hello")
        return w.wait_log(target=path)[0]["client"]

    def expect_closed(self, p):
        try:
            self.assertEqual(p.sock.recv(1), b"")
        except ConnectionResetError:
            pass

    def test_a_reset_behind_bytes_is_seen(self):
        """The system tells of both at once, and of the reset no second time."""
        w = self.weir(CONF.replace("header_timeout: 1s, ", "") % ("127.0.0.1:@PORT@", "trusted: 127.0.0.1"))
        for header in (ONE[:9], ONE, SIGNATURE, two("203.0.113.8", 1, "192.0.2.1", 2)[:-1]):
            for _ in range(20):
                p = w.dial()
                p.send(header)
                p.reset()
        wait_until("all to be gone", lambda: w.metrics()["weir_client_connections"] == 0, 5)

    def test_who_the_caller_is(self):
        w = self.gateway()
        for header, caller in [(ONE, "203.0.113.7"), (two("203.0.113.8", 1, "192.0.2.1", 2), "203.0.113.8"),
                               (two("2001:db8::9", 1, "2001:db8::1", 2, b"\x04\0\x03abc"), "2001:db8::9"),
                               (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (LOCAL, "127.0.0.1"),
                               (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), "unix")]:
            with w.dial() as p:
                self.assertEqual(self.client_of(w, p, header), caller)
                self.assertEqual(self.client_of(w, p, b""), caller)

    def test_a_header_in_pieces(self):
        w = self.gateway()
        for header, caller in [(ONE, "203.0.113.7"), (two("203.0.113.8", 1, "192.0.2.1", 2, b"\x04\x03\xe8" + bytes(1000)), "203.0.113.8")]:
            with w.dial() as p:
                p.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for i in range(0, len(header), 7):
                    p.send(header[i:i + 7])
                    time.sleep(0.001)    # so that most of them are packets of their own; right either way
                self.assertEqual(self.client_of(w, p, b""), caller)

    def test_a_proxy_that_sends_none(self):
        w = self.gateway()
        for sent in [request_bytes(), b"PROXY TCP4 1.2.3.4\r\n", b"\x16\x03\x01\x02\x00", SIGNATURE + b"\x21\x11\xff\xff"]:
            with w.dial() as p:
                p.send(sent)
                self.expect_closed(p)
        with w.dial() as p:
            p.send(ONE[:20])
            self.expect_closed(p)        # after header_timeout
        self.assertEqual(w.metrics()["weir_proxy_protocol_refused_total"], 5)
        self.assertIn(b"PROXY protocol from 127.0.0.1: there is no header", w.stderr())
        self.assertEqual(w.log(), [])

    def test_others_are_refused(self):
        w = self.gateway()
        for sent in [ONE + request_bytes(), request_bytes()]:
            with self.dial_from(w, "127.0.0.2") as p:
                try:
                    p.send(sent)
                except Closed:
                    continue
                self.expect_closed(p)
        wait_until("both to be counted", lambda: w.metrics()["weir_proxy_protocol_refused_total"] == 2)
        self.assertIn(b"a connection from 127.0.0.2, which is not in proxy_protocol.trusted, was closed", w.stderr())
        self.assertEqual((w.log(), w.metrics()["weir_client_connections_total"]), ([], 0))

    def test_others_are_served(self):
        w = self.gateway("trusted: 127.0.0.1, others: serve")
        with self.dial_from(w, "127.0.0.2") as p:
            self.assertEqual(self.client_of(w, p, b""), "127.0.0.2")
        for n, header in enumerate((ONE, SIGNATURE, b"PROXY UNKNOWN\r\n"), 1):
            with self.dial_from(w, "127.0.0.2") as p:
                p.send(header + request_bytes())
                self.assertEqual(p.read_response().status, 400)
            self.assertEqual(w.wait_log(n, status=400)[-1]["fault"], "proxy_header")
        with w.dial() as p:
            self.assertEqual(self.client_of(w, p, ONE), "203.0.113.7")

    def test_a_unix_socket(self):
        path = os.path.join(self.directory, "in.sock")
        w = self.gateway("", "unix:" + path)
        for header, closed in [(ONE, False), (b"", True)]:
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            with Peer(s) as p:
                if closed:
                    p.send(request_bytes())
                    self.expect_closed(p)
                else:
                    self.assertEqual(self.client_of(w, p, header), "203.0.113.7")

    def test_connections_that_only_connect(self):
        w = self.gateway()
        w.dial().close()
        with w.dial() as p:
            p.send(b"PROXY UNKNOWN\r\n")
        with w.dial() as p:
            self.assertEqual(self.client_of(w, p, ONE), "203.0.113.7")
        wait_until("all to be gone", lambda: w.metrics()["weir_client_connections"] == 0)
        self.assertEqual(w.metrics()["weir_proxy_protocol_refused_total"], 0)

    def test_caps_are_the_callers(self):
        w = self.weir(CONF.replace("header_timeout: 1s", "per_address: {connections: 1}") % ("127.0.0.1:@PORT@", "trusted: 127.0.0.1"))
        with w.dial() as first, w.dial() as second, w.dial() as other, w.dial() as probe:
            self.assertEqual(self.client_of(w, first, ONE), "203.0.113.7")
            second.send(ONE + request_bytes())
            refused = second.read_response()
            self.assertEqual((refused.status, refused.json()["reason"], refused.get("connection")),
                             (429, "address_connections", "close"))
            self.expect_closed(second)
            self.assertEqual(self.client_of(w, other, ONE.replace(b"113.7", b"113.8")), "203.0.113.8")
            self.assertEqual(self.client_of(w, probe, LOCAL), "127.0.0.1")
            self.assertEqual(w.metrics()["weir_addresses"], 2)
        wait_until("nobody to be left", lambda: w.metrics()["weir_addresses"] == 0)

    def test_tls_behind_the_header(self):
        ca = CA(self.directory)
        tls = "per_address: {connections: 1}, tls: {certificates: [{certificate: %s, key: %s}]}" % ca.issue("site", "DNS:test.example")
        w = self.weir(CONF.replace("header_timeout: 1s", tls) % ("127.0.0.1:@PORT@", "trusted: 127.0.0.1"))
        context = ssl.create_default_context(cafile=ca.pem)

        def shake(header):
            raw = socket.create_connection(("127.0.0.1", w.port), timeout=PATIENCE)
            raw.sendall(header)
            try:
                return Peer(context.wrap_socket(raw, server_hostname="test.example"))
            except OSError:
                raw.close()
                raise

        with shake(ONE) as p:
            self.assertEqual(self.client_of(w, p, b""), "203.0.113.7")
            with self.assertRaises(OSError):
                shake(ONE)               # one too many: closed before any handshake
            with shake(two("2001:db8::9", 1, "2001:db8::1", 2)) as q:
                self.assertEqual(self.client_of(w, q, b""), "2001:db8::9")
        metrics = w.metrics()
        self.assertEqual((metrics["weir_tls_handshakes_total"], metrics["weir_address_connections_refused_total"]), (2, 1))
        wait_until("nobody to be left", lambda: w.metrics()["weir_addresses"] == 0)


class Out(Case):
    """What an endpoint sees: another weir that must be told, or a server that looks at the bytes."""

    def front(self, url, more, listen='"127.0.0.1:@PORT@"'):
        return self.weir("version: 1\nlisten: %s\nadmin: 127.0.0.1:@ADMIN@\n"
                         "upstreams: {api: {endpoints: [\"%s\"], %s}}\nroutes: [{match: /, upstream: api}]\n" % (listen, url, more))

    def seen(self, version, requests=1):
        """The header of the one connection that a client's requests make, and the client's own address."""
        headers = []

        def script(peer, _):
            if version == "v1":
                headers.append(peer.line())
            else:
                head = peer.take(16)
                headers.append(head + peer.take(struct.unpack(">H", head[14:])[0]))
            while True:
                peer.read_request()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        w = self.front(self.upstream(script).url, "proxy_protocol: " + version)
        with w.dial() as p:
            for _ in range(requests):
                p.send(request_bytes())
                self.assertEqual(p.read_response().body, b"ok")
            own = p.sock.getsockname()
        self.assertEqual(len(headers), 1)
        return headers[0], own[1], w.port

    def test_a_line(self):
        line, port, to = self.seen("v1")
        self.assertEqual(line if isinstance(line, str) else line.decode(), "PROXY TCP4 127.0.0.1 127.0.0.1 %d %d" % (port, to))

    def test_bytes(self):
        header, port, to = self.seen("v2", 3)
        self.assertEqual(header, two("127.0.0.1", port, "127.0.0.1", to))

    def test_through_two(self):
        for version in ["v1", "v2"]:
            behind = self.weir(CONF % ("127.0.0.1:@PORT@", "trusted: 127.0.0.1"))
            w = self.front("http://127.0.0.1:%d" % behind.port, "proxy_protocol: " + version,
                           '{at: "127.0.0.1:@PORT@", proxy_protocol: {trusted: 127.0.0.1}}')
            for caller in ["203.0.113.7", "2001:db8::9"]:
                with w.dial() as p:
                    for i in range(3):
                        p.send((two(caller, 1, caller, 2) if i == 0 else b"") + request_bytes(path="/%s/%d" % (caller, i)))
                        self.assertEqual(p.read_response().body, b"hello")
                self.assertEqual(len(behind.wait_log(3, client=caller)), 3)
            self.assertEqual(behind.metrics()["weir_client_connections_total"], 2)
            self.assertEqual(behind.metrics()["weir_proxy_protocol_refused_total"], 0)

    def test_health_checks(self):
        for version in ["v1", "v2"]:
            behind = self.weir(CONF % ("127.0.0.1:@PORT@", "trusted: 127.0.0.1"))
            w = self.front("http://127.0.0.1:%d" % behind.port,
                           "proxy_protocol: %s, health: {path: /well, every: 50ms, rise: 1}" % version)
            self.assertEqual(behind.wait_log(2, target="/well")[0]["client"], "127.0.0.1")
            self.assertEqual(w.ask("/").body, b"hello")
            self.assertEqual(behind.metrics()["weir_proxy_protocol_refused_total"], 0)


if __name__ == "__main__":
    main()
