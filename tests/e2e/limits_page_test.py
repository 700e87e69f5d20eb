# SPDX-License-Identifier: Apache-2.0
"""What weir tells about its limits: /limits, /metrics, the access log; and what it says about wrong ones."""

import json
import os
import subprocess

from crowd import Crowd
from gate import Gate
from harness import WEIR, Case, ask, main, request_bytes, wait_until
from scrape import BadPage, Page, scrape

ODD = 'od"d \\ route'
YAML = """version: 1
listen: {at: "127.0.0.1:@PORT@", filters: [everybody]}
admin: 127.0.0.1:@ADMIN@
workers: 2
trusted_proxies: [127.0.0.1]
define:
  everybody: {token_bucket: {rate: 1/h, burst: 100, key: all}}
  by_header: {token_bucket: {rate: 2/h, burst: 5, key: "header:x-api-key"}}
  by_both: {token_bucket: {rate: 1/h, burst: 4, cost: 2, key: "header:x-api-key + client_ip"}}
  by_ip: {token_bucket: {rate: 1/h, burst: 3, key: client_ip}}
  first_of: {token_bucket: {rate: 1/h, burst: 9, key: ["header:x-api-key", "query:user", client_ip]}}
  trial: {token_bucket: {rate: 1/h, burst: 1, key: all, mode: shadow}}
  unused: {token_bucket: {rate: 1/h, key: all}}
  slots: {concurrency: {max: 2, queue: 1, max_wait: 60s, fair_by: "header:x-api-key"}}
  own_slots: {concurrency: {max: 1, queue: 0, key: ["header:x-api-key", client_ip]}}
upstreams:
  api: {endpoints: ["@GATE@"], filters: [slots]}
  own: {endpoints: ["@GATE@"], filters: [own_slots]}
routes:
  - {match: /header, upstream: api, filters: [by_header, trial]}
  - {match: /both, respond: {body: x}, filters: [by_both]}
  - {match: /ip, respond: {body: x}, filters: [by_ip]}
  - {match: /first, respond: {body: x}, filters: [first_of]}
  - {match: /own, upstream: own}
  - {match: /odd, name: %s, respond: {body: x}, filters: [{token_bucket: {rate: 1/h, burst: 2, key: all}}]}
""" % json.dumps(ODD)


class Pages(Case):
    def setUp(self):
        super().setUp()
        self.gate = Gate()
        self.addCleanup(self.gate.stop)
        self.gate.open()
        self.w = self.weir(YAML.replace("@GATE@", self.gate.url))

    def limits(self, query=""):
        r = ask(self.w.admin, "/limits" + query)
        self.assertEqual((r.status, r.get("content-type")), (200, "application/json"), r.body)
        page = r.json()
        self.assertEqual(set(page), {"generation", "limits"})
        rows = {row["instance"]: row for row in page["limits"]}
        self.assertEqual(len(rows), len(page["limits"]))
        return rows

    def keys(self, instance, *values):
        """What stands for the key in one instance: {which part it would be: the rest}."""
        row = self.limits("?instance=%s&%s" % (instance, "&".join("key=" + v for v in values)))[instance]
        return {k.pop("by"): k for k in row.get("key", [])}

    def key(self, *more):
        return [("X-Api-Key", k) for k in more]


