# SPDX-License-Identifier: Apache-2.0
"""Token buckets over real sockets: who shares one, how many pass, what is said to whom.

Where a count is asserted to the request the rate is 1/h, so that no token comes while the test runs; where a rate is
asserted, it is by bounds over time that was measured.
"""

import math
import re
import time

from crowd import Crowd, workers_of
from harness import Case, ask, main, request_bytes, wait_until
from scrape import scrape

BURST = 10
QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"
TOP = """version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
trusted_proxies: [127.0.0.1]
"""

# What limits, then groups of requests that share one bucket, each written as (path, header fields, where it comes from).
KEYS = [
    ('"header:x-api-key"', [
        [("/x", [("X-Api-Key", "a")], 1), ("/x", [("x-api-key", "  a ")], 2)],
        [("/x", [("X-Api-Key", "A")], 1)],
        [("/x", [], 2), ("/x", [("X-Api-Key", "")], 2)]]),
    ('"header:authorization"', [
        [("/x", [("Authorization", "Bearer a")], 1), ("/x", [("authorization", "bearer   a")], 2)],
        [("/x", [("Authorization", "Bearer b")], 1)]]),
    ("client_ip", [
        [("/x", [], 2), ("/x", [("X-Forwarded-For", "192.0.2.1")], 2)],
        [("/x", [], 3)],
        [("/x", [("X-Forwarded-For", "192.0.2.1")], 1), ("/x", [("X-Forwarded-For", "6.6.6.6, 192.0.2.1")], 1)],
        [("/x", [("X-Forwarded-For", "2001:db8::1")], 1), ("/x", [("X-Forwarded-For", "2001:db8::ffff:0:2")], 1)],
        [("/x", [("X-Forwarded-For", "2001:db8:0:1::1")], 1)]]),
    ('"cookie:session"', [
        [("/x", [("Cookie", "session=a; theme=x")], 1), ("/x", [("Cookie", "theme=y; session=a")], 2),
         ("/x", [("Cookie", 'session="a"')], 1), ("/x", [("Cookie", "session=%61")], 2)],
        [("/x", [("Cookie", "session=b")], 1)],
        [("/x", [("Cookie", "sessions=b")], 3)]]),
    ('"query:user"', [
        [("/x?user=ab", [], 1), ("/x?x=1&user=a%62", [], 2)],
        [("/x?user=c", [], 1)]]),
    ('"param:id"', [
        [("/7", [], 1), ("/7?x", [], 2), ("/%37", [], 3)],
        [("/8", [], 1)]]),
    ("host", [
        [("/x", [("Host", "a.example")], 1), ("/x", [("Host", "A.Example:80")], 2)],
        [("/x", [("Host", "b.example")], 1)]]),
    ('"header:x-api-key + client_ip"', [
        [("/x", [("X-Api-Key", "a")], 2)],
        [("/x", [("X-Api-Key", "a")], 3)],
        [("/x", [("X-Api-Key", "b")], 2)],
        [("/x", [], 2)]]),
    ('["header:x-api-key", "cookie:session"]', [
        [("/x", [("X-Api-Key", "a"), ("Cookie", "session=a")], 1), ("/x", [("X-Api-Key", "a")], 2)],
        [("/x", [("Cookie", "session=a")], 1)],
        [("/x", [], 3)]]),
    ("all", [
        [("/x", [("X-Api-Key", "a")], 1), ("/x", [("Host", "b.example")], 2), ("/x?user=c", [], 3)]]),
]


def limited(up, filters, workers=1, defined="{}"):
    """Weir's configuration: routes /0/:id, /1/:id ... with one list of filters each, in front of the mock."""
    head = "workers: %d\ndefine: %s\nupstreams: {api: {endpoints: [\"%s\"]}}\nroutes:\n" % (workers, defined, up.url)
    route = "  - {match: \"/%d/:id\", upstream: api, rewrite: {path: /bytes/1}, filters: [%s]}\n"
    return TOP + head + "".join(route % row for row in enumerate(filters))


def define(buckets):
    """{name: options} as YAML."""
    return "".join("\n  %s: {token_bucket: {%s}}" % row for row in buckets.items())


