# SPDX-License-Identifier: Apache-2.0
"""Concurrency limits over real sockets: never too many at the upstream, turns in the queue, and not a slot lost.

Most of it stands on gate.py, an upstream that answers when the test says so: what is asserted are counts and orders, not times.
"""

import random
import signal
import time

from crowd import Crowd, workers_of
from gate import Gate
from harness import Case, Closed, ask, connects, free_port, main, request_bytes, wait_until
from scrape import scrape

GAUGES = ("concurrency_in_flight", "concurrency_waiting", "requests_in_flight", "client_connections", "buffered_bytes")


def get(path="/", key=None, fields=()):
    return request_bytes(path=path, headers=list(fields) + ([("X-Api-Key", key)] if key else []))


class Slots(Case):
    def gate(self, **more):
        g = Gate(**more)
        self.addCleanup(g.stop)
        return g

    def limited(self, up, options, workers=1, top="", **more):
        """Weir with one concurrency limit, named c, in front of `up`."""
        filters = ", filters: [{concurrency: {name: c, %s}}]" % options
        return self.proxy(up, top="workers: %d\n%s" % (workers, top), up=filters, **more)

    def send(self, weir, raws):
        """Each on a connection of its own."""
        peers = []
        for raw in raws:
            p = weir.dial()
            self.addCleanup(p.close)
            p.send(raw)
            peers.append(p)
        return peers

    def count(self, weir, what):
        return scrape(weir).sum("concurrency_" + what, instance="c")

    def wait_waiting(self, weir, n):
        wait_until("%d to wait" % n, lambda: self.count(weir, "waiting") == n)

    def refused(self, weir):
        return scrape(weir).by("concurrency_refused_total", "reason", instance="c")

    def wait_idle(self, weir, gauges=GAUGES):
        """All gauges are at 0."""
        def probe():
            page = scrape(weir)
            return not any(page.sum(name) for name in gauges)
        try:
            wait_until("the gauges to be 0", probe)
        except AssertionError as e:
            page = scrape(weir)
            raise AssertionError({name: page.sum(name) for name in gauges}) from e

    def check_whole(self, weir, gate, most, key=None):
        """All slots are there: `most` get to the upstream at once, and one more waits."""
        gate.shut()
        peers = self.send(weir, [get(key=key)] * (most + 1))
        gate.wait(most)
        self.wait_waiting(weir, 1)
        gate.wait(most)
        self.assertEqual(self.count(weir, "in_flight"), most)
        gate.open()
        for p in peers:
            self.assertEqual(p.read_response().status, 200)
            p.close()
        self.wait_idle(weir)


