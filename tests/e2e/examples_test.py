# SPDX-License-Identifier: Apache-2.0
"""The examples run as they stand, and do what their comments promise. Ports and upstreams come from the environment, as the
examples take them; where an example has none of that (smallest.yaml), the text itself is filled in."""

import os
import re
import socket
import ssl
import subprocess
import time

import yaml

from certs import CA
from gate import Gate
from harness import ROOT, WEIR, Case, Peer, Weir, answer_bytes, ask, free_port, main, request_bytes, serving, wait_until
from scrape import scrape
from tls_upstream_test import Secure

EXAMPLES = os.path.join(ROOT, "conf", "examples")


def read(*name):
    with open(os.path.join(EXAMPLES, *name), encoding="utf-8") as f:
        return f.read()


class Example(Case):
    def start(self, text, **variables):
        """weir with that configuration; LISTEN and ADMIN are set."""
        port, admin = free_port(), free_port()
        env = dict(os.environ, LISTEN="127.0.0.1:%d" % port, ADMIN="127.0.0.1:%d" % admin, **variables)
        w = Weir(self.directory, text, env=env, ready=False)
        self.addCleanup(w.stop)
        w.port, w.admin = port, admin
        wait_until("weir to be ready", w.is_ready, 20)
        return w

    def text(self, w, path, **more):
        r = w.ask(path, **more)
        self.assertEqual(r.status, 200, r.body)
        return r.json()


class Loads(Case):
    def test_without_variables_and_without_a_warning(self):
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME") or k.startswith(("ASAN", "UBSAN", "LSAN"))}
        names = sorted(n for n in os.listdir(EXAMPLES) if n.endswith(".yaml"))
        self.assertGreater(len(names), 4)
        for name in names:
            with self.subTest(name):
                p = subprocess.run([WEIR, "check", os.path.join(EXAMPLES, name)], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, timeout=30, env=env)
                self.assertEqual(p.returncode, 0, p.stdout)
                self.assertNotIn("warning", p.stdout.lower())

    def test_the_smallest_has_five_lines(self):
        self.assertEqual(len(read("smallest.yaml").splitlines()), 5)


class Smallest(Example):
    def test_it_proxies(self):
        m = self.mock()
        text = read("smallest.yaml")
        for old, new in (("127.0.0.1:8080", "127.0.0.1:@PORT@"), ("http://127.0.0.1:9000", m.url)):
            self.assertIn(old, text)
            text = text.replace(old, new)
        w = Weir(self.directory, text, ready=False)
        self.addCleanup(w.stop)

        def answer():
            try:
                return w.ask("/hello").json()
            except OSError:
                return None
        self.assertEqual(wait_until("an answer", answer)["path"], "/hello")


class RestBehindKeys(Example):
    def setUp(self):
        super().setUp()
        self.w = self.start(read("rest_behind_keys.yaml"), API_URL=self.mock().url)

    def statuses(self, n, **more):
        got = []
        with self.w.dial() as p:
            for _ in range(n):
                p.send(request_bytes(path="/v1/things", **more))
                got.append(p.read_response())
        return got

    def test_who_has_no_key_is_told_so(self):
        r = self.w.ask("/v1/things")
        self.assertEqual((r.status, r.get("www-authenticate")), (401, 'ApiKey realm="api"'))
        self.assertEqual(r.json()["status"], 401)
        self.assertEqual(self.w.ask("/else", headers=[("X-Api-Key", "a")]).status, 404)

    def test_each_key_has_its_burst(self):
        began = time.monotonic()
        got = self.statuses(100, headers=[("X-Api-Key", "a")])
        good = [r.status for r in got].count(200)
        self.assertGreaterEqual(good, 40)
        self.assertLessEqual(good, 41 + 20 * (time.monotonic() - began))
        refused = next(r for r in got if r.status != 200)
        self.assertEqual((refused.status, refused.json()["reason"]), (429, "rate_limited"))
        self.assertGreaterEqual(int(refused.get("retry-after")), 1)
        self.assertEqual(self.statuses(1, headers=[("X-Api-Key", "b")])[0].status, 200)

    def test_writing_has_a_smaller_one(self):
        got = [r.status for r in self.statuses(20, method="POST", headers=[("X-Api-Key", "a"), ("Content-Length", "0")])]
        self.assertIn(got.count(200), (10, 11, 12))
        self.assertEqual(self.statuses(1, headers=[("X-Api-Key", "a")])[0].status, 200)

    def test_requests_have_an_id(self):
        self.statuses(1, headers=[("X-Api-Key", "a")])
        self.assertTrue(self.w.wait_log(1)[0]["id"])