def get(path, fields=(), key=None):
    fields = list(fields) + ([("X-Api-Key", key)] if key else [])
    host = dict(fields).get("Host", "test.example")
    return request_bytes(path=path, headers=[f for f in fields if f[0] != "Host"], host=host)


class Buckets(Case):
    def bucket(self, options, workers=1, name="b"):
        """Weir with one named bucket on everything; the mock behind it."""
        self.up = self.mock()
        return self.weir(limited(self.up, [name], workers, define({name: options})))

    def crowd(self, weir, n, source="127.0.0.1"):
        c = Crowd(weir.port, n, source)
        self.addCleanup(c.close)
        return c

    def decisions(self, weir, instance="b"):
        return scrape(weir).by("token_bucket_requests_total", "decision", instance=instance)


class Keys(Buckets):
    def of_all(self, workers):
        """Every kind of key, everybody at once on connections to all workers: exactly the burst of each bucket passes."""
        up = self.mock()
        buckets = {"k%d" % i: "rate: 1/h, burst: %d, key: %s" % (BURST, key) for i, (key, _) in enumerate(KEYS)}
        w = self.weir(limited(up, list(buckets), workers, define(buckets)))
        crowds = {n: self.crowd(w, 8 * workers, "127.0.0.%d" % n) for n in (1, 2, 3)}
        groups = [(i, key, group) for i, (key, all_groups) in enumerate(KEYS) for group in all_groups]
        sent = {n: [] for n in crowds}
        for turn in range(3 * BURST):
            for number, (i, _, group) in enumerate(groups):
                path, fields, source = group[turn % len(group)]
                sent[source].append((number, get("/%d%s" % (i, path), fields)))
        for n, crowd in crowds.items():
            crowd.send([raw for _, raw in sent[n]])
        passed = [0] * len(groups)
        for n, crowd in crowds.items():
            for (number, _), r in zip(sent[n], crowd.read(len(sent[n]))):
                self.assertIn(r.status, (200, 429), r.raw)
                passed[number] += r.status == 200
        self.assertEqual(passed, [BURST] * len(groups), [(key, group) for _, key, group in groups])
        self.assertEqual(up.stats()["requests"], BURST * len(groups))
        wait_until("the log", lambda: len(w.log()) == 3 * BURST * len(groups))
        self.assertEqual(workers_of(w), set(range(workers)))
        page = scrape(w)
        for i, (_, key_groups) in enumerate(KEYS):
            counted = page.by("token_bucket_requests_total", "decision", instance="k%d" % i)
            self.assertEqual((counted["allowed"], counted["refused"]), (BURST * len(key_groups), 2 * BURST * len(key_groups)))
            self.assertEqual(page.get("token_bucket_keys", instance="k%d" % i, mode="enforce"), len(key_groups))

    def test_one_worker(self):
        self.of_all(1)

    def test_two_workers(self):
        self.of_all(2)

    def test_four_workers(self):
        self.of_all(4)

    def test_by_route(self):
        """One bucket's name on two routes: with `key: route` one for each, else one for both."""
        w = self.weir(limited(self.mock(), ["r, x", "r, x", "x"], 1, define(
            {"r": "rate: 1/h, burst: 4, key: route", "x": "rate: 1/h, burst: 7, key: all"})))
        got = [[w.ask("/%d/x" % i).status for _ in range(5)].count(200) for i in range(3)]
        self.assertEqual(got, [4, 3, 0])

    def test_ambiguous_keys_are_refused(self):
        buckets = {"k%d" % i: "rate: 1/h, burst: 5, key: \"%s\"" % key
                   for i, key in enumerate(["header:x-api-key", "cookie:session", "query:user"])}
        w = self.weir(limited(self.mock(), list(buckets), 1, define(buckets)))
        cases = [("/0/x", [("X-Api-Key", "a"), ("X-Api-Key", "b")]), ("/0/x", [("X-Api-Key", "a"), ("x-api-key", "a")]),
                 ("/0/x", [("X-Api-Key", "a"), ("X_Api_Key", "b")]), ("/0/x", [("X_Api_Key", "b")]),
                 ("/1/x", [("Cookie", "session=a; session=b")]), ("/1/x", [("Cookie", "session=a"), ("Cookie", "session=b")]),
                 ("/2/x?user=a&user=b", []), ("/2/x?user=a&%75ser=b", [])]
        for path, fields in cases:
            r = w.ask(path, headers=fields)
            self.assertEqual((r.status, r.json()["reason"]), (400, "ambiguous_key"), (path, fields))
            self.assertIsNone(r.get("retry-after"))
        lines = w.wait_log(len(cases), reason="ambiguous_key")
        self.assertEqual([l["policy"] for l in lines], ["k0"] * 4 + ["k1"] * 2 + ["k2"] * 2)
        for i in range(3):
            counted = self.decisions(w, "k%d" % i)
            self.assertEqual((counted["ambiguous"], counted["allowed"]), ([4, 2, 2][i], 0))
        self.assertEqual(w.ask("/0/x", headers=[("X-Api-Key", "a")]).status, 200)