class Most(Slots):
    def pressed(self, workers):
        """80 callers at once, each twice; the upstream never sees more than 5, and does see 5."""
        m = self.mock()
        w = self.limited(m, "max: 5, queue: 200, max_wait: 60s", workers)
        crowd = Crowd(w.port, 80)
        for r in crowd.ask([get("/delay/3/1")] * 160):
            self.assertEqual(r.status, 200)
        crowd.close()
        self.assertEqual(m.stats()["max_in_flight"], 5)
        self.wait_idle(w)
        page = scrape(w)
        self.assertEqual(page.sum("concurrency_entered_total"), 160)
        self.assertEqual(page.sum("concurrency_refused_total"), 0)
        self.assertEqual(page.sum("concurrency_wait_seconds_count"), page.sum("concurrency_queued_total"))
        self.assertGreater(page.sum("concurrency_queued_total"), 0)
        lines = w.wait_log(160, status=200)
        logged = len([l for l in lines if l.get("waited_ms", 0) > 0])    # one let in within the turn that queued it waited 0 ms
        self.assertLessEqual(logged, page.sum("concurrency_queued_total"))
        self.assertGreater(logged, page.sum("concurrency_queued_total") * 0.9)
        self.assertEqual(workers_of(w), set(range(workers)))

    def test_one_worker(self):
        self.pressed(1)

    def test_two_workers(self):
        self.pressed(2)

    def test_four_workers(self):
        self.pressed(4)

    def one_by_one(self, workers):
        """Each answer lets in exactly one of those who wait, wherever he waits: first come, first served."""
        g = self.gate()
        w = self.limited(g, "max: 3, queue: 20, max_wait: 60s", workers)
        peers = []
        for n in range(15):
            peers += self.send(w, [get("/%d" % n)])
            if n < 3:
                g.wait(n + 1)
            else:
                self.wait_waiting(w, n - 2)
        for n in range(12):
            g.release()
            g.wait_seen(4 + n)
            g.wait(3)
        self.assertEqual([v.request.target for v in g.seen], ["/%d" % n for n in range(15)])
        g.open()
        for p in peers:
            self.assertEqual(p.read_response().status, 200)
        self.assertEqual(g.most, 3)
        w.wait_log(15, status=200)
        self.assertTrue(len(workers_of(w)) > 1 or workers == 1)

    def test_one_by_one(self):
        self.one_by_one(1)

    def test_one_by_one_on_four_workers(self):
        self.one_by_one(4)

    def test_a_stream_holds_its_slot_to_the_last_byte(self):
        g = self.gate()
        w = self.limited(g, "max: 1, max_wait: 60s", 2)
        first, = self.send(w, [get("/1")])
        visit, = g.wait(1)
        g.start(visit, 10)
        self.assertEqual(first.read_response(body=False).status, 200)
        self.assertEqual(first.take(1), b"x")
        second, = self.send(w, [get("/2")])
        self.wait_waiting(w, 1)
        self.assertEqual(len(g.seen), 1)
        g.release(body=b"123456789")
        self.assertEqual(first.take(9), b"123456789")
        g.wait_seen(2)
        g.open()
        self.assertEqual(second.read_response().status, 200)

    def test_a_named_limit_is_one_for_two_upstreams(self):
        g = self.gate()
        w = self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
