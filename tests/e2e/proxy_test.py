# SPDX-License-Identifier: Apache-2.0
"""What a client and an upstream see of each other through weir."""

import json
import os
import signal
import socket
import threading

from harness import LONG, Case, Closed, answer_bytes, free_port, main, request_bytes, serving, wait_until

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "proxy-authorization",
              "x-listed")


def seen(r):
    """The request as the mock saw it: a list of fields in lower case, and the path."""
    got = r.json()
    return [(n.lower(), v) for n, v in got["headers"]], got


class Connections(Case):
    def test_keep_alive_both_sides(self):
        m = self.mock()
        w = self.proxy(m, top="workers: 1")
        with w.dial() as p:
            for n in range(20):
                p.send(request_bytes(path="/bytes/%d" % n))
                self.assertEqual(len(p.read_response().body), n)
        stats = m.stats()
        self.assertEqual(stats["requests"], 20)
        self.assertLessEqual(stats["accepted"], 2 + 1)          # ours to /stats is one

    def test_pipelining_in_order(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            paths = ["/delay/40/3", "/bytes/1", "/status/404", "/bytes/2"] * 5
            p.send(b"".join(request_bytes(path=path) for path in paths))
            got = [p.read_response() for _ in paths]
        self.assertEqual([len(r.body) if r.status == 200 else r.status for r in got], [3, 1, 404, 2] * 5)

    def test_pipelined_with_bodies(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(b"".join(request_bytes("POST", "/echo", body=b"%d" % n * 500) for n in range(8)))
            for n in range(8):
                self.assertEqual(p.read_response().body, b"%d" % n * 500)

    def test_connection_close_is_obeyed(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(request_bytes(path="/bytes/1", headers=[("Connection", "close")]))
            r = p.read_response()
            self.assertEqual((r.body, r.get("connection").lower()), (b"x", "close"))
            self.assertTrue(p.ended())

    def test_byte_by_byte(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for b in request_bytes("POST", "/echo", body=b"hello"):
                p.send(bytes([b]))
            self.assertEqual(p.read_response().body, b"hello")

    def test_a_pooled_connection_that_was_closed_is_replaced(self):
        def script(peer, number):
            peer.read_request()
            peer.send(answer_bytes(body=b"%d" % number))
            # And closed: the next request must go to another connection, without the client noticing.
        w = self.proxy(self.upstream(script), top="workers: 1")
        with w.dial() as p:
            for n in range(5):
                p.send(request_bytes())
                self.assertEqual(p.read_response().body, b"%d" % n)

    def test_http_1_0_client(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send("GET /sse/2/1 HTTP/1.0\r\nHost: x\r\n\r\n")
            r = p.read_response()
            self.assertIsNone(r.get("transfer-encoding"))
            self.assertTrue(r.body.endswith(b"data: [DONE]\n\n"))
        with w.dial() as p:
            p.send("GET /bytes/3 HTTP/1.0\r\n\r\n")
            self.assertEqual(p.read_response().body, b"xxx")
            self.assertTrue(p.ended())

    def test_http_1_0_client_keeps_alive_if_it_asks(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            for _ in range(2):
                p.send("GET /bytes/3 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
                r = p.read_response()
                self.assertEqual((r.body, r.get("connection", "").lower()), (b"xxx", "keep-alive"))

    def test_a_client_gone_cancels_the_exchange(self):
        m = self.mock()
        w = self.proxy(m)
        with w.dial() as p:
            p.send(request_bytes(path="/hang"))
            wait_until("the request at the upstream", lambda: m.stats()["in_flight"] == 1)
        wait_until("it to be cancelled", lambda: m.stats()["in_flight"] == 0, 2)
        self.assertEqual(m.stats()["cancelled"], 1)
        self.assertEqual(w.wait_log(reason="client_gone")[0]["status"], 0)

    def test_a_client_gone_in_its_stream_cancels_it(self):
        m = self.mock()
        w = self.proxy(m)
        with w.dial() as p:
            p.send(request_bytes(path="/sse/100000/5"))
            p.read_response(body=False)
            p.chunk()
        wait_until("it to be cancelled", lambda: m.stats()["in_flight"] == 0, 2)
        w.wait_log(reason="client_gone")

    def test_a_reset_behind_an_unwanted_body_is_seen(self):
        """The system tells of the bytes and of it at once, and of it no second time."""
        w = self.weir("""version: 1
listen: ["127.0.0.1:@PORT@"]
admin: 127.0.0.1:@ADMIN@
routes: [{match: /, respond: {status: 200, body: hello}}]
""")
        peers = [w.dial() for _ in range(5)]
        for p in peers:
            p.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome")
            self.assertEqual(p.read_response().body, b"hello")
        w.signal(signal.SIGSTOP)
        for i, p in enumerate(peers):
            p.send(b"some more" if i % 2 else b"x" * 996)        # a part of what is left, and all of it
            p.reset()
        w.signal(signal.SIGCONT)
        wait_until("all to be gone", lambda: w.metrics()["weir_client_connections"] == 0, 5)


class Upstreams(Case):
    def test_each_endpoint_that_fails_is_named(self):
        dead = [free_port() for _ in range(4)]
        w = self.weir("version: 1\nworkers: 1\nlisten: '127.0.0.1:@PORT@'\nadmin: '127.0.0.1:@ADMIN@'\nupstreams:\n%sroutes:\n%s" % (
            "".join("  u%d: {endpoints: 'http://127.0.0.1:%d'}\n" % (n, p) for n, p in enumerate(dead)),
            "".join("  - {match: /%d, upstream: u%d}\n" % (n, n) for n in range(len(dead)))))
        for n in range(len(dead)):
            self.assertEqual(w.ask("/%d" % n).status, 502)
        for n, port in enumerate(dead):
            self.assertIn(b"u%d: http://127.0.0.1:%d: " % (n, port), w.stderr())

    def test_http_1_0_upstream(self):
        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            for _ in range(3):
                p.send(request_bytes())
                r = p.read_response()
                self.assertEqual((r.version, r.body), ("1.1", b"ok"))

    def test_close_delimited_answer(self):
        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 100000)
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            p.send(request_bytes())
            self.assertEqual(p.read_response().body, b"z" * 100000)

    def test_cut_in_the_body_cuts_the_client(self):
        def script(peer, number):
            peer.read_request()
            if number == 0:
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            else:
                peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        w = self.proxy(self.upstream(script))
        for _ in range(2):
            with w.dial() as p:
                p.send(request_bytes())
                with self.assertRaises(Closed):
                    p.read_response()
        w.wait_log(2, reason="upstream_cut")

    def test_cut_before_the_head_is_502(self):
        m = self.mock()
        w = self.proxy(m)
        r = w.ask("/drop", "POST", body=b"x")
        self.assertEqual(r.status, 502)
        self.assertEqual(r.get("content-type"), "application/problem+json")
        self.assertEqual(r.json()["reason"], "upstream_reset")
        self.assertEqual(r.json()["status"], 502)
        w.wait_log(reason="upstream_reset", status=502)

    def test_nobody_listens(self):
        w = self.proxy("http://127.0.0.1:%d" % free_port())
        r = w.ask()
        self.assertEqual((r.status, r.json()["reason"]), (502, "connect_failed"))

    def test_nonsense_from_upstream_is_502(self):
        w = self.proxy(self.upstream(serving(lambda q: b"SSH-2.0-OpenSSH\r\n\r\n")))
        r = w.ask()
        self.assertEqual((r.status, r.json()["reason"]), (502, "upstream_bad"))

    def test_first_byte_timeout(self):
        w = self.proxy(self.mock(), up=", timeouts: {first_byte: 100ms}")
        r = w.ask("/hang")
        self.assertEqual((r.status, r.json()["reason"]), (504, "first_byte_timeout"))

    def test_idle_timeout_in_the_body(self):
        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            peer.ended()
        w = self.proxy(self.upstream(script), up=", timeouts: {idle: 100ms}")
        with w.dial() as p:
            p.send(request_bytes())
            with self.assertRaises(Closed):
                p.read_response()
        w.wait_log(reason="idle_timeout")

    def test_total_timeout(self):
        w = self.proxy(self.mock(), route=", timeout: 100ms")
        r = w.ask("/hang")
        self.assertEqual((r.status, r.json()["reason"]), (504, "total_timeout"))

    def test_unresolvable_name(self):
        w = self.proxy("http://no-such-name.invalid:80")
        r = w.ask()
        self.assertEqual((r.status, r.json()["reason"]), (503, "unresolved"))

    def test_unix_socket(self):
        path = os.path.join(self.directory, "up")
        self.mock("--listen", "unix:" + path)
        self.assertEqual(self.proxy("unix:" + path).ask("/bytes/3").body, b"xxx")

    def test_two_endpoints_share_the_work(self):
        a, b = self.mock(), self.mock()
        w = self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
upstreams:
  api: {endpoints: ["%s", "%s"], balance: round_robin}
routes:
  - {match: /, upstream: api}
""" % (a.url, b.url))
        for _ in range(10):
            self.assertEqual(w.ask("/bytes/1").status, 200)
        self.assertGreaterEqual(min(a.stats()["requests"], b.stats()["requests"]), 3)

    def test_an_early_answer_while_the_body_still_comes(self):
        def script(peer, _):
            peer.read_request(body=False)
            peer.send(answer_bytes("413 Content Too Large", body=b"no"))
            peer.ended()
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            p.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome")
            r = p.read_response()
            self.assertEqual((r.status, r.body), (413, b"no"))


class Messages(Case):
    def test_head(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            for path, length in (("/bytes/5", "5"), ("/sse/3/1", None), ("/status/404", "11")):
                p.send(request_bytes("HEAD", path))
                self.assertEqual(p.read_response("HEAD").get("content-length"), length)
            p.send(request_bytes(path="/bytes/5"))
            self.assertEqual(p.read_response().body, b"xxxxx")

    def test_answers_without_a_body(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            for code in (204, 304, 204):
                p.send(request_bytes(path="/status/%d" % code))
                r = p.read_response()
                self.assertEqual((r.status, r.get("transfer-encoding")), (code, None))
            p.send(request_bytes(path="/bytes/1"))
            self.assertEqual(p.read_response().body, b"x")

    def test_interim_answers_are_passed_on(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(request_bytes(path="/status/103"))
            r = p.read_response()
            self.assertEqual([(i.status, i.get("link")) for i in r.interim], [(103, "</style.css>; rel=preload")])
            self.assertEqual(r.status, 200)

    def test_no_interim_answers_to_http_1_0(self):
        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.1 103 Early\r\n\r\n" + answer_bytes(body=b"ok"))
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            p.send("GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            r = p.read_response()
            self.assertEqual((r.interim, r.body), ([], b"ok"))

    def test_continue_end_to_end(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            head = p.head(lambda first, fields, raw: first)
            self.assertTrue(head.startswith("HTTP/1.1 100"))
            p.send(b"ok")
            self.assertEqual(p.read_response().body, b"ok")

    def test_continue_refused_by_the_upstream(self):
        def script(peer, _):
            q = peer.read_request(body=False)
            assert q.get("expect") == "100-continue", q.fields
            peer.send(answer_bytes("417 No", [("Connection", "close")], b"no"))
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            p.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            r = p.read_response()
            self.assertEqual((r.status, r.interim), (417, []))

    def test_chunks_and_trailers_up(self):
        got = []

        def handler(q):
            got.append(q)
            return answer_bytes(body=b"ok")
        w = self.proxy(self.upstream(serving(handler)))
        with w.dial() as p:
            p.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                   b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nContent-Length: 9\r\n\r\n")
            self.assertEqual(p.read_response().body, b"ok")
        self.assertEqual(got[0].body, b"abcde")
        self.assertIn(("x-sum", "5"), [(n.lower(), v) for n, v in got[0].trailers])
        self.assertNotIn("content-length", [n.lower() for n, _ in got[0].trailers])

    def test_chunks_and_trailers_down(self):
        w = self.proxy(self.upstream(serving(
            lambda q: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                      b"3;e\r\nabc\r\n0\r\nX-Sum: 3\r\nTransfer-Encoding: chunked\r\n\r\n")))
        with w.dial() as p:
            for _ in range(2):
                p.send(request_bytes(headers=[("TE", "trailers")]))
                r = p.read_response()
                self.assertEqual(r.body, b"abc")
                self.assertEqual([(n.lower(), v) for n, v in r.trailers], [("x-sum", "3")])

    def test_absolute_form(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(b"GET http://other.example/x?y=1 HTTP/1.1\r\nHost: other.example\r\n\r\n")
            fields, got = seen(p.read_response())
        self.assertEqual(got["path"], "/x?y=1")
        self.assertIn(("host", "other.example"), fields)

    def test_hop_by_hop_fields_stay_on_their_hop(self):
        w = self.proxy(self.mock())
        fields, _ = seen(w.ask(headers=[
            ("Connection", "keep-alive, X-Listed"), ("X-Listed", "1"), ("Keep-Alive", "timeout=5"), ("TE", "gzip"),
            ("Proxy-Connection", "keep-alive"), ("X-Stays", "1")]))
        names = [n for n, _ in fields]
        self.assertIn("x-stays", names)
        for name in HOP_BY_HOP:
            self.assertNotIn(name, names)

    def test_hop_by_hop_fields_of_the_answer(self):
        w = self.proxy(self.upstream(serving(lambda q: answer_bytes(
            headers=[("Connection", "X-Listed, keep-alive"), ("X-Listed", "1"), ("Keep-Alive", "timeout=5"), ("X-Stays", "1"),
                     ("Proxy-Authenticate", "Basic")], body=b"ok"))))
        r = w.ask()
        self.assertEqual((r.get("x-stays"), r.get("x-listed"), r.get("keep-alive")), ("1", None, None))

    def test_forwarding_fields_of_a_stranger(self):
        w = self.proxy(self.mock())
        fields, _ = seen(w.ask(headers=[("X-Forwarded-For", "6.6.6.6"), ("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"),
                                        ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")]))
        fields = dict(fields)
        self.assertEqual(fields["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(fields["x-forwarded-proto"], "http")
        self.assertEqual(fields["x-forwarded-host"], "test.example")
        self.assertIn("for=127.0.0.1", fields["forwarded"])
        self.assertIn("1.1 weir", fields["via"])
        self.assertNotIn("6.6.6.6", json.dumps(fields))

    def test_forwarding_fields_of_a_trusted_proxy(self):
        w = self.proxy(self.mock(), top="trusted_proxies: [127.0.0.0/8]")
        fields, _ = seen(w.ask(headers=[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")]))
        fields = dict(fields)
        self.assertEqual(fields["x-forwarded-for"].replace(" ", ""), "203.0.113.9,127.0.0.1")
        self.assertEqual(fields["x-forwarded-proto"], "https")
        w.wait_log(client="203.0.113.9")

    def test_host_modes(self):
        m = self.mock()
        for mode, wanted in (("client", "test.example"), ("endpoint", "127.0.0.1:%d" % m.port), ("api.example", "api.example")):
            fields, _ = seen(self.proxy(m, up=", host: %s" % mode).ask())
            self.assertEqual([v for n, v in fields if n == "host"], [wanted])

    def test_fields_arrive_as_they_were_written(self):
        w = self.proxy(self.mock())
        r = w.ask(headers=[("X-CaSe", "a  b\tc"), ("X-Twice", "1"), ("X-Twice", "2"), ("X-Empty", "")])
        got = r.json()["headers"]
        for field in (["X-CaSe", "a  b\tc"], ["X-Twice", "1"], ["X-Twice", "2"], ["X-Empty", ""]):
            self.assertIn(field, got)

    def test_paths_are_normalised_before_they_are_matched_and_sent(self):
        w = self.proxy(self.mock())
        for path, wanted in (("/a/../b", "/b"), ("/%41", "/A"), ("//x//y", "/x/y"), ("/a%2fb", None), ("/../x", None)):
            r = w.ask(path)
            if wanted:
                self.assertEqual(r.json()["path"], wanted)
            else:
                self.assertEqual((r.status, r.json()["reason"]), (400, "bad_path"))

    def test_smuggling_is_refused_and_the_connection_closed(self):
        m = self.mock()
        w = self.proxy(m)
        for raw in (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
                    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            with w.dial() as p:
                p.send(raw + request_bytes(path="/smuggled"))
                r = p.read_response()
                self.assertEqual((r.status, r.json()["reason"]), (400, "bad_request"), raw)
                self.assertTrue(p.ended(), raw)
        self.assertEqual(m.stats()["requests"], 0)
        self.assertTrue(all(l["fault"] for l in w.wait_log(6, reason="bad_request")))


class Bodies(Case):
    SIZE = (1 << 30) if LONG else (256 << 20)
    MAX_GROWTH = 8 << 20

    def test_a_large_download_in_constant_memory(self):
        w = self.proxy(self.mock())
        w.ask("/bytes/1000000")
        before = w.rss()
        with w.dial() as p:
            p.send(request_bytes(path="/bytes/%d" % self.SIZE))
            r = p.read_response(body=False)
            left, most = int(r.get("content-length")) - len(p.buf), before
            p.buf = b""
            while left:
                got = p.sock.recv(1 << 20)
                self.assertTrue(got)
                left -= len(got)
                if left >> 25 != (left + len(got)) >> 25:
                    most = max(most, w.rss())
        print("resident: %.1f MiB before, %.1f MiB at most" % (before / 2**20, most / 2**20))
        self.assertLess(most - before, self.MAX_GROWTH)

    def test_a_large_upload_in_constant_memory(self):
        w = self.proxy(self.mock())
        w.ask("/echo", "POST", body=b"x" * 1000000)
        before = most = w.rss()
        piece = b"u" * (1 << 20)
        with w.dial() as p:
            p.send(b"POST /bytes/3 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % self.SIZE)
            for n in range(self.SIZE >> 20):
                p.send(piece)
                if n % 32 == 0:
                    most = max(most, w.rss())
            self.assertEqual(p.read_response().body, b"xxx")
        print("resident: %.1f MiB before, %.1f MiB at most" % (before / 2**20, most / 2**20))
        self.assertLess(most - before, self.MAX_GROWTH)

    def test_both_ways_at_once_unchanged(self):
        body = os.urandom(8 << 20)
        w = self.proxy(self.mock())
        for chunked in (False, True):
            with w.dial() as p:
                if chunked:
                    data = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                    data += b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 70001]), body[i:i + 70001])
                                     for i in range(0, len(body), 70001)) + b"0\r\n\r\n"
                else:
                    data = request_bytes("POST", "/echo", body=body)
                t = threading.Thread(target=p.send, args=(data,))
                t.start()
                r = p.read_response()
                t.join()
                self.assertTrue(r.body == body)

    def test_a_client_that_does_not_read_holds_the_upstream(self):
        m = self.mock()
        w = self.proxy(m)
        before = w.rss()
        with w.dial() as p:
            p.send(request_bytes(path="/bytes/%d" % (512 << 20)))
            p.read_response(body=False)
            wait_until("a pause", lambda: w.metrics()["weir_pauses_total"] >= 1)
            self.assertLess(w.rss() - before, self.MAX_GROWTH)

    def test_slow_readers_of_long_answers_cost_little(self):
        w = self.proxy(self.mock())
        readers = []
        try:
            for _ in range(20):
                s = socket.socket()
                readers.append(s)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                s.connect(("127.0.0.1", w.port))
                s.sendall(request_bytes(path="/bytes/%d" % (16 << 20)))
            for _ in range(20):
                for s in readers:
                    s.recv(2000)
            wait_until("all to be paused", lambda: w.metrics()["weir_pauses_total"] >= len(readers))
            self.assertLess(w.metrics()["weir_buffered_bytes"], len(readers) * (16 << 10))
        finally:
            for s in readers:
                s.close()


if __name__ == "__main__":
    main()