class Rate(Buckets):
    def over_time(self, workers):
        """Pressed for a second, a bucket lets through its burst and its rate, no more and hardly less."""
        rate = burst = 60
        w = self.bucket("rate: %d/s, burst: %d, key: all, headers: false" % (rate, burst), workers)
        crowd = self.crowd(w, 16)
        wave, passed, lost = [get("/0/x")] * 16, 0, 0.0
        began = time.monotonic()
        first = last = None              # answers to the first wave; sending of a wave that met an empty bucket
        while True:
            sent = time.monotonic()
            if first:
                lost += max(0.0, sent - last_sent - burst / rate)       # the bucket may have been full meanwhile
            last_sent = sent
            got = [r.status for r in crowd.ask(wave)]
            now = time.monotonic()
            first = first or now
            self.assertLessEqual(set(got), {200, 429})
            passed += got.count(200)
            self.assertLessEqual(passed, burst + rate * (now - began), "after %g s" % (now - began))
            if 429 in got:
                last = sent
            if now - began > 1 and last == sent:
                break
            time.sleep(0.02)
        self.assertGreaterEqual(passed, burst - 1 + rate * (last - first - lost - 0.25))
        self.assertEqual(self.up.stats()["requests"], passed)
        counted = self.decisions(w)
        self.assertEqual(counted["allowed"], passed)

    def test_one_worker(self):
        self.over_time(1)

    def test_two_workers(self):
        self.over_time(2)

    def test_four_workers(self):
        self.over_time(4)

    def test_who_waits_as_long_as_he_is_told_passes(self):
        w = self.bucket("rate: 5/s, burst: 1, key: all", workers=2)
        crowd = self.crowd(w, 8)
        self.assertEqual([r.status for r in crowd.ask([get("/0/x")] * 8)].count(200), 1)
        for _ in range(3):
            r = crowd.ask([get("/0/x")])[0]
            if r.status == 200:          # the machine was away for a while
                continue
            ms = int(r.get("retry-after-ms"))
            self.assertTrue(1 <= ms <= 220, ms)
            time.sleep(ms / 1000)
            self.assertEqual([r.status for r in crowd.ask([get("/0/x")] * 8)].count(200), 1)

    def test_cost(self):
        w = self.bucket("rate: 1/h, burst: 12, cost: 5, key: all", workers=2)
        got = self.crowd(w, 8).ask([get("/0/x")] * 8)
        self.assertEqual([r.status for r in got].count(200), 2)
        self.assertEqual({r.get("ratelimit").split(";")[1] for r in got if r.status == 429}, {"r=2"})

    def test_delay_shapes(self):
        """With `delay` all pass, each at its time: at the upstream they stay below burst + rate * t."""
        rate, burst, n = 20, 2, 14
        w = self.bucket("rate: %d/s, burst: %d, key: all, delay: 10s" % (rate, burst), workers=2)
        crowd = self.crowd(w, n)
        began = time.monotonic()
        crowd.send([get("/0/x")] * n)
        for i, (at, r) in enumerate(crowd.read_as_they_come()):
            self.assertEqual(r.status, 200)
            self.assertLessEqual(i + 1, burst + rate * (at - began))
        lines = w.wait_log(n, status=200)
        waited = [l for l in lines if "waited_ms" in l]
        counted = self.decisions(w)
        self.assertEqual((counted["allowed"] + counted["delayed"], counted["delayed"], counted["refused"]), (n, len(waited), 0))
        self.assertGreater(len(waited), 0)
        for line in waited:
            self.assertTrue(0 < line["waited_ms"] <= line["duration_ms"], line)

    def test_delay_has_an_end(self):
        """A wait of 1 s for the second one, of 2 s for the third: whom that is too long is told so, and charged nothing."""
        w = self.bucket("rate: 1/s, burst: 1, key: all, delay: 1s", workers=2)
        crowd = self.crowd(w, 6)
        began = time.monotonic()
        got = crowd.ask([get("/0/x")] * 6)
        took = time.monotonic() - began
        passed = [r.status for r in got].count(200)
        self.assertTrue(2 <= passed <= 2 + took, (passed, took))
        for r in got:
            if r.status == 429:
                self.assertTrue(0 < int(r.get("retry-after-ms")) <= 2200, r.raw)
        self.assertEqual(self.up.stats()["requests"], passed)