class Limits(Pages):
    def test_every_instance_is_there(self):
        rows = self.limits()
        named = {"everybody", "by_header", "by_both", "by_ip", "first_of", "trial", "slots", "own_slots"}
        inline = set(rows) - named - {"unused"}
        self.assertEqual(named - set(rows), set())
        self.assertEqual(len(inline), 1)
        self.assertIn(ODD, inline.pop())
        for name, row in rows.items():
            self.assertEqual(row["mode"], "shadow" if name == "trial" else "enforce")
            self.assertEqual(row["type"], "concurrency" if "slots" in name else "token_bucket")
        self.assertEqual(rows["by_header"]["requests_total"],
                         {"allowed": 0, "delayed": 0, "refused": 0, "ambiguous": 0, "refunded": 0})
        self.assertEqual(rows["by_header"]["evicted_in_debt_total"], 0)
        self.assertEqual({k: rows["slots"][k] for k in ("in_flight", "waiting", "max", "keys")},
                         {"in_flight": 0, "waiting": 0, "max": 2, "keys": 1})
        self.assertEqual(rows["slots"]["wait_seconds"], {"count": 0, "mean_ms": 0})
        self.assertFalse([row for row in rows.values() if "key" in row])

    def test_one_instance(self):
        self.assertEqual(set(self.limits("?instance=by_ip")), {"by_ip"})
        r = ask(self.w.admin, "/limits?instance=by_pi")
        self.assertEqual((r.status, r.get("content-type")), (404, "application/json"))
        self.assertEqual(r.json()["instance"], "by_pi")
        r = ask(self.w.admin, "/limits?instance=%22%0a%ff")
        self.assertEqual(r.status, 404)
        r.json()
        self.assertEqual(ask(self.w.admin, "/limits", "HEAD").status, 200)
        self.assertEqual(ask(self.w.admin, "/limits", "POST").status, 405)

    def test_keys_of_a_header(self):
        for n in range(3):
            self.assertEqual(self.w.ask("/header", headers=self.key("a b")).status, 200)
        a = self.keys("by_header", "a%20b")["header:x-api-key"]
        self.assertEqual((a["left"], a["burst"], a["wait_ms"]), (2, 5, 0))
        self.assertTrue(0 < a["full_ms"] <= 3 * 1800 * 1000)
        self.assertEqual(self.keys("by_header", "b")["header:x-api-key"], {"left": 5, "burst": 5, "wait_ms": 0, "full_ms": 0})
        for n in range(3):
            self.w.ask("/header", headers=self.key("a b"))
        a = self.keys("by_header", "a+b")["header:x-api-key"]
        self.assertEqual(a["left"], 0)
        self.assertTrue(0 < a["wait_ms"] <= 1800 * 1000)
        # Asking costs nothing.
        self.assertEqual(self.limits()["by_header"]["requests_total"]["refused"], 1)

    def test_keys_of_two_parts(self):
        self.assertEqual(self.w.ask("/both", headers=self.key("a")).status, 200)
        self.assertEqual(self.keys("by_both", "a", "127.0.0.1")["header:x-api-key + client_ip"]["left"], 2)
        self.assertEqual(self.keys("by_both", "a", "127.0.0.2")["header:x-api-key + client_ip"]["left"], 4)
        self.assertEqual(self.keys("by_both", "a", "nobody"), {})
        # One value alone can only be the address of one who has no such header.
        self.assertEqual(set(self.keys("by_both", "127.0.0.1")), {"client_ip"})
        self.w.ask("/both")
        self.assertEqual(self.keys("by_both", "127.0.0.1")["client_ip"]["left"], 2)

    def test_keys_of_addresses(self):
        self.w.ask("/ip")
        self.w.ask("/ip", headers=[("X-Forwarded-For", "2001:db8::7")])
        self.w.ask("/ip", headers=[("X-Forwarded-For", "2001:db8::8")])
        self.assertEqual(self.keys("by_ip", "127.0.0.1")["client_ip"]["left"], 2)
        self.assertEqual(self.keys("by_ip", "2001:db8::9")["client_ip"]["left"], 1)
        self.assertEqual(self.keys("by_ip", "2001:db8:0:1::9")["client_ip"]["left"], 3)
        self.assertEqual(self.keys("by_ip", "not-an-address"), {})

    def test_keys_of_a_list(self):
        """Which one of the list a value is, only a request could tell: each way is answered."""
        self.w.ask("/first", headers=self.key("127.0.0.1"))
        self.w.ask("/first?user=127.0.0.1")
        self.w.ask("/first?user=127.0.0.1")
        for _ in range(3):
            self.w.ask("/first")
        self.assertEqual({by: k["left"] for by, k in self.keys("first_of", "127.0.0.1").items()},
                         {"header:x-api-key": 8, "query:user": 7, "client_ip": 6})
        self.assertEqual(set(self.keys("first_of", "me")), {"header:x-api-key", "query:user"})

    def test_keys_of_slots(self):
        self.gate.shut()
        crowd = Crowd(self.w.port, 3)
        self.addCleanup(crowd.close)
        crowd.send([request_bytes(path="/own", headers=self.key("a")), request_bytes(path="/own")])
        self.gate.wait(2)
        self.assertEqual(self.keys("own_slots", "a")["header:x-api-key"], {"in_flight": 1, "waiting": 0, "max": 1})
        self.assertEqual(self.keys("own_slots", "b")["header:x-api-key"], {"in_flight": 0, "waiting": 0, "max": 1})
        self.assertEqual(self.keys("own_slots", "127.0.0.1")["client_ip"]["in_flight"], 1)
        self.assertEqual(self.limits()["own_slots"]["keys"], 2)
        self.assertEqual(self.keys("slots", "a"), {})            # it has no keys
        self.gate.open()
        self.assertEqual([r.status for r in crowd.read(2)], [200, 200])

    def test_hostile_questions(self):
        long = "&".join("key=" + "x" * 50 for _ in range(30))
        for query in ("?", "?&&&", "?key", "?key=", "?key=%", "?key=%00%ff%22", "?instance=", "?" + long, "?key=" + "%41" * 500):
            r = ask(self.w.admin, "/limits" + query)
            self.assertIn(r.status, (200, 400, 404), query)
            if r.status != 400:
                r.json()


