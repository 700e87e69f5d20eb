#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The verbs that ask a running gateway, from the command line: what they print, and what they end with."""

import hashlib
import json
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


class FullDisk(Verbs):
    def test_what_could_not_be_written_is_no_success(self):
        conf = self.file("fine.yaml", LOCAL.replace("@PORT@", "80").replace("@ADMIN@", "81"))
        for args in (["doc"], ["schema"], ["version"], ["help"], ["show", conf]):
            with open("/dev/full", "w") as full:
                r = subprocess.run([WEIR] + args, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
                                   stdin=subprocess.DEVNULL)
            self.assertEqual((r.returncode, r.stderr), (1, "weir: not all of the output could be written\n"), args)


class Healthcheck(Verbs):
    def test_ready(self):
        w = self.weir(LOCAL)
        for args in (["-c", w.conf_path], ["-a", "127.0.0.1:%d" % w.admin]):
            r = self.run_weir("healthcheck", *args)
            self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "ok\n", ""), args)
        r = self.run_weir("healthcheck", env={"WEIR_CONFIG": w.conf_path})
        self.assertEqual((r.returncode, r.stdout), (0, "ok\n"))

    def test_an_address_of_every_interface(self):
        w = self.weir(CONF % '{at: "0.0.0.0:@ADMIN@", token: "${ADMIN_TOKEN}"}', env=dict(os.environ, ADMIN_TOKEN="x" * 32))
        self.assertEqual(self.run_weir("healthcheck", "-c", w.conf_path).returncode, 0)       # which needs no token

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
                (["-a", "127.0.0.1:1"], "cannot connect to the admin listener at 127.0.0.1:1: Connection refused"),
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


def answer(status, text):
    return ("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(text), text)).encode()


class Reload(Verbs):
    """What the verb makes of an answer; that a reload does what it should is tested elsewhere."""

    def listener(self, answered):
        self.asked = []

        def script(peer, _):
            self.asked.append(peer.read_request())
            peer.send(answered)
        return "127.0.0.1:%d" % self.upstream(script).port

    def test_fine(self):
        r = self.run_weir("reload", "-a", self.listener(answer("200 OK", "reloaded\n")))
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "reloaded\n", ""))
        self.assertEqual((self.asked[0].method, self.asked[0].target), ("POST", "/reload"))
        self.assertEqual(self.asked[0].get("accept"), "text/plain")

    def test_bad(self):
        at = self.listener(answer("422 Unprocessable Content", "w.yaml:1:1: error E012: no\n"))
        r = self.run_weir("reload", "-a", at)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (1, "", "w.yaml:1:1: error E012: no\n"))

    def test_json(self):
        at = self.listener(answer("422 Unprocessable Content", "{}\n"))
        r = self.run_weir("reload", "--json", "-c", self.file("w.yaml", "admin: %s\n" % at))
        self.assertEqual((r.returncode, r.stdout, r.stderr), (1, "{}\n", ""))
        self.assertEqual(self.asked[0].get("accept"), "application/json")


class Token(Verbs):
    def setUp(self):
        super().setUp()
        self.secret = self.file("secret", "correct-horse-battery-staple\n")
        self.conf = CONF % ('{at: "127.0.0.1:@ADMIN@", token: "${file:%s}"}' % self.secret)
        self.w = self.weir(self.conf)

    def test_the_file_has_it(self):
        for args in (["reload"], ["plan"], ["plan", self.w.conf_path], ["breaker", "fuse", "auto"]):
            r = self.run_weir(args[0], "-c", self.w.conf_path, *args[1:])
            self.assertEqual((r.returncode, r.stderr), (0, ""), args)
            self.assertNotIn("horse", r.stdout)
        self.assertNotIn("horse", self.run_weir("show", self.w.conf_path).stdout)
        self.assertNotIn(b"horse", self.w.stderr())

    def test_the_environment_has_it(self):
        at = "127.0.0.1:%d" % self.w.admin
        for token, status, says in (
                ("correct-horse-battery-staple", 0, ""), ("incorrect-horse-battery-staple", 1, "A token is needed here"),
                ("", 1, "A token is needed here"), ("short", 1, "WEIR_ADMIN_TOKEN: it is shorter than 16 characters"),
                ("a" * 20 + "\r\nX: y", 1, "not visible ASCII")):
            r = self.run_weir("reload", "-a", at, env={"WEIR_ADMIN_TOKEN": token})
            self.assertEqual(r.returncode, status, token)
            self.assertIn(says, r.stderr)
        r = self.run_weir("reload", "-c", self.w.conf_path, env={"WEIR_ADMIN_TOKEN": "incorrect-horse-battery-staple"})
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"with a wrong token from 127.0.0.1 was refused", self.w.stderr())

    def test_one_that_cannot_be_read_is_said(self):
        os.remove(self.secret)
        r = self.run_weir("reload", "-c", self.w.conf_path)
        self.assertEqual(r.returncode, 1)
        self.assertIn("E010", r.stderr)
        self.assertIn("set $WEIR_ADMIN_TOKEN", r.stderr)
        self.assertEqual(self.run_weir("healthcheck", "-c", self.w.conf_path).returncode, 0)

    def asked(self, token):
        return ask(self.w.admin, "/config", headers=[("Authorization", "Bearer " + token)]).status

    def test_it_changes_with_its_file(self):
        self.assertEqual(ask(self.w.admin, "/config").status, 401)
        self.assertEqual(self.asked("correct-horse-battery-staple"), 200)
        self.file("secret", "another-horse-battery-staple")
        wait_until("the new one", lambda: self.asked("another-horse-battery-staple") == 200)
        self.assertEqual(self.asked("correct-horse-battery-staple"), 401)
        self.file("secret", "short")
        r = self.run_weir("reload", "-a", "127.0.0.1:%d" % self.w.admin, env={"WEIR_ADMIN_TOKEN": "another-horse-battery-staple"})
        self.assertEqual(r.returncode, 1)
        self.assertIn("E023", r.stderr)
        self.assertEqual(self.asked("another-horse-battery-staple"), 200)