class Answers(Buckets):
    def test_a_refusal(self):
        w = self.bucket("rate: 2/h, burst: 3, key: \"header:x-api-key\"", name="per_key")
        began = time.monotonic()
        got = [w.ask("/0/x", headers=[("X-Api-Key", "a")]) for _ in range(24)]
        took = time.monotonic() - began
        self.assertEqual([r.status for r in got], [200] * 3 + [429] * 21)
        for left, r in zip((2, 1, 0), got):
            self.assertEqual(r.get("ratelimit-policy"), '"per_key";q=3;w=5400')
            m = re.match(r'"per_key";r=(\d+);t=(\d+)\Z', r.get("ratelimit"))
            self.assertEqual(int(m.group(1)), left)
            self.assertTrue((3 - left) * 1800 - took <= int(m.group(2)) <= (3 - left) * 1800, m.group(0))
            self.assertEqual((r.all("retry-after"), r.all("retry-after-ms")), ([], []))
        waits = set()
        for r in got[3:]:
            ms = int(r.get("retry-after-ms"))
            self.assertTrue((1800 - took) * 1000 <= ms <= 1980 * 1000, ms)
            self.assertEqual(int(r.get("retry-after")), math.ceil(ms / 1000))
            self.assertEqual(r.get("ratelimit-policy"), '"per_key";q=3;w=5400')
            self.assertRegex(r.get("ratelimit"), r'\A"per_key";r=0;t=\d+\Z')
            self.assertEqual(r.get("content-type"), "application/problem+json")
            problem = r.json()
            self.assertEqual({k: problem[k] for k in ("type", "title", "status", "reason", "policy", "retry_after_ms")},
                             {"type": QUOTA, "title": "Too Many Requests", "status": 429, "reason": "rate_limited",
                              "policy": "per_key", "retry_after_ms": ms})
            self.assertTrue(problem["detail"])
            waits.add(ms)
        self.assertGreater(len(waits), 10)      # they do not all come back at the same time
        lines = w.wait_log(21, reason="rate_limited", status=429)
        self.assertEqual({l["policy"] for l in lines}, {"per_key"})
        self.assertNotIn("policy", w.wait_log(3, status=200)[0])

    def test_a_head_request_is_refused_without_a_body(self):
        w = self.bucket("rate: 1/h, burst: 1, key: all")
        with w.dial() as p:
            for status in (200, 429, 429):
                p.send(request_bytes("HEAD", "/0/x"))
                self.assertEqual(p.read_response("HEAD").status, status)

    def test_the_request_id_is_in_it(self):
        w = self.weir(limited(self.mock(), ["request_id, {token_bucket: {rate: 1/h, burst: 1, key: all}}"]))
        w.ask("/0/x")
        r = w.ask("/0/x")
        line = w.wait_log(status=429)[0]
        self.assertEqual((r.json()["request_id"], r.get("x-request-id")), (line["id"], line["id"]))

    def test_without_headers(self):
        w = self.bucket("rate: 1/h, burst: 1, key: all, headers: false")
        r = w.ask("/0/x")
        self.assertEqual((r.status, r.all("ratelimit"), r.all("ratelimit-policy")), (200, [], []))
        r = w.ask("/0/x")
        self.assertEqual((r.status, len(r.all("ratelimit")), r.get("ratelimit-policy")), (429, 1, '"b";q=1;w=3600'))

    def test_windows(self):
        """q is what comes in w, and w what fills the bucket, a second at least."""
        rows = [("100/s, burst: 50", "q=100;w=1"), ("100/s, burst: 150", "q=200;w=2"), ("6000/min, burst: 100", "q=100;w=1"),
                ("10/h, burst: 5", "q=5;w=1800"), ("100/s", "q=100;w=1"), ("1/s", "q=1;w=1")]
        buckets = {"b%d" % i: "key: all, rate: " + rate for i, (rate, _) in enumerate(rows)}
        w = self.weir(limited(self.mock(), list(buckets), 1, define(buckets)))
        for i, (_, wanted) in enumerate(rows):
            self.assertEqual(w.ask("/%d/x" % i).get("ratelimit-policy"), '"b%d";%s' % (i, wanted))


