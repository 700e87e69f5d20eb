# SPDX-License-Identifier: Apache-2.0
"""Upgraded connections: a tunnel that changes nothing."""

import os
import threading

import websocket
from harness import Case, answer_bytes, main, request_bytes, serving, wait_until


class Tunnel(Case):
    def test_frames_of_all_lengths(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            websocket.handshake(p)
            for n in (0, 1, 125, 126, 65535, 65536, 1 << 20):
                payload = os.urandom(n)
                t = threading.Thread(target=p.send, args=(websocket.frame(2, payload),))
                t.start()
                self.assertEqual(websocket.read_frame(p), (True, 2, payload))
                t.join()
            p.send(websocket.frame(9, b"are you there"))
            self.assertEqual(websocket.read_frame(p), (True, 10, b"are you there"))
            self.assertEqual(w.metrics()["weir_tunnels"], 1)
            p.send(websocket.frame(8, b"\x03\xe8bye"))
            self.assertEqual(websocket.read_frame(p), (True, 8, b"\x03\xe8bye"))
            self.assertTrue(p.ended())
        line = w.wait_log(status=101)[0]
        self.assertEqual((line["tunnel"], line["reason"]), (True, "none"))
        self.assertEqual(w.metrics()["weir_tunnels"], 0)

    def test_frames_sent_with_the_handshake(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + websocket.frame(1, b"early"))
            self.assertEqual(p.read_response().status, 101)
            self.assertEqual(websocket.read_frame(p), (True, 1, b"early"))

    def test_the_end_of_one_side_is_passed_on(self):
        ended = []

        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
            data = peer.until_close()
            ended.append(data)
            peer.send(b"got " + data)           # the other direction is still open
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            p.send(request_bytes(headers=[("Connection", "upgrade"), ("Upgrade", "test")]))
            self.assertEqual(p.read_response().status, 101)
            p.send(b"all there is")
            p.end_sending()
            self.assertEqual(p.until_close(), b"got all there is")
        self.assertEqual(ended, [b"all there is"])

    def test_the_upstream_ends_first(self):
        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nbye")
        w = self.proxy(self.upstream(script))
        with w.dial() as p:
            p.send(request_bytes(headers=[("Connection", "upgrade"), ("Upgrade", "test")]))
            self.assertEqual(p.read_response().status, 101)
            self.assertEqual(p.until_close(), b"bye")

    def test_a_client_gone_ends_the_tunnel(self):
        m = self.mock()
        w = self.proxy(m)
        with w.dial() as p:
            websocket.handshake(p)
            self.assertEqual(m.stats()["in_flight"], 1)
            p.reset()
        wait_until("the tunnel's end", lambda: m.stats()["in_flight"] == 0)

    def test_an_upgrade_that_is_refused_goes_on_as_http(self):
        w = self.proxy(self.upstream(serving(lambda q: answer_bytes("426 No", body=b"no"))))
        with w.dial() as p:
            for _ in range(2):
                p.send(request_bytes(headers=[("Connection", "upgrade"), ("Upgrade", "test")]))
                r = p.read_response()
                self.assertEqual((r.status, r.body), (426, b"no"))

    def test_an_upgrade_nobody_asked_for_is_502(self):
        w = self.proxy(self.upstream(serving(
            lambda q: b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")))
        self.assertEqual(w.ask().status, 502)

    def test_back_pressure_in_a_tunnel(self):
        w = self.proxy(self.mock())
        before = w.rss()
        with w.dial() as p:
            websocket.handshake(p)
            p.sock.settimeout(0.5)
            frame, sent = websocket.frame(2, b"\0" * (1 << 20)), 0
            with self.assertRaises(TimeoutError):
                while sent < 512 << 20:
                    sent += p.sock.send(frame)          # cut frames are fine: nothing comes back that is read
            self.assertLess(w.rss() - before, 8 << 20)


if __name__ == "__main__":
    main()