workers: 2
define: {c: {concurrency: {max: 2, max_wait: 60s}}}
upstreams: {a: {endpoints: ["%s"], filters: [c]}, b: {endpoints: ["%s"], filters: [c]}}
routes: [{match: /a, upstream: a}, {match: /b, upstream: b}]
""" % (g.url, g.url))
        peers = self.send(w, [get("/a"), get("/b")] * 3)
        g.wait(2)
        self.wait_waiting(w, 4)
        g.open()
        for p in peers:
            self.assertEqual(p.read_response().status, 200)
        self.assertEqual(g.most, 2)

    def test_shadow_counts_and_lets_through(self):
        g = self.gate()
        w = self.limited(g, "max: 2, queue: 0, mode: shadow", 2)
        peers = self.send(w, [get()] * 7)
        g.wait(7)
        self.assertEqual((self.count(w, "in_flight"), self.refused(w)["queue_full"]), (2, 5))
        g.open()
        for p in peers:
            self.assertEqual(p.read_response().status, 200)
            p.close()
        self.assertEqual(len(w.wait_log(5, shadow="c")), 5)
        self.wait_idle(w)


class Refusals(Slots):
    def check_refusal(self, r, status, reason, least, most):
        """Of a wait between `least` and `most` seconds, up to a tenth longer."""
        self.assertEqual((r.status, r.get("content-type")), (status, "application/problem+json"), r.raw)
        problem = r.json()
        self.assertEqual((problem["status"], problem["reason"], problem["policy"]), (status, reason, "c"))
        ms = int(r.get("retry-after-ms"))
        self.assertEqual((int(r.get("retry-after")), problem["retry_after_ms"]), (-(-ms // 1000), ms))
        self.assertTrue(least * 1000 <= ms <= most * 1100 + 1, (least, ms, most))
        self.assertEqual(r.all("ratelimit"), [])

    def learn(self, weir, gate, hold):
        """One request whose slot is held for so long, which is what weir expects of the others then. Returns bounds of it."""
        began = time.monotonic()
        peer, = self.send(weir, [get("/learn")])
        gate.wait(1)
        held = time.monotonic()
        time.sleep(hold)
        least = time.monotonic() - held
        gate.release()
        self.assertEqual(peer.read_response().status, 200)
        peer.close()
        wait_until("its slot to be free", lambda: self.count(weir, "in_flight") == 0)
        return least, time.monotonic() - began

    def test_queue_full(self):
        for workers in (1, 4):
            with self.subTest(workers=workers):
                g = self.gate()
                w = self.limited(g, "max: 2, queue: 3, max_wait: 60s", workers)
                least, most = self.learn(w, g, 0.1)
                peers = self.send(w, [get("/%d" % n) for n in range(5)])
                g.wait(2)
                self.wait_waiting(w, 3)
                for r in [w.ask() for _ in range(4)]:
                    # Three are before it, and two are served at a time.
                    self.check_refusal(r, 503, "queue_full", least * 3 / 2, most * 3 / 2)
                g.open()
                self.assertEqual([p.read_response().status for p in peers], [200] * 5)
                self.assertEqual(self.refused(w), {"queue_full": 4, "queue_hopeless": 0, "queue_timeout": 0, "ambiguous_key": 0,
                                                   "total_timeout": 0, "left": 0})
                lines = w.wait_log(4, status=503)
                self.assertEqual({(l["policy"], l["reason"]) for l in lines}, {("c", "queue_full")})
                for p in peers:
                    p.close()
                self.wait_idle(w)

    def test_without_a_queue(self):
        g = self.gate()
        w = self.limited(g, "max: 2, queue: 0", 2)
        peers = self.send(w, [get()] * 2)
        g.wait(2)
        self.check_refusal(w.ask(), 503, "queue_full", 0, 1)
        g.open()
        self.assertEqual([p.read_response().status for p in peers], [200] * 2)

    def test_hopeless(self):
        """A slot is held 0.3 s, one waits already: who has only 0.2 s is told at once, who has time waits."""
        g = self.gate()
        w = self.limited(g, "max: 1, queue: 9, max_wait: 60s", 2, route=", filters: [timeout]")
        least, most = self.learn(w, g, 0.3)
        peers = self.send(w, [get("/1")])
        g.wait(1)
        peers += self.send(w, [get("/2")])
        self.wait_waiting(w, 1)
        r = w.ask(headers=[("X-Request-Timeout", "200ms")])
        self.check_refusal(r, 503, "queue_hopeless", least, most)
        self.assertNotIn("waited_ms", w.wait_log(reason="queue_hopeless")[0])
        peers += self.send(w, [get("/3")])
        self.wait_waiting(w, 2)
        g.open()
        self.assertEqual([p.read_response().status for p in peers], [200] * 3)
        self.assertEqual(self.refused(w)["queue_hopeless"], 1)

    def test_timeout(self):
        g = self.gate()
        w = self.limited(g, "max: 1, queue: 9, max_wait: 250ms", 2)
        holder, = self.send(w, [get("/1")])
        g.wait(1)
        began = time.monotonic()
        waiters = self.send(w, [get("/%d" % n) for n in (2, 3)])
        for p in waiters:
            self.check_refusal(p.read_response(), 503, "queue_timeout", 0, 1)
        self.assertGreaterEqual(time.monotonic() - began, 0.25)
        for line in w.wait_log(2, reason="queue_timeout"):
            self.assertGreaterEqual(line["waited_ms"], 250)
        self.assertEqual((self.refused(w)["queue_timeout"], self.count(w, "waiting"), len(g.seen)), (2, 0, 1))
        g.open()
        self.assertEqual(holder.read_response().status, 200)
        self.assertEqual(w.ask().status, 200)

    def test_the_deadline_ends_the_wait(self):
        g = self.gate()
        w = self.limited(g, "max: 1, queue: 9, max_wait: 60s", 2, route=", filters: [timeout]")
        holder, = self.send(w, [get("/1")])
        g.wait(1)
        r = w.ask(headers=[("X-Request-Timeout", "200")])
        self.assertEqual((r.status, r.json()["reason"]), (504, "total_timeout"))
        self.assertGreaterEqual(w.wait_log(status=504)[0]["waited_ms"], 199)
        self.assertEqual((self.count(w, "waiting"), len(g.seen)), (0, 1))
        g.open()
        self.assertEqual(holder.read_response().status, 200)


class ByKey(Slots):
    def each_has_its_own(self, workers):
        g = self.gate()
        w = self.limited(g, "max: 2, queue: 1, max_wait: 60s, key: \"header:x-api-key\"", workers)
        peers = self.send(w, [get(key=k) for k in "aabb"])
        g.wait(4)
        peers += self.send(w, [get(key="a")])
        self.wait_waiting(w, 1)
        for _ in range(3):
            r = w.ask(headers=[("X-Api-Key", "a")])
            self.assertEqual((r.status, r.json()["reason"], r.json()["policy"]), (429, "concurrency_limited", "c"))
            self.assertGreaterEqual(int(r.get("retry-after-ms")), 1)
            self.assertGreaterEqual(int(r.get("retry-after")), 1)
        peers += self.send(w, [get(key="c"), get()])
        g.wait(6)
        page = scrape(w)
        self.assertEqual([page.sum("concurrency_" + n) for n in ("in_flight", "waiting", "keys", "max")], [6, 1, 4, 2])
        r = ask(w.admin, "/limits?instance=c&key=a").json()["limits"][0]["key"][0]
        self.assertEqual(r, {"by": "header:x-api-key", "in_flight": 2, "waiting": 1, "max": 2})
        self.assertEqual(w.ask(headers=[("X-Api-Key", "a"), ("X-Api-Key", "b")]).json()["reason"], "ambiguous_key")
        g.open()
        self.assertEqual([p.read_response().status for p in peers], [200] * 7)
        for p in peers:
            p.close()
        self.wait_idle(w, GAUGES + ("concurrency_keys",))

    def test_one_worker(self):
        self.each_has_its_own(1)

    def test_four_workers(self):
        self.each_has_its_own(4)

    def test_two_limits(self):
        """One for each key in front of one for all: who waits for the second has his slot of the first."""
        g = self.gate()
        w = self.proxy(g, top="workers: 2",
                       up=", filters: [{concurrency: {name: each, max: 2, queue: 0, key: \"header:x-api-key\"}},"
                          " {concurrency: {name: all, max: 3, max_wait: 60s}}]")
        peers = self.send(w, [get(key=k) for k in "aabb"])
        g.wait(3)
        wait_until("one to wait", lambda: scrape(w).sum("concurrency_waiting", instance="all") == 1)
        self.assertEqual(scrape(w).by("concurrency_in_flight", "instance"), {"each": 4, "all": 3})
        r = w.ask(headers=[("X-Api-Key", "a")])
        self.assertEqual((r.status, r.json()["policy"]), (429, "each"))
        g.open()
        self.assertEqual([p.read_response().status for p in peers], [200] * 4)
        for p in peers:
            p.close()
        self.wait_idle(w)

    def test_pressed(self):
        """Many keys and callers on four workers: none has more than its 2, all are served."""
        g = self.gate()
        w = self.limited(g, "max: 2, queue: 99, max_wait: 60s, key: \"header:x-api-key\"", 4)
        keys = ["k%d" % (n % 8) for n in range(64)]
        peers = self.send(w, [get(key=k) for k in keys])
        g.wait(16)
        self.wait_waiting(w, 48)
        while len(g.seen) < 64:
            there = [v.key for v in g.wait(16)]
            self.assertEqual({there.count(k) for k in set(there)}, {2})
            n = len(g.seen)
            g.release()
            g.wait_seen(n + 1)
        g.open()
        self.assertEqual([p.read_response().status for p in peers], [200] * 64)
        for p in peers:
            p.close()
        self.wait_idle(w, GAUGES + ("concurrency_keys",))


class Fair(Slots):
    def louder(self, workers):
        """One key asks for 60, another for 20 when those wait already: each gets every second slot until the 20 are served."""
        g = self.gate()
        w = self.limited(g, "max: 2, queue: 100, max_wait: 60s, fair_by: \"header:x-api-key\"", workers)
        loud = self.send(w, [get(key="loud")] * 60)
        g.wait(2)
        self.wait_waiting(w, 58)
        polite = self.send(w, [get(key="polite")] * 20)
        self.wait_waiting(w, 78)
        for n in range(2, 42):
            g.release()
            g.wait_seen(n + 1)
        order = [v.key for v in g.seen[2:42]]
        self.assertEqual((order.count("loud"), order.count("polite")), (20, 20), order)
        for i in range(0, 40, 2):
            self.assertEqual(set(order[i:i + 2]), {"loud", "polite"}, order)
        g.open()
        self.assertEqual({p.read_response().status for p in loud + polite}, {200})
        self.assertEqual(g.most, 2)

    def test_one_worker(self):
        self.louder(1)

    def test_two_workers(self):
        self.louder(2)

    def test_four_workers(self):
        self.louder(4)

    def test_thirty_times_louder(self):
        """The loud key asks for 60 and fills the queue, the polite one for 2: these take the places of two of the loud one's,
        and are served in their turn."""
        g = self.gate()
        w = self.limited(g, "max: 2, queue: 40, max_wait: 60s, fair_by: \"header:x-api-key\"", 2)
        loud = self.send(w, [get(key="loud")] * 60)
        g.wait(2)
        wait_until("18 to be refused", lambda: self.refused(w)["queue_full"] == 18)
        polite = self.send(w, [get(key="polite")] * 2)
        wait_until("two to be put out", lambda: self.refused(w)["queue_full"] == 20)
        self.assertEqual(self.count(w, "waiting"), 40)
        for n in range(4):
            g.release()
            g.wait_seen(3 + n)
        self.assertEqual(sorted(v.key for v in g.seen[2:6]), ["loud", "loud", "polite", "polite"])
        g.open()
        self.assertEqual([p.read_response().status for p in polite], [200, 200])
        got = [p.read_response() for p in loud]
        self.assertEqual([r.status for r in got].count(200), 40)
        self.assertEqual({r.json()["reason"] for r in got if r.status != 200}, {"queue_full"})

    def test_classes(self):
        """Who is of a higher class goes first; a share of the slots is kept for it."""
        g = self.gate()
        w = self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
workers: 2
upstreams:
  api:
    endpoints: ["%s"]
    filters: [{concurrency: {name: c, max: 4, queue: 20, max_wait: 60s, reserve: {high: 25%%}, priority: {routes: {/high: high},
               header: x-class, trusted: [127.0.0.3]}}}]
routes: [{match: /high, upstream: api}, {match: /normal, upstream: api}]
""" % g.url)
        peers = self.send(w, [get("/normal")] * 6)
        g.wait(3)
        self.wait_waiting(w, 3)
        peers += self.send(w, [get("/high")] * 3)
        g.wait(4)
        self.wait_waiting(w, 5)
        peers += self.send(w, [get("/normal", fields=[("X-Class", "critical")])])      # not believed
        self.wait_waiting(w, 6)
        trusted = Crowd(w.port, 1, "127.0.0.3")
        self.addCleanup(trusted.close)
        trusted.send([get("/normal", fields=[("X-Class", "critical")])])
        self.wait_waiting(w, 7)
        for n in range(3):
            g.release()
            g.wait_seen(5 + n)
        order = [(v.request.target, v.request.get("x-class")) for v in g.seen[3:]]
        self.assertEqual(order, [("/high", None), ("/normal", "critical"), ("/high", None), ("/high", None)])
        g.release()                          # of four slots normal ones may use three, and three are taken
        g.wait(3)
        wait_until("the slot to be free", lambda: self.count(w, "in_flight") == 3)
        self.assertEqual((self.count(w, "waiting"), len(g.seen)), (4, 7))
        g.release()
        g.wait_seen(8)
        self.assertEqual(g.seen[7].request.target, "/normal")
        g.open()
        self.assertEqual({r.status for r in [p.read_response() for p in peers] + trusted.read(1)}, {200})


