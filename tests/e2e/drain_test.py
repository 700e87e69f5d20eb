# SPDX-License-Identifier: Apache-2.0
"""Starting, checking and stopping: exit statuses, the admin pages, drain."""

import os
import re
import signal
import subprocess
import time

from harness import WEIR, Case, Closed, ask, connects, main, request_bytes, wait_until

GOOD = """version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
routes:
  - {match: /ping, respond: {status: 200, body: pong}}
"""


class Drain(Case):
    def test_what_is_in_flight_ends_well(self):
        m = self.mock()
        w = self.proxy(m)
        with w.dial() as p, w.dial() as idle:
            idle.send(request_bytes(path="/bytes/1"))
            idle.read_response()
            p.send(request_bytes(path="/delay/600/5"))
            wait_until("a request in flight", lambda: m.stats()["in_flight"] == 1)
            w.signal(signal.SIGTERM)
            wait_until("/readyz to say 503", lambda: ask(w.admin, "/readyz").status == 503, 2)
            r = p.read_response()
            self.assertEqual((r.body, r.get("connection", "").lower()), (b"xxxxx", "close"))
            self.assertTrue(p.ended())
            self.assertTrue(idle.ended())
        self.assertEqual(w.wait(), 0)

    def test_a_stream_ends_well(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(request_bytes(path="/sse/20/20"))
            p.read_response(body=False)
            w.signal(signal.SIGTERM)
            n = 0
            while p.chunk():
                n += 1
            self.assertEqual(n, 21)
        self.assertEqual(w.wait(), 0)

    def test_nothing_in_flight_ends_at_once(self):
        w = self.proxy(self.mock())
        start = time.monotonic()
        w.signal(signal.SIGTERM)
        self.assertEqual(w.wait(), 0)
        self.assertLess(time.monotonic() - start, 3)

    def test_a_second_signal_ends_at_once(self):
        m = self.mock()
        w = self.proxy(m)
        with w.dial() as p:
            p.send(request_bytes(path="/hang"))
            wait_until("a request in flight", lambda: m.stats()["in_flight"] == 1)
            w.signal(signal.SIGTERM)
            wait_until("/readyz to say 503", lambda: ask(w.admin, "/readyz").status == 503, 2)
            start = time.monotonic()
            w.signal(signal.SIGTERM)
            w.wait(3)
            self.assertLess(time.monotonic() - start, 3)

    def test_what_does_not_end_is_cut_after_the_timeout(self):
        m = self.mock()
        w = self.proxy(m, top="drain: {timeout: 300ms}")
        with w.dial() as p:
            p.send(request_bytes(path="/hang"))
            wait_until("a request in flight", lambda: m.stats()["in_flight"] == 1)
            w.signal(signal.SIGTERM)
            with self.assertRaises(Closed):
                p.read_response()
                raise Closed        # an answer that says why is as good
        self.assertEqual(w.wait(), 3)

    def test_delay_goes_on_accepting(self):
        w = self.proxy(self.mock(), top="drain: {delay: 800ms}")
        w.signal(signal.SIGTERM)
        wait_until("/readyz to say 503", lambda: ask(w.admin, "/readyz").status == 503, 2)
        r = w.ask("/bytes/1")
        self.assertEqual((r.status, r.get("connection", "").lower()), (200, "close"))
        self.assertEqual(w.wait(), 0)
        self.assertFalse(connects(w.port))


class Admin(Case):
    def test_pages(self):
        w = self.proxy(self.mock())
        self.assertEqual(ask(w.admin, "/healthz").body, b"ok\n")
        self.assertEqual(ask(w.admin, "/readyz").body, b"ok\n")
        self.assertEqual(ask(w.admin, "/nothing").status, 404)
        self.assertEqual(ask(w.admin, "/metrics", "POST").status, 405)
        w.ask("/bytes/5")
        w.ask("/status/404")
        w.wait_log(2)
        m = w.metrics()
        self.assertEqual(m['weir_responses_total{code="2xx"}'], 1)
        self.assertEqual(m['weir_responses_total{code="4xx"}'], 1)
        self.assertEqual(m['weir_requests_total{reason="none"}'], 2)
        self.assertEqual(m["weir_request_duration_seconds_count"], 2)
        self.assertEqual(m["weir_requests_in_flight"], 0)

    def test_gauges_come_back_to_zero(self):
        w = self.proxy(self.mock(), up=", pool: {idle: 100ms}")
        peers = [w.dial() for _ in range(50)]
        for p in peers:
            p.send(request_bytes(path="/delay/20/1000"))
        for p in peers:
            p.read_response()
            p.close()

        def zero():
            m = w.metrics()
            return not any(m["weir_" + n] for n in ("client_connections", "requests_in_flight", "upstream_connections",
                                                     "upstream_connections_idle", "buffered_bytes", "tunnels"))
        wait_until("all gauges to be zero", zero)


class CommandLine(Case):
    def run_weir(self, *args):
        return subprocess.run([WEIR] + list(args), capture_output=True, timeout=20, text=True)

    def file(self, text):
        path = os.path.join(self.directory, "weir.yaml")
        with open(path, "w") as f:
            f.write(text.replace("@PORT@", "18080").replace("@ADMIN@", "18081"))
        return path

    def test_check_of_a_good_file(self):
        path = self.file(GOOD)
        r = self.run_weir("check", path)
        self.assertEqual((r.returncode, (r.stdout + r.stderr).strip()), (0, path + ": ok"))

    def test_check_says_where_it_is_wrong(self):
        for text, line, word in ((GOOD.replace("admin:", "admim:"), 3, "admim"),
                                 (GOOD.replace("version: 1", "version: 2"), 1, "version"),
                                 (GOOD.replace("status: 200", "status: 99"), 5, "status"),
                                 (GOOD.replace("routes:", "routes: ["), None, "")):
            path = self.file(text)
            r = self.run_weir("check", path)
            self.assertEqual(r.returncode, 1, text)
            m = re.search(re.escape(path) + r":(\d+):(\d+): (.+)", r.stderr)
            self.assertTrue(m, r.stderr)
            if line:
                self.assertEqual(int(m.group(1)), line, r.stderr)
            self.assertIn(word, m.group(3))

    def test_an_https_endpoint_is_refused_with_its_place(self):
        path = self.file(GOOD + 'upstreams:\n  api:\n    endpoints: ["https://api.example"]\n')
        r = self.run_weir("check", path)
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, re.escape(path) + r":8:\d+: .*https")

    def test_check_of_a_missing_file(self):
        r = self.run_weir("check", os.path.join(self.directory, "none.yaml"))
        self.assertEqual(r.returncode, 1)
        self.assertIn("none.yaml", r.stderr)

    def test_run_of_a_bad_file(self):
        r = self.run_weir("run", "-c", self.file(GOOD.replace("admin:", "admim:")))
        self.assertEqual(r.returncode, 1)
        self.assertIn("admim", r.stderr)

    def test_run_on_a_port_that_is_taken_by_another_program(self):
        m = self.mock()
        path = self.file(GOOD.replace("@PORT@", str(m.port)))
        r = self.run_weir("run", "-c", path)
        self.assertEqual(r.returncode, 1)
        self.assertIn(str(m.port), r.stderr)

    def test_usage(self):
        for args in ([], ["nonsense"], ["run"], ["check"], ["run", "--nope"]):
            r = self.run_weir(*args)
            self.assertEqual(r.returncode, 2, args)
            self.assertTrue(r.stderr)

    def test_version_and_doc(self):
        for args in (["version"], ["doc"], ["doc", "--schema"]):
            r = self.run_weir(*args)
            self.assertEqual((r.returncode, bool(r.stdout)), (0, True), args)

    def test_it_says_where_it_listens(self):
        w = self.weir(GOOD)
        self.assertIn(b"listening on 127.0.0.1:%d" % w.port, w.stderr())
        self.assertEqual(w.ask("/ping").body, b"pong")


if __name__ == "__main__":
    main()