class Metrics(Pages):
    def test_they_add_up(self):
        """Every request is in exactly the counters where it belongs."""
        sent = {"passed": 0, "refused": 0}
        for n in range(8):
            status = self.w.ask("/header", headers=self.key("a")).status
            sent["passed" if status == 200 else "refused"] += 1
        self.assertEqual(sent, {"passed": 5, "refused": 3})
        self.assertEqual(self.w.ask("/header", headers=self.key("a", "b")).status, 400)
        self.assertEqual([self.w.ask("/odd").status for _ in range(3)], [200, 200, 429])
        self.gate.shut()
        crowd = Crowd(self.w.port, 5)
        self.addCleanup(crowd.close)
        crowd.send([request_bytes(path="/header", headers=self.key("b"))] * 5)
        self.gate.wait(2)
        wait_until("two refusals", lambda: scrape(self.w).sum("concurrency_refused_total", instance="slots") == 2)
        page = scrape(self.w)
        self.assertEqual([page.sum("concurrency_" + n, instance="slots") for n in ("in_flight", "waiting", "max")], [2, 1, 2])
        self.gate.open()
        self.assertEqual(sorted(r.status for r in crowd.read(5)), [200, 200, 200, 503, 503])
        crowd.close()
        lines = self.w.wait_log(17)
        self.assertEqual(len(lines), 17)
        page = scrape(self.w)

        def bucket(instance):
            return page.by("token_bucket_requests_total", "decision", instance=instance)
        self.assertEqual(bucket("by_header"), {"allowed": 10, "delayed": 0, "refused": 3, "ambiguous": 1, "refunded": 2})
        self.assertEqual(bucket("trial"), {"allowed": 1, "delayed": 0, "refused": 9, "ambiguous": 0, "refunded": 0})
        # The listener's bucket saw all of them; what others refused with 429 or 503 it gave back.
        self.assertEqual(bucket("everybody"), {"allowed": 17, "delayed": 0, "refused": 0, "ambiguous": 0, "refunded": 6})
        self.assertEqual(page.sum("concurrency_entered_total", instance="slots"), 8)
        self.assertEqual(page.sum("concurrency_queued_total", instance="slots"), 1)
        self.assertEqual(page.get("concurrency_wait_seconds_count", instance="slots", mode="enforce"), 1)
        self.assertEqual(page.by("requests_total", "reason"), {**{r: 0 for r in page.by("requests_total", "reason")},
                         "none": 8, "replied": 2, "rate_limited": 4, "ambiguous_key": 1, "queue_full": 2})
        self.assertEqual(page.by("responses_total", "code"), {"none": 0, "1xx": 0, "2xx": 10, "3xx": 0, "4xx": 5, "5xx": 2})
        self.assertEqual(page.sum("request_duration_seconds_count"), 17)
        # The log tells the same.
        for field, value, n in (("policy", "by_header", 4), ("policy", "slots", 2), ("shadow", "trial", 9)):
            self.assertEqual(len([l for l in lines if l.get(field) == value]), n, (field, value))
        self.assertEqual(len([l for l in lines if l.get("waited_ms", 0) > 0]), 1)
        odd, = [l for l in lines if l["status"] == 429 and l["target"] == "/odd"]
        self.assertIn(ODD, odd["policy"])
        # And /limits.
        rows = self.limits()
        for name in ("by_header", "trial", "everybody"):
            self.assertEqual(rows[name]["requests_total"], bucket(name))
        self.assertEqual(rows["slots"]["refused_total"], page.by("concurrency_refused_total", "reason", instance="slots"))

    def test_names_are_escaped(self):
        page = scrape(self.w)
        odd = [dict(labels)["instance"] for name, labels in page.values if name == "weir_token_bucket_keys"]
        self.assertEqual(len([name for name in odd if ODD in name]), 1)

    def test_labels_are_bounded(self):
        """Whatever callers send, no new series comes of it."""
        before = set(scrape(self.w).values)
        for n in range(60):
            self.w.ask("/first?user=u%d" % n, headers=self.key("k%d" % n))
        page = scrape(self.w)
        self.assertEqual(set(page.values), before)
        self.assertEqual(page.sum("token_bucket_keys", instance="first_of"), 60)

    def test_the_reader_itself_is_strict(self):
        good = scrape_text(self.w)
        Page(good)
        first = good.index("# TYPE")
        for bad in (good[:-1], good + "\n", good + "# comment\n", good[first:], good + good, good + "weir_x 1\n",
                    good.replace(" counter\n", " untyped\n", 1), good.replace('mode="enforce"', 'instance="x"', 1),
                    good.replace('le="+Inf"} 0', 'le="+Inf"} 1', 1), good.replace('le="0.001"', 'le="0.0001"', 1),
                    good.replace(" 0\n", " -1\n", 1), good.replace(" 0\n", " NaN\n", 1), good.replace(" 0\n", " 0 \n", 1)):
            self.assertNotEqual(bad, good)
            with self.assertRaises(BadPage):
                Page(bad)


