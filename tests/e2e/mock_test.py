# SPDX-License-Identifier: Apache-2.0
"""`weir mock` by itself."""

import os
import signal
import subprocess
import threading
import time

import websocket
from harness import WEIR, Case, Closed, ask, dial, free_port, main, request_bytes, wait_until


class Paths(Case):
    def test_any_path_echoes_the_request(self):
        r = ask(self.mock().port, "/a?b=%20c", headers=[("X-One", "1"), ("X-One", 'q"\x07' .replace("\x07", "\t") + "e")])
        self.assertEqual(r.status, 200)
        got = r.json()
        self.assertEqual((got["method"], got["path"]), ("GET", "/a?b=%20c"))
        self.assertEqual(got["headers"], [["Host", "localhost"], ["X-One", "1"], ["X-One", 'q"\te']])

    def test_bytes(self):
        port = self.mock().port
        for n in (0, 1, 16384, 3000000):
            self.assertEqual(ask(port, "/bytes/%d" % n).body, b"x" * n)

    def test_status(self):
        port = self.mock().port
        for code in (200, 201, 204, 301, 304, 404, 429, 500, 503, 599):
            self.assertEqual(ask(port, "/status/%d" % code).status, code)
        for bad in (0, 99, 101, 600, 99999999999):
            self.assertEqual(ask(port, "/status/%d" % bad).status, 400)

    def test_interim(self):
        r = ask(self.mock().port, "/status/103")
        self.assertEqual([i.status for i in r.interim], [103])
        self.assertEqual(r.status, 200)

    def test_delay(self):
        start = time.monotonic()
        r = ask(self.mock().port, "/delay/60/7")
        self.assertEqual(r.body, b"x" * 7)
        self.assertGreaterEqual(time.monotonic() - start, 0.06)

    def test_events_come_one_by_one(self):
        with dial(self.mock().port) as p:
            p.send(request_bytes(path="/sse/3/40"))
            r = p.read_response(body=False)
            self.assertEqual(r.get("content-type"), "text/event-stream")
            times = []
            for n in (1, 2, 3):
                self.assertIn(b'"n":%d,' % n, p.chunk())
                times.append(time.monotonic())
            self.assertEqual(p.chunk(), b"data: [DONE]\n\n")
            self.assertEqual(p.chunk(), b"")
            self.assertEqual(p.fields()[0], [])
            self.assertGreater(times[2] - times[0], 0.06)
            p.send(request_bytes(path="/bytes/2"))
            self.assertEqual(p.read_response().body, b"xx")

    def test_chat(self):
        port = self.mock("--events", "2", "--interval", "1ms").port
        r = ask(port, "/v1/chat/completions", "POST", body=b'{"model":"m"}')
        self.assertEqual(r.json()["usage"]["total_tokens"], 46)
        r = ask(port, "/v1/chat/completions", "POST", body=b'{"stream" : true,"stream_options":{"include_usage":true}}')
        events = r.body.split(b"\n\n")
        self.assertEqual(len(events), 5)
        self.assertIn(b'"completion_tokens":2', events[2])
        self.assertEqual(events[3:], [b"data: [DONE]", b""])

    def test_drop_and_hang(self):
        port = self.mock().port
        with dial(port) as p:
            p.send(request_bytes(path="/drop"))
            self.assertTrue(p.ended())
        with dial(port) as p:
            p.send(request_bytes(path="/hang"))
            self.assertFalse(p.ended(0.1))

    def test_stats_see_a_cancelled_request(self):
        m = self.mock()
        with dial(m.port) as p:
            p.send(request_bytes(path="/hang"))
            wait_until("a request in flight", lambda: m.stats()["in_flight"] == 1)
        stats = wait_until("it to be cancelled", lambda: m.stats() if m.stats()["in_flight"] == 0 else None)
        self.assertEqual((stats["cancelled"], stats["requests"], stats["max_in_flight"]), (1, 1, 1))
        self.assertEqual(ask(m.port, "/reset").body, b"reset\n")
        self.assertEqual(m.stats()["cancelled"], 0)


