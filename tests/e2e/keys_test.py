# SPDX-License-Identifier: Apache-2.0
"""Callers that send a million different keys (with WEIR_LONG=1 ten millions): memory stays at its bound, those who owe much
are remembered, and the metrics show what happened."""

import re
import threading
import time

from harness import LONG, SANITIZED, Case, dial, main, request_bytes
from scrape import scrape

KEYS = 10_000_000 if LONG else 1_000_000
FEW, MANY = 100_000, 1_000_000           # max_keys of the two buckets
SLOT = 16 * 4 / 3                        # bytes for each of max_keys
SLACK = 4 << 20                          # for what the connections need meanwhile
BATCH = 2000
STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")
SENDERS = 2


class Flood(threading.Thread):
    """Sends its share of the keys, pipelined on one connection, and counts the statuses of the answers."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.peer, self.number, self.statuses, self.error = dial(port), number, {}, None

    def run(self):
        try:
            for first in range(self.number * BATCH, KEYS, SENDERS * BATCH):
                self.peer.send(b"".join([b"GET /many HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n\r\n" % n
                                         for n in range(first, first + BATCH)]))
                self.read(BATCH)
        except Exception as e:           # shown by the test, which is on another thread
            self.error = e
        finally:
            self.peer.close()

    def read(self, n):
        """The answers have no bodies."""
        rest = b""
        while n > 0:
            data = rest + self.peer.sock.recv(1 << 20)
            if data == rest:
                raise AssertionError("cut, with %d answers owed" % n)
            end = data.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else 0
            rest = data[end:]
            for status in STATUS.findall(data, 0, end):
                self.statuses[status] = self.statuses.get(status, 0) + 1
                n -= 1


class Keys(Case):
    def test_a_flood_of_keys(self):
        w = self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
log: {to: none}
workers: 2
define:
  few: {token_bucket: {rate: 1/h, burst: 300, max_keys: %d, key: "header:x-key", headers: false}}
  many: {token_bucket: {rate: 1/h, burst: 300, max_keys: %d, key: "header:x-key", headers: false}}
routes:
  - {match: /many, respond: {status: 204}, filters: [few, many]}
""" % (FEW, MANY))
        victim = w.dial()
        self.addCleanup(victim.close)
        ask = request_bytes(path="/many", headers=[("X-Key", "in debt")])
        victim.send(ask * 310)
        self.assertEqual([victim.read_response().status for _ in range(310)], [204] * 300 + [429] * 10)
        before = w.rss()
        floods = [Flood(w.port, n) for n in range(SENDERS)]
        began = time.monotonic()
        for f in floods:
            f.start()
        most = asked = 0
        while any(f.is_alive() for f in floods):
            victim.send(ask)             # whoever owes all of a burst is not forgotten for those who owe one token
            r = victim.read_response()
            self.assertEqual((r.status, r.json()["policy"]), (429, "few"))
            asked += 1
            most = max(most, w.rss())
            time.sleep(0.02)
        took = time.monotonic() - began
        for f in floods:
            self.assertIsNone(f.error)
            self.assertEqual(f.statuses, {b"204": KEYS // SENDERS})
        most = max(most, w.rss())
        page = scrape(w)

        def of(name, what):
            return page.sum("token_bucket_" + what, instance=name)
        print("%d keys in %.1f s; resident %.1f MiB more, counted %.1f; the one in debt was refused %d times" %
              (KEYS, took, (most - before) / 2**20, (of("few", "bytes") + of("many", "bytes")) / 2**20, asked))
        for name, bound in (("few", FEW), ("many", MANY)):
            self.assertEqual(page.by("token_bucket_requests_total", "decision", instance=name)["allowed"], KEYS + 300, name)
            self.assertLessEqual(of(name, "keys"), of(name, "slots"))
            self.assertGreaterEqual(of(name, "keys"), min(bound, KEYS) * 0.98)
            self.assertLessEqual(of(name, "bytes"), bound * SLOT * 1.13 + (1 << 20))
            # A key is there, or it was forgotten and counted.
            self.assertEqual(of(name, "keys") + of(name, "evicted_in_debt_total"), KEYS + 1)
        self.assertGreater(of("few", "evicted_in_debt_total"), KEYS - 2 * FEW)
        if not LONG:
            self.assertLess(of("many", "evicted_in_debt_total"), KEYS / 100)
        if not SANITIZED:
            self.assertLessEqual(most - before, of("few", "bytes") + of("many", "bytes") + SLACK)
        self.assertGreater(asked, 5)


if __name__ == "__main__":
    main()