class Gone(Slots):
    """Clients that leave at every point of their request's way, and what is left of their slots."""

    def leave(self, peers):
        for n, p in enumerate(peers):
            if n % 2:
                p.reset()
            else:
                p.close()

    def in_the_queue(self, workers):
        g = self.gate()
        w = self.limited(g, "max: 3, queue: 60, max_wait: 60s, fair_by: \"header:x-api-key\"", workers)
        holders = self.send(w, [get("/holder", key="a")] * 3)
        g.wait(3)
        waiters = self.send(w, [get("/waiter", key="ab"[n % 2]) for n in range(40)])
        self.wait_waiting(w, 40)
        staying = self.send(w, [get("/stays", key="c")] * 2)
        self.wait_waiting(w, 42)
        self.leave(waiters)
        self.wait_waiting(w, 2)
        g.release(2)
        g.wait_seen(5)
        self.assertEqual([v.request.target for v in g.seen], ["/holder"] * 3 + ["/stays"] * 2)
        g.open()
        self.assertEqual({p.read_response().status for p in holders + staying}, {200})
        for p in holders + staying:
            p.close()
        self.check_whole(w, g, 3)
        self.assertEqual(g.most, 3)
        w.wait_log(40, reason="client_gone")

    def test_in_the_queue(self):
        self.in_the_queue(1)

    def test_in_the_queue_on_four_workers(self):
        self.in_the_queue(4)

    def at_the_upstream(self, workers):
        """Before a byte of the answer, and in the middle of it: the slot goes on to the next one, and the upstream never has
        one more than it may, for the connection is closed first."""
        g = self.gate()
        w = self.limited(g, "max: 3, queue: 60, max_wait: 60s", workers)
        for started in (False, True):
            targets = ["/%d" % n for n in range(30)]
            before = len(g.seen)
            peers = dict(zip(targets, self.send(w, [get(t) for t in targets])))
            while peers:
                visits = g.wait(3)
                if started:
                    for v in visits:
                        g.start(v, 100000)
                        self.assertEqual(peers[v.request.target].read_response(body=False).status, 200)
                seen = len(g.seen)
                self.leave([peers.pop(v.request.target) for v in visits])
                g.wait_seen(min(seen + 3, before + 30))
            self.wait_idle(w)
        self.check_whole(w, g, 3)
        self.assertEqual(g.most, 3)
        w.wait_log(60, reason="client_gone")

    def test_at_the_upstream(self):
        self.at_the_upstream(1)

    def test_at_the_upstream_on_four_workers(self):
        self.at_the_upstream(4)

    def test_before_anything_is_read(self):
        """A request and the end of its connection arrive together; some with half a head alone."""
        g = self.gate()
        w = self.limited(g, "max: 3, queue: 60, max_wait: 60s", 2)
        for n in range(120):
            p = w.dial()
            p.send(get() if n % 3 else get()[:20])
            if n % 2:
                p.reset()
            else:
                p.close()
        self.wait_idle(w)
        self.check_whole(w, g, 3)
        self.assertEqual(g.most, 3)

    def chaos(self, workers):
        """Whoever leaves whenever, in front of an upstream that answers slowly, in pieces, not at all, or hangs up itself."""
        m = self.mock()
        w = self.limited(m, "max: 4, queue: 30, max_wait: 40ms, fair_by: \"header:x-api-key\"", workers,
                         route=", filters: [timeout]")
        paths = ["/delay/2/10", "/delay/5/100000", "/sse/5/2", "/drop", "/status/500", "/bytes/1000000", "/hang"]
        rng = random.Random(workers)
        under_way = []
        for n in range(400):
            path = rng.choice(paths)
            fields = [("X-Request-Timeout", "%dms" % rng.randint(1, 60))] if rng.random() < 0.3 or path == "/hang" else []
            p = w.dial()
            p.send(get(path, "k%d" % rng.randint(0, 3), fields))
            under_way.append(p)
            if len(under_way) > 25:
                self.leave_somehow(under_way.pop(rng.randrange(len(under_way))), rng)
        for p in under_way:
            self.leave_somehow(p, rng)
        self.wait_idle(w)
        wait_until("the upstream to be left", lambda: m.stats()["in_flight"] == 0)
        page = scrape(w)
        ended = page.sum("concurrency_entered_total") + page.sum("concurrency_refused_total")
        self.assertGreater(ended, 100)
        ask(m.port, "/reset")
        crowd = Crowd(w.port, 4)
        for r in crowd.ask([get("/delay/100/1")] * 4):
            self.assertEqual(r.status, 200)
        self.assertEqual(m.stats()["max_in_flight"], 4)
        crowd.close()
        self.wait_idle(w)

    def leave_somehow(self, p, rng):
        how = rng.randrange(4)
        if how == 0:
            p.reset()
            return
        if how == 1:
            p.sock.settimeout(0.02)
            try:
                p.read_response(body=rng.random() < 0.5)
            except (Closed, AssertionError):
                pass
        p.close()

    def test_chaos(self):
        self.chaos(1)

    def test_chaos_on_four_workers(self):
        self.chaos(4)