class Llm(Example):
    def test_a_stream_goes_through(self):
        w = self.start(read("llm.yaml"), MODEL_URL=self.mock().url)
        body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
        r = w.ask("/v1/chat/completions", method="POST", body=body, headers=[("Content-Type", "application/json")])
        self.assertEqual((r.status, r.get("content-type").split(";")[0]), (200, "text/event-stream"))
        self.assertIn(b"data: [DONE]", r.body)
        self.assertEqual(w.ask("/v1/models").status, 200)
        self.assertEqual(w.ask("/v1/models", method="DELETE").status, 405)

    def test_only_so_many_at_a_time_and_callers_take_turns(self):
        g = Gate()
        self.addCleanup(g.stop)
        w = self.start(read("llm.yaml"), MODEL_URL=g.url)
        peers = []
        for who in ["loud"] * 12 + ["quiet"]:
            p = w.dial()
            self.addCleanup(p.close)
            p.send(request_bytes("POST", "/v1/x", headers=[("Authorization", "Bearer " + who), ("Content-Length", "0")]))
            peers.append(p)
            wait_until("it to be under way",
                       lambda: len(g.visits) + scrape(w).sum("concurrency_waiting") == len(peers))
        self.assertEqual(len(g.visits), 8)
        g.release(2)
        wait_until("two more at the model", lambda: len(g.seen) == 10)
        self.assertIn("Bearer quiet", [v.request.get("authorization") for v in g.seen[8:10]])
        g.open()
        self.assertEqual({p.read_response().status for p in peers}, {200})
        self.assertEqual(g.most, 8)

    def test_a_429_of_the_model_is_waited_for(self):
        def script(peer, number):
            while True:
                peer.read_request()
                self.tries += 1
                peer.send(answer_bytes("429 Too Many Requests", [("Retry-After", "1")]) if self.tries == 1
                          else answer_bytes(body=b"done"))
        self.tries = 0
        w = self.start(read("llm.yaml"), MODEL_URL=self.upstream(script).url)
        began = time.monotonic()
        r = w.ask("/v1/x", method="POST", body=b"{}")
        self.assertEqual((r.status, r.body), (200, b"done"))
        self.assertGreaterEqual(time.monotonic() - began, 1)
        self.assertEqual(w.wait_log(1)[0]["attempts"], 2)

    def test_the_limit_on_trial_refuses_nobody(self):
        w = self.start(read("llm.yaml"), MODEL_URL=self.mock().url)
        got = [w.ask("/v1/x", method="POST", body=b"{}").status for _ in range(10)]
        self.assertEqual(got, [200] * 10)
        self.assertEqual({l.get("shadow") for l in w.wait_log(10)}, {None, "tighter"})


class ManyUpstreams(Example):
    def mocks(self, names):
        return {name + "_URL": self.named(name).url for name in names}

    def named(self, name):
        """An upstream that answers with its name and what it was asked."""
        def script(peer, number):
            while True:
                r = peer.read_request()
                peer.send(answer_bytes(headers=[("X-Me", name)], body=("%s %s" % (r.target, r.get("host"))).encode()))
        u = self.upstream(script)
        self.upstreams[name] = u
        return u

    def setUp(self):
        super().setUp()
        self.upstreams = {}
        self.w = self.start(read("many_upstreams.yaml"), DRAIN_DELAY="0s", **self.mocks(["APP1", "APP2", "NEXT", "SEARCH", "FILES"]))

    def got(self, path, host="app.example.com", headers=()):
        with self.w.dial() as p:
            p.send(request_bytes(path=path, host=host, headers=headers))
            r = p.read_response()
        return r.status, r.get("x-me"), r.body.decode()

    def test_each_goes_where_it_is_sent(self):
        self.assertIn(self.got("/x")[1], ("APP1", "APP2"))
        self.assertIn(self.got("/x", host="a.b.example.org")[1], ("APP1", "APP2"))
        self.assertEqual(self.got("/x", headers=[("X-Version", "next")])[1], "NEXT")
        self.assertEqual(self.got("/search?q=1"), (200, "SEARCH", "/search?q=1 app.example.com"))
        self.assertEqual(self.got("/static/css/a.css"), (200, "FILES", "/css/a.css files.internal"))
        self.assertEqual(self.got("/x", host="example.net")[0], 404)

    def test_who_is_down_is_left_out_and_at_last_there_is_a_fallback(self):
        self.upstreams["NEXT"].stop()
        self.assertIn(self.got("/x", headers=[("X-Version", "next")])[1], ("APP1", "APP2"))
        self.upstreams["APP1"].stop()
        self.assertEqual({self.got("/x")[1] for _ in range(10)}, {"APP2"})
        self.upstreams["APP2"].stop()
        self.assertEqual(self.got("/x"), (503, None, "back soon\n"))


class Rules(Example):
    def test_rules(self):
        def script(peer, number):
            while True:
                r = peer.read_request()
                peer.send(answer_bytes(headers=[("Server", "secret")], body=("%s %s %s" % (
                    r.target, r.get("x-gateway"), r.get("x-debug"))).encode()))
        w = self.start(read("rules.yaml"), SITE_URL=self.upstream(script).url)
        r = w.ask("/blog/2020")
        self.assertEqual((r.status, r.get("location")), (308, "https://blog.example.com/"))
        self.assertEqual(w.ask("/robots.txt").body, b"User-agent: *\nDisallow: /internal/\n")
        self.assertEqual(w.ask("/people/7").body, b"/users/7 None None")
        r = w.ask("/x", headers=[("X-Debug", "1")])
        self.assertEqual((r.body, r.get("server"), r.get("x-content-type-options")), (b"/x weir None", None, "nosniff"))
        self.assertEqual(w.ask("/internal/").status, 200)        # this machine is one of those that may


