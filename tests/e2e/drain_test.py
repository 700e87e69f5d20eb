# SPDX-License-Identifier: Apache-2.0
"""Starting, checking and stopping: exit statuses, the admin pages, drain."""

import os
import re
import signal
import socket
import subprocess
import time

from harness import WEIR, Case, Closed, Peer, Process, ask, connects, free_port, main, request_bytes, wait_until

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
        self.assertTrue(w.stderr().endswith(b" info control: stopped; nothing was cut\n"))

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

    def test_its_successor_starts_when_it_takes_nobody_any_more(self):
        m = self.mock()
        w = self.proxy(m)
        after = "version: 1\nlisten: 127.0.0.1:%d\nadmin: 127.0.0.1:@ADMIN@\nroutes: [{match: /, respond: {body: new}}]\n" % w.port
        early = self.weir(after, ready=False)
        self.assertEqual(early.wait(), 1)
        self.assertIn(b"E061: listen 127.0.0.1:%d: Address already in use" % w.port, early.stderr())
        with w.dial() as p:
            p.send(request_bytes(path="/delay/3000/5"))
            wait_until("a request in flight", lambda: m.stats()["in_flight"] == 1)
            w.signal(signal.SIGTERM)
            wait_until("the door to close", lambda: not connects(w.port))
            self.weir(after)
            self.assertEqual(ask(w.port, "/").body, b"new")
            self.assertEqual(p.read_response().body, b"xxxxx")
        self.assertEqual(w.wait(), 0)

    def test_addresses_of_its_own_may_overlap(self):
        for one, other in (("0.0.0.0", "'[::]'"), ("127.0.0.1", "0.0.0.0")):
            w = self.weir("version: 1\nlisten: [{at: '%s:@PORT@'}, {at: %s}]\nadmin: 127.0.0.1:@ADMIN@\nworkers: 2\n"
                          "routes: [{match: /, respond: {body: ok}}]\n" % (one, other.strip("'").join(("'", ":@PORT@'"))))
            self.assertEqual(ask(w.port, "/").body, b"ok")

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
        self.assertTrue(w.stderr().endswith(b" warn control: stopped; requests cut: 1\n"))

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

    def test_a_name_without_an_address_is_counted(self):
        w = self.weir(GOOD + 'upstreams: {a: {endpoints: ["http://no.such.name.invalid", "http://127.0.0.1:9"]}}\n')
        self.assertEqual(w.metrics()["weir_names_unresolved"], 1)

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