class Bodies(Case):
    def test_echo_by_length(self):
        body = os.urandom(3000000)
        port = self.mock().port
        with dial(port) as p:
            t = threading.Thread(target=p.send, args=(request_bytes("POST", "/echo", body=body),))
            t.start()
            self.assertEqual(p.read_response().body, body)
            t.join()

    def test_echo_of_chunks_and_trailers(self):
        with dial(self.mock().port) as p:
            p.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 19\r\nContent-Length: 3\r\n\r\n")
            r = p.read_response()
        self.assertEqual(r.body, b"abc0123456789abcdef")
        self.assertEqual(r.trailers, [("X-Sum", "19")])

    def test_continue(self):
        with dial(self.mock().port) as p:
            p.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            wait_until("100", lambda: p.fill() or b"\r\n\r\n" in p.buf)
            self.assertTrue(p.buf.startswith(b"HTTP/1.1 100 "))
            p.send(b"ok")
            r = p.read_response()
            self.assertEqual(([i.status for i in r.interim], r.body), ([100], b"ok"))

    def test_who_sends_and_does_not_read_is_held(self):
        with dial(self.mock().port) as p:
            p.sock.settimeout(0.5)
            p.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
            sent = 0
            with self.assertRaises(TimeoutError):
                while sent < 200 << 20:
                    sent += p.sock.send(b"y" * 65536)
            self.assertLess(sent, 64 << 20)

    def test_other_bodies_are_read_away(self):
        with dial(self.mock().port) as p:
            p.send(request_bytes("POST", "/bytes/1", body=b"z" * 100000) + request_bytes(path="/bytes/2"))
            self.assertEqual([p.read_response().body, p.read_response().body], [b"x", b"xx"])