class Several(Buckets):
    DEFINE = define({"per_key": 'rate: 2/h, burst: 5, key: "header:x-api-key"', "total": "rate: 1/h, burst: 8, key: all"})

    def of_a_key(self, w, instance, key):
        limits = ask(w.admin, "/limits?instance=%s&key=%s" % (instance, key)).json()["limits"]
        return {row["by"]: row["left"] for row in limits[0]["key"]}

    def test_the_tighter_one_counts(self):
        up = self.mock()
        w = self.weir(limited(up, ["per_key, total"], 1, self.DEFINE))
        with w.dial() as p:
            def ask_as(key, n):
                for _ in range(n):
                    p.send(get("/0/x", key=key))
                return [p.read_response() for _ in range(n)]
            a, b = ask_as("a", 7), ask_as("b", 7)
        self.assertEqual([r.status for r in a], [200] * 5 + [429] * 2)
        self.assertEqual([r.status for r in b], [200] * 3 + [429] * 4)
        self.assertEqual([r.split(";")[0] for r in a[0].all("ratelimit")], ['"total"', '"per_key"'])
        self.assertEqual({r.json()["policy"] for r in a[5:]}, {"per_key"})
        # What the first one took came back when the second refused.
        self.assertEqual({r.json()["policy"] for r in b[3:]}, {"total"})
        self.assertEqual(self.of_a_key(w, "per_key", "b")["header:x-api-key"], 2)
        self.assertEqual(self.decisions(w, "per_key")["refunded"], 4)
        # When both refuse, the longer wait is told.
        r = w.ask("/0/x", headers=[("X-Api-Key", "a")])
        self.assertEqual((r.json()["policy"], r.get("ratelimit").split(";")[0]), ("total", '"total"'))
        self.assertGreater(int(r.get("retry-after")), 3500)
        self.assertEqual(up.stats()["requests"], 8)

    def at_once(self, workers):
        """Never more than either allows, whoever is refused by whom; and in the end all of it."""
        up = self.mock()
        w = self.weir(limited(up, ["per_key, total"], workers, self.DEFINE))
        crowd = self.crowd(w, 24)
        keys = ["abcd"[i % 4] for i in range(48)]
        passed = {k: 0 for k in "abcd"}
        for _ in range(3):
            for key, r in zip(keys, crowd.ask([get("/0/x", key=k) for k in keys])):
                passed[key] += r.status == 200
        self.assertEqual(sum(passed.values()), 8, passed)
        self.assertLessEqual(max(passed.values()), 5)
        for key, n in passed.items():
            self.assertEqual(self.of_a_key(w, "per_key", key)["header:x-api-key"], 5 - n)

    def test_at_once_on_two_workers(self):
        self.at_once(2)

    def test_at_once_on_four_workers(self):
        self.at_once(4)

    def test_a_listeners_bucket_is_before_the_routes(self):
        yaml = limited(self.mock(), ["route_0", "route_1"], 1, define(
            {"route_0": "rate: 1/h, burst: 2, key: all", "route_1": "rate: 1/h, burst: 9, key: all",
             "listener": "rate: 1/h, burst: 4, key: all"}))
        w = self.weir(yaml.replace("listen: 127.0.0.1:@PORT@", "listen: {at: \"127.0.0.1:@PORT@\", filters: [listener]}"))
        got = [w.ask("/0/x") for _ in range(3)] + [w.ask("/1/x") for _ in range(3)]
        self.assertEqual([r.status for r in got], [200, 200, 429, 200, 200, 429])
        self.assertEqual([got[2].json()["policy"], got[5].json()["policy"]], ["route_0", "listener"])

    def test_what_weir_refuses_is_not_charged(self):
        """A 503 because the upstream is full gives the token back; a 502 of an upstream that was asked does not."""
        up = self.mock()
        yaml = limited(up, ["b"], 1, define({"b": "rate: 1/h, burst: 9, key: all"}))
        w = self.weir(yaml.replace("]}}\nroutes:", "], filters: [{concurrency: {max: 1, queue: 0}}]}}\nroutes:").replace(
            "rewrite: {path: /bytes/1}", "rewrite: {path: \"/:id\"}"))
        self.assertEqual(w.ask("/0/drop").status, 502)
        with w.dial() as p:
            p.send(get("/0/hang"))
            wait_until("it to hang", lambda: up.stats()["in_flight"] == 1)
            for _ in range(4):
                r = w.ask("/0/stats")
                self.assertEqual((r.status, r.json()["reason"]), (503, "queue_full"))
                self.assertEqual(r.all("ratelimit"), [])
        self.assertEqual(self.decisions(w)["refunded"], 4)
        wait_until("all to be counted", lambda: self.decisions(w)["allowed"] == 6)
        self.assertEqual(w.ask("/0/stats").get("ratelimit").split(";")[1], "r=6")