class Ends(Slots):
    def test_the_upstream_dies_and_comes_back(self):
        """Killed with requests in flight and in the queue, twice: everybody is answered, and all slots are there again."""
        port = free_port()
        w = self.limited("http://127.0.0.1:%d" % port, "max: 4, queue: 40, max_wait: 60s", 2)
        for path in ("/hang", "/sse/100/50"):
            m = self.mock("--listen", "127.0.0.1:%d" % port)
            wait_until("the mock to listen", lambda: connects(port))
            peers = self.send(w, [get(path)] * 20)
            wait_until("it to be full", lambda: m.stats()["in_flight"] == 4)
            self.wait_waiting(w, 16)
            m.signal(signal.SIGKILL)
            m.wait()
            answered = [self.answer_of(p) for p in peers]
            self.assertEqual(set(answered) | {"cut"}, {502, "cut"})
            self.assertGreaterEqual(answered.count(502), 20 if path == "/hang" else 16)
            for p in peers:
                p.close()
            self.wait_idle(w)
        g = self.gate(port=port)
        self.check_whole(w, g, 4)
        self.assertEqual(g.most, 4)

    def answer_of(self, p):
        """A status, or that it was cut in the middle."""
        try:
            return p.read_response().status
        except Closed:
            return "cut"

    def test_who_waits_is_served_while_weir_drains(self):
        g = self.gate()
        w = self.limited(g, "max: 1, queue: 10, max_wait: 60s", 2, top="drain: {timeout: 60s}")
        peers = self.send(w, [get()] * 5)
        g.wait(1)
        self.wait_waiting(w, 4)
        w.signal(signal.SIGTERM)
        wait_until("/readyz to say 503", lambda: ask(w.admin, "/readyz").status == 503)
        self.assertEqual(self.count(w, "waiting"), 4)
        g.open()
        for p in peers:
            r = p.read_response()
            self.assertEqual((r.status, r.get("connection", "").lower()), (200, "close"))
            self.assertTrue(p.ended())
        self.assertEqual(w.wait(), 0)
        self.assertEqual(g.most, 1)

    def test_who_waits_too_long_is_cut_with_the_rest(self):
        g = self.gate()
        w = self.limited(g, "max: 1, queue: 10, max_wait: 60s", 2, top="drain: {timeout: 200ms}")
        peers = self.send(w, [get()] * 5)
        g.wait(1)
        self.wait_waiting(w, 4)
        w.signal(signal.SIGTERM)
        for p in peers:
            self.assertIn(self.answer_of(p), (503, "cut"))
        self.assertEqual(w.wait(), 3)
        self.assertEqual(g.most, 1)


if __name__ == "__main__":
    main()
