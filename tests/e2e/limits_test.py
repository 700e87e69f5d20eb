# SPDX-License-Identifier: Apache-2.0
"""Bounds of connections and messages, and what routes and filters do on their own: respond, rewrite, access, headers, ids."""

import signal
import socket
import time

from harness import SANITIZED, Case, Closed, Peer, main, raise_files, request_bytes, wait_until


class Connections(Case):
    def test_the_cap(self):
        w = self.proxy(self.mock(), top="max_connections: 10\nworkers: 1")
        peers = [w.dial() for _ in range(10)]
        for p in peers:
            p.send(request_bytes(path="/bytes/1"))
            self.assertEqual(p.read_response().body, b"x")
        with w.dial() as p:
            try:
                p.send(request_bytes(path="/bytes/1"))
                r = p.read_response()
                self.assertEqual((r.status, r.json()["reason"]), (503, "connections"))
            except Closed:
                pass
        self.assertGreaterEqual(w.metrics()["weir_client_connections_refused_total"], 1)
        self.assertIn(b"listener: 127.0.0.1:%d: a connection is refused: 10 are open, as many as max_connections allows" % w.port,
                      w.stderr())
        peers.pop().close()

        def free():
            try:
                return w.ask("/bytes/1").status == 200
            except Closed:
                return False
        wait_until("a place", free)
        for p in peers:
            p.send(request_bytes(path="/bytes/1"))
            self.assertEqual(p.read_response().body, b"x")
            p.close()

    def refused(self, w, host="127.0.0.1"):
        """The answer in place of a connection; None: it was let in."""
        with Peer(socket.create_connection(("127.0.0.1", w.port), timeout=10, source_address=(host, 0))) as p:
            p.send(request_bytes(path="/bytes/1"))
            r = p.read_response()
            return None if r.status == 200 else (r.status, r.json()["reason"], r.get("connection"))

    def test_what_one_address_may_have_open(self):
        w = self.proxy(self.mock(), top="workers: 2", listen='[{at: "127.0.0.1:@PORT@", per_address: {connections: 5}}]')
        peers = [w.dial() for _ in range(5)]
        for p in peers:
            p.send(request_bytes(path="/bytes/1"))
            self.assertEqual(p.read_response().body, b"x")
        for _ in range(8):                   # whichever worker has it
            self.assertEqual(self.refused(w), (429, "address_connections", "close"))
        self.assertIsNone(self.refused(w, "127.0.0.2"))
        metrics = w.metrics()
        self.assertEqual(metrics["weir_address_connections_refused_total"], 8)
        self.assertEqual(metrics["weir_addresses"], 1)
        self.assertIn(b"a connection from 127.0.0.1 is refused", w.stderr())
        peers.pop().close()
        wait_until("a place", lambda: self.refused(w) is None)
        for p in peers:                      # those that are open are not touched
            p.send(request_bytes(path="/bytes/1"))
            self.assertEqual(p.read_response().body, b"x")
            p.close()
        wait_until("nobody to be left", lambda: w.metrics()["weir_addresses"] == 0)

    def test_how_fast_one_address_may_come(self):
        w = self.proxy(self.mock(), listen='[{at: "127.0.0.1:@PORT@", per_address: {rate: 5/h}}]')
        for _ in range(5):
            self.assertIsNone(self.refused(w))
        self.assertEqual(self.refused(w), (429, "address_rate", "close"))
        self.assertIsNone(self.refused(w, "127.0.0.2"))
        with w.dial() as p:
            p.send(request_bytes(path="/bytes/1"))
            self.assertIn(int(p.read_response().get("retry-after")), range(700, 721))
        self.assertEqual(w.metrics()["weir_address_rate_refused_total"], 2)

    def test_a_trusted_proxy_stands_for_many(self):
        w = self.proxy(self.mock(), top="trusted_proxies: 127.0.0.0/30",
                       listen='[{at: "127.0.0.1:@PORT@", per_address: {connections: 2, rate: 1/h}}]')
        for _ in range(5):
            self.assertIsNone(self.refused(w))
        self.assertIsNone(self.refused(w, "127.0.0.9"))
        self.assertEqual(self.refused(w, "127.0.0.9")[1], "address_rate")

    def test_a_cap_that_comes_with_a_reload(self):
        w = self.proxy(self.mock(), listen='[{at: "127.0.0.1:@PORT@", per_address: {connections: 1}}]')
        with w.dial() as first:
            first.send(request_bytes(path="/bytes/1"))
            first.read_response()
            self.assertEqual(self.refused(w)[1], "address_connections")
            with open(w.conf_path) as f:
                text = f.read()
            with open(w.conf_path, "w") as f:
                f.write(text.replace("connections: 1", "connections: 2"))
            w.signal(signal.SIGHUP)
            wait_until("the new cap", lambda: self.refused(w) is None)
        wait_until("nobody to be left", lambda: w.metrics()["weir_addresses"] == 0)

    def test_eight_thousand_kept_open(self):
        wanted = 8000
        if not raise_files(wanted + 1000):
            self.skipTest("the hard limit of open files is below %d" % (wanted + 1000))
        w = self.proxy(self.mock())
        w.ask("/bytes/1")
        before = w.rss()
        peers = []
        try:
            for _ in range(wanted):
                p = w.dial()
                p.send(request_bytes(path="/bytes/1"))
                peers.append(p)
                if len(peers) % 500 == 0:
                    for q in peers[-500:]:
                        self.assertEqual(q.read_response().body, b"x")
            self.assertEqual(w.metrics()["weir_client_connections"], wanted)
            grown = w.rss() - before
            print("%d connections: %.1f MiB more, %d bytes each" % (wanted, grown / 2**20, grown // wanted))
            self.assertTrue(SANITIZED or grown / wanted < 4096)
            for q in peers[::100]:
                q.send(request_bytes(path="/bytes/2"))
                self.assertEqual(q.read_response().body, b"xx")
        finally:
            for p in peers:
                p.close()
        wait_until("them to be gone", lambda: w.metrics()["weir_client_connections"] == 0)


class Sizes(Case):
    def test_max_body(self):
        m = self.mock()
        w = self.proxy(m, route=", max_body: 10B")
        self.assertEqual(w.ask("/echo", "POST", body=b"x" * 10).status, 200)
        r = w.ask("/echo", "POST", body=b"x" * 11)
        self.assertEqual((r.status, r.json()["reason"]), (413, "body_too_large"))
        self.assertEqual(m.stats()["requests"], 1)
        with w.dial() as p:
            p.send(b"POST /bytes/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n")
            self.assertEqual(p.read_response().status, 413)

    def test_heads(self):
        w = self.proxy(self.mock())
        for raw, status in ((request_bytes(path="/" + "x" * 8200), 414),
                            (request_bytes(headers=[("X", "y" * 33000)]), 431),
                            (request_bytes(headers=[("X%d" % n, "y") for n in range(101)]), 431),
                            (request_bytes(path="/bytes/1", headers=[("X%d" % n, "y") for n in range(94)]), 200)):
            with w.dial() as p:
                p.send(raw)
                self.assertEqual(p.read_response().status, status)

    def test_header_timeout(self):
        w = self.proxy(self.mock(), listen='{at: "127.0.0.1:@PORT@", header_timeout: 200ms, keepalive_timeout: 200ms}')
        with w.dial() as p:
            p.send("GET / HT")
            start = time.monotonic()
            data = p.until_close()
            self.assertTrue(data == b"" or data.startswith(b"HTTP/1.1 408 "), data)
            self.assertLess(time.monotonic() - start, 3)
        with w.dial() as p:
            p.send(request_bytes(path="/bytes/1"))
            p.read_response()
            self.assertTrue(p.ended(3))

    def test_body_timeout(self):
        w = self.proxy(self.mock(), listen='{at: "127.0.0.1:@PORT@", body_timeout: 200ms}')
        with w.dial() as p:
            p.send("POST /bytes/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            data = p.until_close()
            self.assertTrue(data == b"" or data.startswith(b"HTTP/1.1 408 "), data)
        w.wait_log(reason="client_timeout")


class Routes(Case):
    def routes(self, text):
        return self.weir("version: 1\nlisten: 127.0.0.1:@PORT@\nadmin: 127.0.0.1:@ADMIN@\nupstreams:\n"
                         "  api: {endpoints: ['%s']}\nroutes:\n%s" % (self.mock().url, text))

    def test_respond_and_redirect(self):
        w = self.routes("""
  - {match: /ping, respond: {status: 200, headers: {content-type: text/plain}, body: pong}}
  - {match: /old, respond: {status: 301, headers: {location: "https://new.example/"}}}
  - {match: /gone, respond: {status: 204}}
""")
        r = w.ask("/ping")
        self.assertEqual((r.status, r.get("content-type"), r.body), (200, "text/plain", b"pong"))
        self.assertIsNotNone(r.get("date"))
        r = w.ask("/old")
        self.assertEqual((r.status, r.get("location"), r.body), (301, "https://new.example/", b""))
        self.assertEqual(w.ask("/gone").status, 204)
        self.assertEqual(w.ask("/ping", "HEAD").get("content-length"), "4")
        r = w.ask("/other")
        self.assertEqual((r.status, r.json()["reason"]), (404, "no_route"))
        with w.dial() as p:
            p.send(request_bytes("POST", "/ping", body=b"x" * 60000) + request_bytes(path="/ping"))
            self.assertEqual([p.read_response().body, p.read_response().body], [b"pong", b"pong"])
        with w.dial() as p:
            p.send(request_bytes("POST", "/ping", body=b"x" * 100000))
            self.assertEqual(p.read_response().get("connection"), "close")

    def test_matching(self):
        w = self.routes("""
  - {match: /, respond: {body: root}}
  - {match: /v1/, respond: {body: tree}}
  - {match: /v1/x, respond: {body: exact}}
  - {match: {path: "/users/:id"}, respond: {body: param}}
  - {match: {path: /m, method: POST}, respond: {body: post}}
  - {match: {path: /h, header: {x-beta: "1"}}, respond: {body: beta}}
  - {match: {host: a.example, path: /}, respond: {body: host}}
  - {match: {host: .b.example, path: /}, respond: {body: suffix}}
""")
        for path, wanted in (("/", "root"), ("/v1/", "tree"), ("/v1/y/z", "tree"), ("/v1/x", "exact"), ("/users/7", "param"),
                             ("/users/7/8", "root"), ("/v1", "root"), ("/m", "root"), ("/h", "root")):
            self.assertEqual(w.ask(path).body.decode(), wanted, path)
        self.assertEqual(w.ask("/m", "POST").body, b"post")
        self.assertEqual(w.ask("/h", headers=[("X-Beta", "1")]).body, b"beta")
        self.assertEqual(w.ask("/", host="A.example:80").body, b"host")
        self.assertEqual(w.ask("/", host="x.b.example").body, b"suffix")

    def test_a_method_that_is_not_served(self):
        w = self.routes("  - {match: {path: /m, method: POST}, respond: {body: post}}\n")
        r = w.ask("/m")
        self.assertEqual((r.status, r.json()["reason"]), (405, "method_not_allowed"))

    def test_rewrite(self):
        w = self.routes("""
  - {match: /api/, upstream: api, rewrite: {prefix: /internal/}}
  - {match: {path: "/u/:id"}, upstream: api, rewrite: {path: "/users/:id/profile"}}
""")
        self.assertEqual(w.ask("/api/a/b?c=d").json()["path"], "/internal/a/b?c=d")
        self.assertEqual(w.ask("/u/42?x").json()["path"], "/users/42/profile?x")


class Filters(Case):
    def test_ip_access(self):
        m = self.mock()
        r = self.proxy(m, route=", filters: [{ip_access: {deny: [127.0.0.0/8]}}]").ask()
        self.assertEqual((r.status, r.json()["reason"]), (403, "denied"))
        self.assertEqual(self.proxy(m, route=", filters: [{ip_access: {allow: [127.0.0.1]}}]").ask().status, 200)
        self.assertEqual(self.proxy(m, route=", filters: [{ip_access: {allow: [10.0.0.0/8]}}]").ask().status, 403)

    def test_ip_access_sees_the_caller_behind_a_trusted_proxy(self):
        w = self.proxy(self.mock(), top="trusted_proxies: [127.0.0.1]", route=", filters: [{ip_access: {deny: [6.6.6.6]}}]")
        self.assertEqual(w.ask(headers=[("X-Forwarded-For", "6.6.6.6")]).status, 403)
        self.assertEqual(w.ask(headers=[("X-Forwarded-For", "7.7.7.7")]).status, 200)

    def test_headers(self):
        w = self.proxy(self.mock(), route=", filters: [{headers: {request: {set: {x-a: new, x-b: added}, remove: [x-c]}, "
                                          "response: {set: {x-r: r}, remove: [content-type]}}}]")
        r = w.ask(headers=[("X-A", "old"), ("X-C", "gone"), ("X-D", "stays")])
        fields = {n.lower(): v for n, v in r.json()["headers"]}
        self.assertEqual((fields["x-a"], fields["x-b"], fields["x-d"]), ("new", "added", "stays"))
        self.assertNotIn("x-c", fields)
        self.assertEqual((r.get("x-r"), r.get("content-type")), ("r", None))

    def test_request_id(self):
        w = self.proxy(self.mock(), route=", filters: [request_id]")
        r = w.ask(headers=[("X-Request-Id", "mine")])
        sent = {n.lower(): v for n, v in r.json()["headers"]}["x-request-id"]
        self.assertNotEqual(sent, "mine")
        self.assertEqual(r.get("x-request-id"), sent)
        self.assertNotEqual(w.ask().get("x-request-id"), sent)
        w = self.proxy(self.mock(), route=", filters: [{request_id: {trust: true}}]")
        self.assertEqual(w.ask(headers=[("X-Request-Id", "mine")]).get("x-request-id"), "mine")


if __name__ == "__main__":
    main()
