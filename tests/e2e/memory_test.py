# SPDX-License-Identifier: Apache-2.0
"""The memory guard with a bound that is below what is asked of it: bodies wait, requests are refused, all of it ends by itself."""

import socket
import unittest

from harness import SANITIZED, Case, Closed, Peer, main, request_bytes, wait_until

MIB = 1 << 20


class Guard(Case):
    def stage(self, w):
        return w.metrics()["weir_memory_stage"]

    @unittest.skipIf(SANITIZED, "what is freed stays with the sanitizer")
    def test_readers_that_stop_fill_the_memory(self):
        rss = self.proxy(self.mock(), top="workers: 1\nsandbox: {seccomp: true}").rss()
        limit = rss + 8 * MIB
        w = self.proxy(self.mock(), top="workers: 1\nsandbox: {seccomp: true}\nmemory: {limit: %dB}" % limit,
                       listen='{at: "127.0.0.1:@PORT@", body_timeout: 5m, min_rate: 0B}')
        self.assertEqual(w.metrics()["weir_memory_limit_bytes"], limit)
        self.assertEqual(self.stage(w), 0)
        peers, most = [], 0
        for n in range(1200):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(5)
            s.connect(("127.0.0.1", w.port))
            peers.append(Peer(s))
            peers[-1].send(request_bytes(path="/bytes/%d" % (16 * MIB)))
            try:
                s.recv(1, socket.MSG_PEEK)   # it holds what it will: what was begun before a stage is not stopped by it
            except TimeoutError:             # the last stage: nobody is accepted
                break
            if n % 10 == 9:                  # the thread that answers is the one that looks
                most = max(most, self.stage(w))
                if most >= 2:
                    break
        wait_until("a stage", lambda: self.stage(w) >= 1 or most >= 1)
        self.assertLess(w.rss(), limit * 1.1, "%d readers, stage %d" % (len(peers), most))
        self.assertIn(b"MiB are in use: ", w.stderr())
        for p in peers:
            p.reset()
        wait_until("room", lambda: self.stage(w) == 0, 30)       # what they had is given back
        wait_until("the worker to hear of it", lambda: w.ask("/bytes/1").body == b"x")
        self.assertIn(b"there is room again", w.stderr())

    def test_a_bound_below_what_it_needs_at_all(self):
        w = self.proxy(self.mock(), top="workers: 1\nsandbox: {seccomp: true}\nmemory: {limit: 1MiB}")
        wait_until("the last stage", lambda: self.stage(w) == 3)
        self.assertIn(b"the bound leaves no room", w.stderr())
        with socket.socket() as s:
            s.settimeout(0.5)
            s.connect(("127.0.0.1", w.port))
            p = Peer(s)
            p.sock.settimeout(0.5)
            p.send(request_bytes(path="/bytes/1"))
            with self.assertRaises((TimeoutError, Closed, AssertionError)):
                p.read_response()
        w.signal(1)
        self.assertEqual(self.stage(w), 3)

    def test_requests_are_refused_until_the_bound_is_raised(self):
        mock = self.mock()
        first = self.proxy(mock, top="workers: 1\nsandbox: {seccomp: true}")
        rss = first.rss()
        w = self.proxy(mock, top="workers: 1\nsandbox: {seccomp: true}\nmemory: {limit: %dB}" % (rss * 100 // 92))
        wait_until("the second stage", lambda: self.stage(w) >= 1)
        if self.stage(w) != 2:
            self.skipTest("it has not quite the size of another one")
        r = w.ask("/bytes/1")
        self.assertEqual((r.status, r.json()["reason"], r.get("connection")), (503, "memory_short", "close"))
        self.assertIsNotNone(r.get("retry-after"))
        with open(w.conf_path) as f:
            text = f.read()
        with open(w.conf_path, "w") as f:
            f.write(text.replace("memory: {limit: %dB}" % (rss * 100 // 92), "memory: {limit: 1GiB}"))
        w.signal(1)
        wait_until("room", lambda: self.stage(w) == 0)
        wait_until("the worker to hear of it", lambda: w.ask("/bytes/1").body == b"x")


main()
