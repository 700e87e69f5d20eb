#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The verbs that ask a running gateway, from the command line: what they print, and what they end with."""

import os
import signal
import subprocess

from harness import *

CONF = """version: 1
listen: 127.0.0.1:@PORT@
admin: %s
upstreams:
  api: {endpoints: ["http://127.0.0.1:1"], filters: [{breaker: {name: fuse}}]}
routes:
  - {match: /ping, respond: {body: pong}}
  - {match: /api/, upstream: api}
"""
LOCAL = CONF % "127.0.0.1:@ADMIN@"


class Verbs(Case):
    def run_weir(self, *args, env=None, stdin=None):
        return subprocess.run([WEIR] + list(args), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, **(env or {})))

    def file(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def silent(self):
        """A port that accepts and never answers."""
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen(8)
        self.addCleanup(s.close)
        return s.getsockname()[1]


class Healthcheck(Verbs):
    def test_ready(self):
        w = self.weir(LOCAL)
        for args in (["-c", w.conf_path], ["-a", "127.0.0.1:%d" % w.admin]):
            r = self.run_weir("healthcheck", *args)
            self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "ok\n", ""), args)
        r = self.run_weir("healthcheck", env={"WEIR_CONFIG": w.conf_path})
        self.assertEqual((r.returncode, r.stdout), (0, "ok\n"))

    def test_an_address_of_every_interface(self):
        w = self.weir(CONF % '"0.0.0.0:@ADMIN@"')
        self.assertEqual(self.run_weir("healthcheck", "-c", w.conf_path).returncode, 0)

    def test_probes_go_before_admin(self):
        w = self.weir(LOCAL)
        path = self.file("probes.yaml", "probes: 127.0.0.1:%d\nadmin: 127.0.0.1:1\n" % w.admin)
        self.assertEqual(self.run_weir("healthcheck", "-c", path).returncode, 0)

    def test_a_file_that_is_bad_elsewhere_makes_nobody_unhealthy(self):
        w = self.weir(LOCAL)
        with open(w.conf_path, "a") as f:
            f.write("  - {nonsense: true}\n")
        self.assertEqual(self.run_weir("check", w.conf_path).returncode, 1)
        self.assertEqual(self.run_weir("healthcheck", "-c", w.conf_path).returncode, 0)

    def test_draining_is_not_ready(self):
        w = self.weir(LOCAL + "drain: {delay: 10s}\n")
        w.signal(signal.SIGTERM)
        r = wait_until("the drain", lambda: next((r for r in [self.run_weir("healthcheck", "-c", w.conf_path)] if r.returncode), None))
        self.assertEqual((r.returncode, r.stderr), (1, "draining\n"))

    def test_why_not(self):
        for args, says in [
                (["-a", "127.0.0.1:1"], "cannot connect to the admin listener: Connection refused"),
                (["-a", "127.0.0.1:%d" % self.silent()], "it takes too long"),
                (["-a", "nonsense"], "nonsense"),
                (["-c", self.file("none.yaml", LOCAL.replace("admin:", "#"))], "has no `admin`"),
                (["-c", self.file("list.yaml", "admin: [x]\n")], "list.yaml:1:8: admin: must be an address"),
                (["-c", "/nonexistent.yaml"], "/nonexistent.yaml")]:
            begun = time.monotonic()
            r = self.run_weir("healthcheck", *args)
            self.assertEqual(r.returncode, 1, args)
            self.assertIn(says, r.stderr)
            self.assertLess(time.monotonic() - begun, 3)


class Breaker(Verbs):
    def test_it_is_forced(self):
        w = self.weir(LOCAL)
        for word, state in (("open", 2), ("auto", 1), ("closed", 0)):
            r = self.run_weir("breaker", "-c", w.conf_path, "fuse", word)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            self.assertEqual(w.metrics()['weir_breaker_state{instance="fuse",mode="enforce"}'], state)
        r = self.run_weir("breaker", "-a", "127.0.0.1:%d" % w.admin, "nobody", "open")
        self.assertEqual(r.returncode, 1)
        self.assertIn('"instances":["fuse"]', r.stderr)


if __name__ == "__main__":
    main()
