# SPDX-License-Identifier: Apache-2.0
"""Endpoints that die and come back: ejection, checks, /upstreams, as seen from outside."""

import re
import subprocess
import time

from harness import Case, Process, answer_bytes, ask, connects, free_port, main, serving, wait_until


class Endpoint(Process):
    """A mock at a port of its own choice, so that another can take its place."""

    def __init__(self, directory, port):
        super().__init__(["mock", "--listen", "127.0.0.1:%d" % port], subprocess.DEVNULL, directory)
        wait_until("the mock to listen", lambda: connects(port))


class Health(Case):
    def setUp(self):
        super().setUp()
        self.ports = [free_port(), free_port()]
        self.mocks = [None, None]
        for i in range(2):
            self.revive(i)

    def revive(self, i):
        self.mocks[i] = Endpoint(self.directory, self.ports[i])
        self.addCleanup(self.mocks[i].stop)

    def gateway(self, more, hosts=("127.0.0.1", "127.0.0.1")):
        return self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
workers: 2
upstreams:
  api:
    endpoints: ["http://%s:%d", "http://%s:%d"]
    %s
routes:
  - {match: /, upstream: api}
""" % (hosts[0], self.ports[0], hosts[1], self.ports[1], more.replace("\n", "\n    ")))

    def endpoints(self, w):
        r = ask(w.admin, "/upstreams")
        self.assertEqual((r.status, r.get("content-type")), (200, "application/json"))
        upstreams = r.json()["upstreams"]
        self.assertEqual([u["name"] for u in upstreams], ["api"])
        return upstreams[0]["endpoints"]

    def states(self, w):
        return [e["state"] for e in self.endpoints(w)]

    def wait_state(self, w, i, *wanted):
        wait_until("endpoint %d to be %r" % (i, wanted), lambda: self.states(w)[i] in wanted)

    def lines(self, w):
        return re.findall(r"(?:warn|info) health: api: http://[^:]+:\d+: (.*)", w.stderr().decode())

    def requests(self, i):
        return ask(self.ports[i], "/stats").json()["requests"]

    def test_one_that_dies_is_ejected_and_returns(self):
        w = self.gateway("balance: round_robin\neject: {base: 700ms, max: 700ms}\nslow_start: 200ms")
        self.assertEqual([w.ask("/bytes/1").status for _ in range(20)], [200] * 20)
        self.assertTrue(all(self.requests(i) > 3 for i in range(2)))
        self.mocks[0].stop()
        before = time.monotonic()
        failed = 0
        while self.states(w)[0] == "up":
            failed += w.ask("/bytes/1").status == 502
            self.assertLess(time.monotonic(), before + 10)
        self.assertEqual(failed, 5)
        e = self.endpoints(w)[0]
        self.assertEqual((e["state"], e["ejections"], e["last_failure"], e["share"]), ("ejected", 1, "connect_failed", 0))
        self.assertLessEqual(e["back_in_ms"], 700)
        self.assertEqual(e["checks"], None)
        self.assertEqual(w.metrics()['weir_upstream_ejections_total{upstream="api"}'], 1)
        self.revive(0)
        answers = []
        while self.states(w)[0] == "ejected":
            answers.append(w.ask("/bytes/1").status)
        self.assertEqual(set(answers), {200})
        self.wait_state(w, 0, "up")
        for _ in range(20):
            self.assertEqual(w.ask("/bytes/1").status, 200)
        self.assertGreater(self.requests(0), 3)
        self.assertEqual([re.sub(r"\d+\.\d+", "T", l) for l in self.lines(w)],
                         ["ejected for T s, time 1 in a row: 5 failures in a row, the last: connect_failed",
                          "back from its ejection, whole again in T s"])

    def test_checks_take_it_out_before_a_request_meets_it(self):
        w = self.gateway("health: {path: /bytes/2, every: 100ms, fall: 2}\nslow_start: 100ms")
        wait_until("checks", lambda: all(e["checks"]["ok"] >= 2 for e in self.endpoints(w)))
        self.mocks[1].stop()
        self.wait_state(w, 1, "down")
        self.assertEqual({w.ask("/bytes/1").status for _ in range(20)}, {200})
        self.assertEqual(self.endpoints(w)[1]["last_failure"], "connect_failed")
        m = w.metrics()
        self.assertEqual(m['weir_upstream_endpoints{upstream="api",state="down"}'], 1)
        self.assertEqual(m['weir_upstream_endpoints{upstream="api",state="up"}'], 1)
        self.assertGreaterEqual(m['weir_upstream_checks_total{upstream="api",result="failed"}'], 2)
        self.mocks[0].stop()
        self.wait_state(w, 0, "down")
        r = w.ask("/bytes/1")
        self.assertEqual((r.status, r.json()["reason"]), (503, "no_endpoint"))
        self.revive(0)
        self.revive(1)
        self.wait_state(w, 0, "up")
        self.wait_state(w, 1, "up")
        self.assertEqual({w.ask("/bytes/1").status for _ in range(20)}, {200})
        self.assertEqual(self.requests(0) > 5, True)
        self.assertEqual(sorted(l.split(":")[0] for l in self.lines(w)), ["down", "down", "up", "up"])

    def test_a_name_and_where_requests_are(self):
        w = self.gateway("balance: round_robin\nhealth: {path: /bytes/2, every: 100ms}", hosts=("localhost", "127.0.0.1"))
        wait_until("checks", lambda: all(e["checks"]["ok"] >= 2 for e in self.endpoints(w)))
        e = self.endpoints(w)
        self.assertGreaterEqual(e[0]["addresses"], 1)
        self.assertEqual(e[1]["addresses"], 1)
        self.assertNotIn("connect_failed", [x["last_failure"] for x in e])
        peers = [w.dial() for _ in range(4)]
        for p in peers:
            p.send("GET /hang HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until("them to be seen", lambda: sum(x["in_flight"] for x in self.endpoints(w)) == 4)
        for p in peers:
            p.close()
        wait_until("them to be gone", lambda: sum(x["in_flight"] for x in self.endpoints(w)) == 0)

    def test_an_endpoint_that_says_it_is_not_well(self):
        well, seen = [True], []

        def handler(request):
            if request.target == "/healthz":
                seen.append(request)
                return answer_bytes("204 Well" if well[0] else "503 Not", length=not well[0])
            return answer_bytes()
        u = self.upstream(serving(handler))
        w = self.proxy(u, up=", host: api.test, slow_start: 0s, health: {path: /healthz, every: 100ms, status: 204}")
        self.assertEqual(w.ask("/x").status, 200)
        wait_until("checks", lambda: len(seen) >= 2)
        self.assertEqual((seen[0].method, seen[0].get("host"), seen[0].get("user-agent"), seen[0].get("connection")),
                         ("GET", "api.test", "weir-health", "close"))
        well[0] = False
        self.wait_state(w, 0, "down")
        self.assertEqual(self.endpoints(w)[0]["last_failure"], "503")
        self.assertEqual(w.ask("/x").json()["reason"], "no_endpoint")
        well[0] = True
        self.wait_state(w, 0, "up")
        self.assertEqual(w.ask("/x").status, 200)

    def test_it_ends_while_checks_are_under_way(self):
        w = self.gateway("health: {path: /hang, every: 50ms, timeout: 50ms}")
        wait_until("a check", lambda: self.requests(0) > 0)
        self.assertEqual(w.stop(), 0)


if __name__ == "__main__":
    main()