class Plan(Verbs):
    CONF = """version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
define:
  bucket: {token_bucket: {rate: 1/h, burst: 10, key: "header:x-key"}}
upstreams:
  api: {endpoints: ["%s"], filters: [{concurrency: {name: slots, max: 5, queue: 5, max_wait: 60s}}, {breaker: {name: fuse}}]}
routes:
  - {match: /ping, respond: {body: pong}, filters: [bucket]}
  - {match: /, upstream: api}
"""

    def plan(self, w, old, new, *args):
        path = self.file("new.yaml", open(w.conf_path).read().replace(old, new))
        return self.run_weir("plan", "-c", w.conf_path, *args, path)

    def test_a_bucket_in_debt(self):
        w = self.weir(self.CONF % "http://127.0.0.1:1")
        for key, times in (("a", 8), ("b", 7), ("c", 2)):
            for _ in range(times):
                self.assertEqual(w.ask("/ping", headers=[("x-key", key)]).status, 200)
        r = self.plan(w, "burst: 10", "burst: 5")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertEqual(r.stdout.splitlines(), [
            "filter bucket (token_bucket): changed",
            "    burst: 10 -> 5",
            "    what callers owe stays owed; a full bucket holds 5, and 10 before",
            "  ! 2 of 3 callers with a debt owe too much for the next request: they are refused until enough is paid back",
            "unchanged: 1 listener, 1 upstream, 1 endpoint, 2 routes, 2 filters"])
        self.assertIn("3 callers have a debt, and none is refused for it", self.plan(w, "burst: 10", "burst: 9").stdout)
        self.assertIn("whose key is new begins with a full bucket", self.plan(w, "header:x-key", "client_ip").stdout)
        r = self.plan(w, "burst: 10", "burst: 10, max_keys: 7")
        self.assertIn("max_keys stays 1000000 until a restart", r.stdout)
        self.assertEqual(w.ask("/ping", headers=[("x-key", "a")]).status, 200)     # a plan changes nothing

    def test_slots_in_flight_and_who_waits(self):
        m = self.mock()
        w = self.weir(self.CONF % m.url)
        peers = []
        for _ in range(8):
            peer = w.dial()
            self.addCleanup(peer.close)
            peer.send(request_bytes(path="/hang"))
            peers.append(peer)
        wait_until("five to be in flight and three to wait", lambda: [
            l for l in ask(w.admin, "/limits").json()["limits"] if l.get("in_flight") == 5 and l.get("waiting") == 3])
        r = self.plan(w, "max: 5, queue: 5", "max: 2, queue: 1")
        self.assertIn("  ! 5 in flight, 2 allowed: nobody is cut, 3 too many until they end\n", r.stdout)
        self.assertIn("  ! 3 wait, and the queue holds 1: nobody is put out", r.stdout)
        r = self.plan(w, "max: 5, queue: 5", "max: 6, queue: 5")
        self.assertIn("    5 in flight keep their slots\n    3 who wait keep their places\n", r.stdout)
        page = json.loads(self.plan(w, "max: 5, queue: 5", "max: 2, queue: 1", "--json").stdout)
        self.assertEqual((page["result"], page["over"], page["restart"]), ("plan", 2, 0))
        self.assertEqual(page["changes"][0]["keys"], [{"key": "max", "from": "5", "to": "2"}, {"key": "queue", "from": "5", "to": "1"}])

    def test_a_breaker_near_its_end(self):
        m = self.mock("--errors", "100%")
        w = self.weir(self.CONF % m.url)
        for _ in range(9):
            self.assertEqual(w.ask("/").status, 503)
        r = self.plan(w, "name: fuse", "name: fuse, min_requests: 10")
        self.assertIn("it stays closed; the window holds 9 attempts, 9 of them failed\n"
                      "  ! by the new rule the next failure opens it\n", r.stdout)
        self.assertNotIn("!", self.plan(w, "name: fuse", "name: fuse, min_requests: 11").stdout)

    def test_the_file_as_it_is_now(self):
        w = self.weir(self.CONF % "http://127.0.0.1:1")
        self.assertEqual(self.run_weir("plan", "-c", w.conf_path).stdout.splitlines()[0], "nothing changes")
        text = open(w.conf_path).read()
        with open(w.conf_path, "w") as f:
            f.write(text.replace("body: pong", "body: pang"))
        self.assertEqual(self.run_weir("plan", "-a", "127.0.0.1:%d" % w.admin).stdout.splitlines()[:2],
                         ["route /ping: changed", "    respond: {body: pong} -> {body: pang}"])
        self.assertEqual(w.ask("/ping").body, b"pong")

    def test_a_bad_candidate(self):
        w = self.weir(self.CONF % "http://127.0.0.1:1")
        r = self.plan(w, "match: /ping", "mach: /ping")
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertIn('new.yaml:9:6: error E012: unknown key "mach"; did you mean "match"?\n', r.stderr)
        self.assertEqual(self.run_weir("plan", "-c", w.conf_path, self.file("empty.yaml", "")).returncode, 1)
        self.assertEqual(self.run_weir("plan", "-c", w.conf_path, "/nonexistent.yaml").returncode, 1)
        r = self.plan(w, "match: /ping", "mach: /ping", "--json")
        self.assertEqual(json.loads(r.stdout)["errors"][0]["code"], "E012")

    def test_offline(self):
        old = self.file("old.yaml", LOCAL.replace("@PORT@", "1").replace("@ADMIN@", "2"))
        new = self.file("new.yaml", open(old).read().replace("{name: fuse}", "{name: fuse, errors: 40%}"))
        r = self.run_weir("plan", "--offline", old, new)
        self.assertEqual((r.returncode, r.stdout.splitlines()[:2]), (0, ["filter fuse (breaker): changed", "    errors: 50% -> 40%"]))
        self.assertEqual(json.loads(self.run_weir("plan", "--offline", "--json", old, new).stdout)["result"], "plan")
        self.assertEqual(self.run_weir("plan", "--offline", old, "/nonexistent").returncode, 1)
        self.assertEqual(self.run_weir("plan", "--offline", old).returncode, 2)
        self.assertEqual(self.run_weir("plan", old, new).returncode, 2)

    def test_files_and_secrets(self):
        """Included files are looked for beside the candidate, and are told with their hash; secrets are not."""
        secret = self.file("secret", "hunter2\n")
        included = self.file("more.yaml", "routes: [{match: /more, respond: {body: '${file:%s}'}}]\n" % secret)
        w = self.weir("include: [more.yaml]\n" + self.CONF % "http://127.0.0.1:1")
        page = ask(w.admin, "/config").json()
        self.assertEqual([s["file"] for s in page["sources"]], [w.conf_path, included])
        self.file("secret", "hunter3\n")
        r = self.run_weir("plan", "-c", w.conf_path)
        self.assertEqual(r.stdout.splitlines()[:2], ["route /more: changed", "    respond: {body: ***} -> {body: ***} (another)"])
        self.assertEqual(w.ask("/more").body, b"hunter2")
        os.mkdir(os.path.join(self.directory, "next"))
        self.file("next/more.yaml", "routes: [{match: /more, respond: {body: x}}]\n")
        path = self.file("next/weir.yaml", open(w.conf_path).read())
        self.assertIn("respond: {body: ***} -> {body: x}", self.run_weir("plan", "-c", w.conf_path, path).stdout)
        self.assertEqual(self.run_weir("healthcheck", "-c", path).returncode, 0)

    def test_config_says_what_is_in_force(self):
        w = self.weir(self.CONF % "http://127.0.0.1:1")
        page = ask(w.admin, "/config").json()
        with open(w.conf_path, "rb") as f:
            text = f.read()
        self.assertEqual((page["file"], page["generation"], page["routes"]), (w.conf_path, 1, 2))
        self.assertEqual(page["sources"], [{"file": w.conf_path, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}])


class Breaker(Verbs):
    def test_it_is_forced(self):
        w = self.weir(LOCAL)
        for word, state in (("open", 2), ("auto", 1), ("closed", 0)):
            r = self.run_weir("breaker", "-c", w.conf_path, "fuse", word)
            said = {"open": "fuse: held open\n", "auto": "fuse: judges by itself\n", "closed": "fuse: held closed\n"}[word]
            self.assertEqual((r.returncode, r.stdout, r.stderr), (0, said, ""))
            self.assertEqual(w.metrics()['weir_breaker_state{instance="fuse",mode="enforce"}'], state)
        r = self.run_weir("breaker", "-a", "127.0.0.1:%d" % w.admin, "nobody", "open")
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stderr, 'weir breaker: no breaker is called "nobody"; there are: "fuse"\n')
        self.assertEqual(self.run_weir("breaker", "-c", w.conf_path, "fuse", "shut").returncode, 2)


if __name__ == "__main__":
    main()
