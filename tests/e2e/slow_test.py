# SPDX-License-Identifier: Apache-2.0
"""Clients that send or take too slowly, over sockets: what the kernel holds for them counts as theirs."""

import socket
import time

from harness import Case, Peer, main, request_bytes, wait_until

MIB = 1 << 20
LISTEN = '{at: "127.0.0.1:@PORT@", body_timeout: %s, min_rate: %s}'

SEALED = "workers: 1\nsandbox: {seccomp: true}"      # what the kernel holds can be asked for there, too


def dial(w, window=None):
    s = socket.socket()
    if window:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    s.settimeout(20)
    s.connect(("127.0.0.1", w.port))
    return Peer(s)


class Readers(Case):
    def test_a_steady_one_behind_a_large_send_buffer(self):
        w = self.proxy(self.mock(), listen=LISTEN % ("2s", "0B"), top=SEALED)
        with dial(w, 65536) as p:
            p.send(request_bytes(path="/bytes/%d" % (6 * MIB)))
            start, got = time.monotonic(), 0
            while got < 2 * MIB:                 # 300 KiB a second: weir's own writes stand still for more than 2 s
                got += len(p.sock.recv(30720))
                time.sleep(max(0, start + got / 307200 - time.monotonic()))
            while got < 6 * MIB:
                data = p.sock.recv(MIB)
                self.assertTrue(data, "cut after %d bytes" % got)
                got += len(data)
        w.wait_log(status=200)
        self.assertEqual(w.metrics()["weir_slow_readers_total"], 0)

    def test_one_that_stops(self):
        w = self.proxy(self.mock(), listen=LISTEN % ("1s", "0B"), top="workers: 1")
        with dial(w, 4096) as p:
            p.send(request_bytes(path="/bytes/%d" % (32 * MIB)))
            w.wait_log(reason="client_slow")
            self.assertEqual(w.metrics()["weir_slow_readers_total"], 1)
            with self.assertRaises(ConnectionResetError):
                while p.sock.recv(MIB):
                    pass

    def test_one_that_stops_when_the_kernel_has_all(self):
        w = self.proxy(self.mock(), listen='{at: "127.0.0.1:@PORT@", body_timeout: 1s, keepalive_timeout: 1s, min_rate: 0B}')
        with dial(w, 4096) as p:
            p.send(request_bytes(path="/bytes/60000"))
            w.wait_log(status=200)
            wait_until("a reset", lambda: w.metrics()["weir_slow_readers_total"] == 1)


class Bodies(Case):
    def test_a_slow_one(self):
        w = self.proxy(self.mock(), listen=LISTEN % ("5s", "10kB"), top="workers: 1")
        with dial(w) as p:
            p.send("POST /bytes/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            start = time.monotonic()
            while time.monotonic() - start < 12:
                p.sock.settimeout(0.5)
                try:
                    if p.sock.recv(1, socket.MSG_PEEK):
                        break
                except TimeoutError:
                    p.send(b"x" * 100)
            self.assertGreater(time.monotonic() - start, 9)
            p.sock.settimeout(5)
            r = p.read_response()
            self.assertEqual((r.status, r.json()["reason"], r.get("connection")), (408, "client_slow_body", "close"))
        w.wait_log(reason="client_slow_body", status=408)
        self.assertEqual(w.metrics()["weir_slow_bodies_total"], 1)


main()