class Tls(Example):
    """In a folder of its own beside which the certificates are made that it asks for."""

    def setUp(self):
        super().setUp()
        folder = os.path.join(self.directory, "tls")
        os.mkdir(folder)
        ca = CA(folder)
        ca.issue("server", "DNS:localhost,IP:127.0.0.1")
        for name in ("callers.pem", "api.pem"):
            os.symlink("ca.pem", os.path.join(folder, name))
        self.mine = ca.issue("alice", use="clientAuth")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*ca.issue("upstream", "DNS:localhost"))
        up = Secure(serving(lambda r: answer_bytes(body=("%s %s" % (r.target, r.get("x-client-subject"))).encode())), context)
        self.addCleanup(up.stop)
        self.context = ssl.create_default_context(cafile=ca.pem)
        self.plain = free_port()
        self.w = self.start(read("tls", "weir.yaml"), API_URL=up.url, PLAIN="127.0.0.1:%d" % self.plain)

    def got(self, path):
        raw = socket.create_connection(("127.0.0.1", self.w.port), timeout=10)
        with Peer(self.context.wrap_socket(raw, server_hostname="localhost")) as p:
            p.send(request_bytes(path=path, headers=[("X-Client-Subject", "CN=root")]))
            r = p.read_response()
        return r.status, r.body

    def test_a_part_for_those_with_a_certificate(self):
        self.assertEqual(self.got("/x"), (200, b"/x None"))
        self.assertEqual(self.got("/internal/x"), (403, b"a certificate is needed\n"))
        self.context.load_cert_chain(*self.mine)
        self.assertEqual(self.got("/internal/x"), (200, b"/internal/x CN=alice"))
        r = ask(self.plain, "/x", host="h")
        self.assertEqual((r.status, r.get("location")), (308, "https://h:8443/x"))


class Kubernetes(Example):
    def setUp(self):
        super().setUp()
        parts = {d["kind"]: d for d in yaml.safe_load_all(read("kubernetes", "deploy.yaml"))}
        self.conf, self.pod = parts["ConfigMap"], parts["Deployment"]["spec"]["template"]["spec"]
        self.text_of = self.conf["data"]["weir.yaml"]
        self.container = self.pod["containers"][0]
        self.service = parts["Service"]

    def test_the_manifest_fits_the_configuration(self):
        conf = yaml.safe_load(re.sub(r'"?\$\{\w+:-([^}]*)\}"?', r"\1", self.text_of))
        ports = {p["name"]: p["containerPort"] for p in self.container["ports"]}
        self.assertEqual(conf["listen"], "0.0.0.0:%d" % ports["http"])
        self.assertEqual(conf["probes"], "0.0.0.0:%d" % ports["probes"])
        self.assertEqual(self.service["spec"]["ports"][0]["targetPort"], "http")
        for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            self.assertEqual(self.container[probe]["httpGet"], {"path": path, "port": "probes"})
        mount, volume = self.container["volumeMounts"][0], self.pod["volumes"][0]
        self.assertNotIn("subPath", mount)
        self.assertEqual((mount["name"], volume["configMap"]["name"]), (volume["name"], self.conf["metadata"]["name"]))
        self.assertEqual(self.container["args"][2], mount["mountPath"] + "/weir.yaml")
        drain = sum(int(conf["drain"][k].rstrip("s")) for k in ("delay", "timeout"))
        self.assertLess(drain, self.pod["terminationGracePeriodSeconds"])

    def test_it_loads_as_it_stands(self):
        path = os.path.join(self.directory, "weir.yaml")
        with open(path, "w") as f:
            f.write(self.text_of)
        p = subprocess.run([WEIR, "check", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        self.assertEqual(p.returncode, 0, p.stdout)

    def test_it_runs_and_the_probes_see_the_end(self):
        probes = free_port()
        m = self.mock()
        port, admin = free_port(), free_port()
        env = dict(os.environ, PORT=str(port), ADMIN_PORT=str(admin), PROBES_PORT=str(probes), API_URL=m.url, DRAIN_DELAY="60s")
        w = Weir(self.directory, self.text_of, env=env, ready=False)
        self.addCleanup(w.stop)
        w.port, w.admin = port, admin
        wait_until("weir to be ready", w.is_ready, 20)
        self.assertEqual(w.ask("/x").json()["path"], "/x")
        self.assertEqual((ask(probes, "/healthz").status, ask(probes, "/readyz").status, ask(probes, "/metrics").status),
                         (200, 200, 404))
        w.signal(15)
        wait_until("the kubelet to be told", lambda: ask(probes, "/readyz").status == 503)
        self.assertEqual(w.ask("/x").status, 200)    # the load balancer has not noticed yet
        w.signal(15)
        self.assertEqual(w.wait(), 0)


if __name__ == "__main__":
    main()