class UnixListener(Case):
    def setUp(self):
        super().setUp()
        self.socket = os.path.join(self.directory, "weir.sock")
        self.yaml = GOOD.replace("127.0.0.1:@PORT@", '"unix:%s"' % self.socket)

    def ask(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            with Peer(s) as p:
                p.send(request_bytes(path="/ping"))
                return p.read_response()

    def test_its_file_goes_with_it(self):
        w = self.weir(self.yaml)
        self.assertEqual(self.ask().body, b"pong")
        self.assertEqual(w.stop(), 0)
        self.assertFalse(os.path.exists(self.socket))

    def test_a_client_that_was_just_let_in_is_answered(self):
        """Its request comes when weir accepts no more; another's never does, and is not waited for long."""
        w = self.weir(self.yaml)
        with socket.socket(socket.AF_UNIX) as s, socket.socket(socket.AF_UNIX) as silent:
            s.connect(self.socket)
            silent.connect(self.socket)
            w.signal(signal.SIGTERM)
            wait_until("weir to accept no more", lambda: not os.path.exists(self.socket))
            with Peer(s) as p:
                p.send(request_bytes(path="/ping"))
                r = p.read_response()
            self.assertEqual((r.body, r.get("connection", "").lower()), (b"pong", "close"))
            self.assertEqual(w.wait(5), 0)

    def test_a_stale_file_is_replaced(self):
        w = self.weir(self.yaml)
        w.signal(signal.SIGKILL)
        w.wait()
        self.assertTrue(os.path.exists(self.socket))
        w = self.weir(self.yaml)
        self.assertEqual(self.ask().body, b"pong")

    def test_another_ones_file_stays(self):
        """Also when that one is too busy to accept."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.socket)
            other.listen(0)
            waiting = []
            for _ in range(3):
                s = socket.socket(socket.AF_UNIX)
                self.addCleanup(s.close)
                s.setblocking(False)
                try:
                    s.connect(self.socket)
                except BlockingIOError:
                    waiting.append(s)
            self.assertTrue(waiting)
            w = self.weir(self.yaml, ready=False)
            self.assertEqual(w.wait(5), 1)
            self.assertIn(b"another process listens there", w.stderr())
            self.assertTrue(os.path.exists(self.socket))

    def test_a_start_that_fails_leaves_no_file(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            w = self.weir(self.yaml.replace("@ADMIN@", str(taken.getsockname()[1])), ready=False)
            self.assertEqual(w.wait(5), 1)
        self.assertFalse(os.path.exists(self.socket))


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

    def test_an_endpoint_of_no_known_kind_is_refused_with_its_place(self):
        path = self.file(GOOD + 'upstreams:\n  api:\n    endpoints: ["ftp://api.example"]\n')
        r = self.run_weir("check", path)
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, re.escape(path) + r":8:\d+: .*ftp")

    def test_check_of_a_missing_file(self):
        r = self.run_weir("check", os.path.join(self.directory, "none.yaml"))
        self.assertEqual(r.returncode, 1)
        self.assertIn("none.yaml", r.stderr)

    def test_run_of_a_bad_file(self):
        r = self.run_weir("run", "-c", self.file(GOOD.replace("admin:", "admim:")))
        self.assertEqual(r.returncode, 1)
        self.assertIn("admim", r.stderr)

    def test_a_signal_at_any_moment_of_the_start(self):
        """Names that do not resolve keep it in its first phase; the end is an orderly one there too."""
        path = self.file("""version: 1
listen: "unix:%s/early.sock"
upstreams: {a: {endpoints: ["http://no.such.name.invalid"]}}
routes: [{match: /, upstream: a}]
""" % self.directory)
        for said in (b"open files", b"listening on"):
            p = Process(["run", "-c", path], subprocess.DEVNULL, self.directory)
            self.addCleanup(p.stop)
            wait_until("weir to begin", lambda: said in p.stderr())
            p.signal(signal.SIGTERM)
            self.assertEqual(p.wait(5), 0, p.stderr())
            self.assertFalse(os.path.exists(self.directory + "/early.sock"))

    def test_closed_standard_streams(self):
        """Their numbers must not become those of sockets, which logs would be written into."""
        w = self.weir(GOOD)
        w.stop()
        p = subprocess.Popen([WEIR, "run", "-c", w.conf_path], preexec_fn=lambda: os.closerange(0, 3))
        self.addCleanup(p.kill)
        wait_until("weir to listen", lambda: connects(w.port))
        self.assertEqual(ask(w.port, "/ping").body, b"pong")
        self.assertEqual([os.readlink("/proc/%d/fd/%d" % (p.pid, fd)) for fd in range(3)], ["/dev/null"] * 3)
        p.terminate()
        self.assertEqual(p.wait(10), 0)

    def test_run_on_a_port_that_is_taken_by_another_program(self):
        m = self.mock()
        path = self.file(GOOD.replace("@PORT@", str(m.port)))
        r = self.run_weir("run", "-c", path)
        self.assertEqual(r.returncode, 1)
        self.assertIn(str(m.port), r.stderr)

    def test_usage(self):
        for args in ([], ["nonsense"], ["run", "-c"], ["check", "a", "b"], ["run", "--nope"]):
            r = self.run_weir(*args)
            self.assertEqual(r.returncode, 2, args)
            self.assertTrue(r.stderr)

    def test_version_and_doc(self):
        for args in (["version"], ["doc"], ["doc", "--man", "5"], ["schema"]):
            r = self.run_weir(*args)
            self.assertEqual((r.returncode, bool(r.stdout)), (0, True), args)

    def test_it_says_where_it_listens(self):
        w = self.weir(GOOD)
        self.assertIn(b"listening on 127.0.0.1:%d" % w.port, w.stderr())
        self.assertIn(b"admin pages on 127.0.0.1:%d" % w.admin, w.stderr())
        self.assertNotIn(b"probes", w.stderr())
        port = free_port()
        w = self.weir(GOOD + "probes: 127.0.0.1:%d\n" % port)
        self.assertIn(b"probes on 127.0.0.1:%d" % port, w.stderr())
        with open(w.conf_path, "w") as f:
            f.write(GOOD.replace("@PORT@", str(w.port)).replace("@ADMIN@", str(w.admin)))
        self.assertEqual(ask(w.admin, "/reload", "POST").status, 200)
        self.assertIn(b"probes no longer on 127.0.0.1:%d" % port, w.stderr())
        self.assertEqual(w.ask("/ping").body, b"pong")


if __name__ == "__main__":
    main()