def scrape_text(weir):
    return ask(weir.admin, "/metrics").body.decode()


class BadConfigurations(Case):
    """A few, as a user sees them; the table of all is tests/conf/bad."""

    # "@" stands where the error is said to be.
    ROWS = [
        ("{token_bucket: {rate: @0/s}}", "must be more than 0"),
        ("{token_bucket: {rate: @-5/s}}", "write it like 100/s, 6000/min or 10/h"),
        ("{token_bucket: {rate: @100}}", "no unit; write it like 100/s, 6000/min or 10/h"),
        ("{token_bucket: {rate: @2000000/s}}", "at most 1000000/s"),
        ("{token_bucket: {rate: 1/s, burst: @1000000001}}", "1 to 1000000000"),
        ("{token_bucket: {rate: 1/s, burst: @0}}", "1 to 1000000000"),
        ("{token_bucket: {rate: 1/s, burst: 5, cost: @6}}", "at least 6"),
        ("{token_bucket: {rate: 1/s, key: @heder:x}}", "did you mean \"header\"?"),
        ("{token_bucket: {rate: 1/s, key: @consumer}}", "no filter of this configuration provides \"consumer\""),
        ("{token_bucket: {rate: 1/s, @bursts: 5}}", "did you mean \"burst\"?"),
        ("{token_bucket: @{burst: 5}}", "rate"),
        ("@{concurrency: {max: 5}}", "upstream"),
    ]

    def check(self, text):
        path = os.path.join(self.directory, "w.yaml")
        with open(path, "w") as f:
            f.write(text)
        p = subprocess.run([WEIR, "check", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        return p.returncode, p.stdout.replace(path, "FILE")

    def test_line_column_and_what_is_allowed(self):
        for text, said in self.ROWS:
            with self.subTest(text):
                line = "    filters: [%s]" % text
                status, out = self.check("version: 1\nlisten: 127.0.0.1:8080\nroutes:\n  - match: /\n    respond: {status: 204}\n" +
                                         line.replace("@", "") + "\n")
                self.assertEqual(status, 1, out)
                self.assertTrue(out.startswith("FILE:6:%d: " % (line.index("@") + 1)), out)
                self.assertIn(said, out)
                self.assertEqual(out.count("\n"), 4, out)       # what, the line, the caret; and how many in all


if __name__ == "__main__":
    main()