class Shadow(Buckets):
    def test_it_counts_and_lets_through(self):
        up = self.mock()
        w = self.weir(limited(up, ["trial, b"], 2, define({"trial": "rate: 1/h, burst: 3, key: all, mode: shadow",
                                                           "b": "rate: 1/h, burst: 9, key: all"})))
        got = self.crowd(w, 12).ask([get("/0/x")] * 12)
        self.assertEqual([r.status for r in got].count(200), 9)
        for r in got:
            self.assertEqual([f.split(";")[0] for f in r.all("ratelimit")], ['"b"'])
        self.assertEqual(up.stats()["requests"], 9)
        lines = w.wait_log(12)
        shadowed = [l for l in lines if "shadow" in l]
        self.assertEqual((len(shadowed), {l["shadow"] for l in shadowed}), (9, {"trial"}))
        self.assertEqual({l["policy"] for l in lines if l["status"] == 429}, {"b"})
        page = scrape(w)
        self.assertEqual(page.get("token_bucket_requests_total", instance="trial", mode="shadow", decision="refused"), 9)
        self.assertEqual(page.get("token_bucket_requests_total", instance="trial", mode="shadow", decision="allowed"), 3)

    def test_it_delays_nobody(self):
        w = self.bucket("rate: 1/h, burst: 1, key: all, delay: 1h, mode: shadow")
        self.assertEqual({w.ask("/0/x").status for _ in range(4)}, {200})
        self.assertFalse([l for l in w.wait_log(4) if "waited_ms" in l])

    def test_an_ambiguous_key_passes_it(self):
        w = self.bucket('rate: 1/h, burst: 1, key: "header:x-api-key", mode: shadow')
        self.assertEqual(w.ask("/0/x", headers=[("X-Api-Key", "a"), ("X-Api-Key", "b")]).status, 200)
        self.assertEqual(self.decisions(w)["ambiguous"], 1)


if __name__ == "__main__":
    main()