class Connections(Case):
    def test_pipelining_in_order(self):
        with dial(self.mock().port) as p:
            p.send(b"".join(request_bytes(path=path) for path in ("/delay/30/3", "/bytes/1", "/status/404", "/bytes/2")))
            got = [p.read_response() for _ in range(4)]
        self.assertEqual([len(r.body) if r.status == 200 else r.status for r in got], [3, 1, 404, 2])

    def test_head(self):
        with dial(self.mock().port) as p:
            for path in ("/bytes/5", "/sse/3/1", "/status/404", "/"):
                p.send(request_bytes("HEAD", path))
                p.read_response("HEAD")
            p.send(request_bytes(path="/bytes/5"))
            self.assertEqual(p.read_response().body, b"xxxxx")

    def test_http_1_0(self):
        port = self.mock().port
        with dial(port) as p:
            p.send("GET /sse/2/1 HTTP/1.0\r\n\r\n")
            r = p.read_response()
            self.assertTrue(r.body.endswith(b"data: [DONE]\n\n"))
            self.assertIsNone(r.get("transfer-encoding"))
        with dial(port) as p:
            p.send("GET /bytes/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            self.assertEqual(p.read_response().get("connection"), "keep-alive")
            p.send("GET /bytes/1 HTTP/1.0\r\n\r\n")
            self.assertEqual(p.read_response().get("connection"), "close")
            self.assertTrue(p.ended())

    def test_connection_close(self):
        with dial(self.mock().port) as p:
            p.send(request_bytes(headers=[("Connection", "close")]))
            self.assertEqual(p.read_response().get("connection"), "close")
            self.assertTrue(p.ended())

    def test_what_is_no_http(self):
        with dial(self.mock().port) as p:
            p.send("nonsense\r\n\r\n")
            self.assertEqual(p.read_response().status, 400)
            self.assertTrue(p.ended())

    def test_many_at_once(self):
        m = self.mock()
        peers = [dial(m.port) for _ in range(200)]
        for p in peers:
            p.send(request_bytes(path="/bytes/3"))
        self.assertEqual({p.read_response().body for p in peers}, {b"xxx"})
        for p in peers:
            p.close()


class WebSocket(Case):
    def test_frames_come_back(self):
        with dial(self.mock().port) as p:
            websocket.handshake(p)
            for n in (0, 1, 125, 126, 65535, 65536, 1000000):
                payload = os.urandom(n)
                t = threading.Thread(target=p.send, args=(websocket.frame(2, payload),))
                t.start()
                self.assertEqual(websocket.read_frame(p), (True, 2, payload))
                t.join()
            p.send(websocket.frame(1, b"par", fin=False) + websocket.frame(9, b"hi") + websocket.frame(0, b"ts"))
            self.assertEqual(websocket.read_frame(p), (False, 1, b"par"))
            self.assertEqual(websocket.read_frame(p), (True, 10, b"hi"))
            self.assertEqual(websocket.read_frame(p), (True, 0, b"ts"))
            p.send(websocket.frame(10, b"unasked pong") + websocket.frame(8, b"\x03\xe8"))
            self.assertEqual(websocket.read_frame(p), (True, 8, b"\x03\xe8"))
            self.assertTrue(p.ended())

    def test_a_frame_byte_by_byte(self):
        with dial(self.mock().port) as p:
            websocket.handshake(p)
            for byte in websocket.frame(1, b"q" * 200):
                p.send(bytes([byte]))
            self.assertEqual(websocket.read_frame(p), (True, 1, b"q" * 200))

    def test_illegal_frames_close_with_1002(self):
        port = self.mock().port
        for bad in (b"\x81\x01a", b"\xc1\x81\0\0\0\0a", b"\x83\x81\0\0\0\0a", b"\x09\x80\0\0\0\0", b"\x89\xfe\0\x7e\0\0\0\0"):
            with dial(port) as p:
                websocket.handshake(p)
                p.send(bad)
                self.assertEqual(websocket.read_frame(p), (True, 8, b"\x03\xea"))
                self.assertTrue(p.ended())

    def test_no_handshake(self):
        port = self.mock().port
        self.assertEqual(ask(port, "/ws").status, 426)
        up = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        self.assertEqual(ask(port, "/ws", headers=up).status, 400)


class CommandLine(Case):
    def run_mock(self, *args):
        return subprocess.run([WEIR, "mock"] + list(args), capture_output=True, timeout=10, text=True)

    def test_bad_options(self):
        for args in (["--nope"], ["--latency", "5"], ["--latency", "2s..1s"], ["--errors", "101%"], ["--errors", "5"],
                     ["--status", "99"], ["--size", "x"], ["--events", "-1"], ["--interval", "1"], ["--listen"], ["more"]):
            r = self.run_mock(*args)
            self.assertEqual(r.returncode, 2, args)
            self.assertIn(args[0], r.stderr)
            self.assertEqual(r.stdout, "")

    def test_help(self):
        r = self.run_mock("--help")
        self.assertEqual(r.returncode, 0)
        self.assertIn("--latency", r.stdout)

    def test_an_address_that_is_taken_or_none(self):
        m = self.mock()
        for at in ("127.0.0.1:%d" % m.port, "nonsense"):
            r = self.run_mock("--listen", at)
            self.assertEqual(r.returncode, 1)
            self.assertIn(at, r.stderr)

    def test_signals_end_it_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            m = self.mock()
            with dial(m.port) as p:
                p.send(request_bytes(path="/hang"))
                wait_until("a request", lambda: m.stats()["in_flight"] == 1)
                m.signal(number)
                self.assertEqual(m.wait(), 0)
                self.assertTrue(p.ended())

    def test_errors_and_latency(self):
        m = self.mock("--errors", "100%", "--status", "529", "--latency", "30ms..40ms")
        start = time.monotonic()
        self.assertEqual(ask(m.port).status, 529)
        self.assertGreaterEqual(time.monotonic() - start, 0.03)

    def test_size(self):
        self.assertEqual(len(ask(self.mock("--size", "4KiB").port, "/x").body), 4096)

    def test_several_listeners(self):
        port, path = free_port(), os.path.join(self.directory, "sock")
        m = self.mock("--listen", "127.0.0.1:%d" % port, "--listen", "unix:" + path)
        self.assertEqual(m.proc.stdout.readline().decode(), "mock upstream on 127.0.0.1:%d\n" % port)
        self.assertEqual(m.proc.stdout.readline().decode(), "mock upstream on unix:%s\n" % path)
        self.assertEqual(ask(port, "/bytes/1").body, b"x")
        m.stop()
        self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    main()
