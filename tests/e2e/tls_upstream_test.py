# SPDX-License-Identifier: Apache-2.0
"""TLS towards endpoints, spoken by Python's ssl: whose certificates are taken, what is shown and asked for, what is resumed and
kept, what a reload changes, and what becomes of a handshake or an answer that breaks off."""

import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

from certs import CA, run
from harness import Case, Closed, Peer, Upstream, WEIR, answer_bytes, ask, main, request_bytes, serving, wait_until

OK = answer_bytes(body=b"ok")


class Secure(Upstream):
    """An upstream that speaks TLS; what it learns of each connection stands in `seen`."""

    def __init__(self, script, context, head=None):
        self.context, self.head, self.seen = context, head, []
        context.sni_callback = self.named
        self.names = {}
        super().__init__(self.secured(script))
        self.url = "https://localhost:%d" % self.port

    def named(self, sock, name, _):
        sock.asked_for = name

    def secured(self, script):
        def run_it(peer, number):
            head = self.head(peer) if self.head else None
            sock = self.context.wrap_socket(peer.sock, server_side=True)
            peer.sock = sock
            sock.settimeout(10)
            self.seen.append({"name": getattr(sock, "asked_for", None), "alpn": sock.selected_alpn_protocol(),
                              "version": sock.version(), "resumed": sock.session_reused, "head": head,
                              "peer": sock.getpeercert()})
            script(peer, number)
        return run_it


class Relay:
    """Passes bytes between weir and an upstream: `down(bytes)` yields what goes to weir, in pieces; at its end both are cut."""

    def __init__(self, port, down):
        self.port, self.down = port, down
        self.upstream = Upstream(self.serve)
        self.url = "https://localhost:%d" % self.upstream.port

    def serve(self, peer, _):
        there = socket.create_connection(("127.0.0.1", self.port), timeout=10)

        def up():
            try:
                while True:
                    got = peer.sock.recv(65536)
                    if not got:
                        there.shutdown(socket.SHUT_WR)
                        return
                    there.sendall(got)
            except OSError:
                pass
        threading.Thread(target=up, daemon=True).start()
        try:
            for piece in self.down(there):
                peer.send(piece)
        finally:
            peer.sock.shutdown(socket.SHUT_RDWR)         # the other thread is in a read of it
            there.close()


class Out(Case):
    def setUp(self):
        super().setUp()
        self.ca = CA(self.directory)
        self.good = self.ca.issue("good", "DNS:localhost,DNS:test.example,DNS:*.wild.example,IP:127.0.0.1")

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def context(self, pair=None, **more):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(*(pair or self.good))
        c.set_alpn_protocols(["h2", "http/1.1"])
        for name, value in more.items():
            setattr(c, name, value)
        return c

    def secure(self, script=None, context=None, head=None):
        u = Secure(script or serving(lambda r: OK), context or self.context(), head)
        self.addCleanup(u.stop)
        return u

    def gate(self, u, up="", ca=True, tls="", **more):
        said = ", ".join(x for x in ("ca: %s" % self.ca.pem if ca else "", tls) if x)
        return self.proxy(u, up=(", tls: {%s}" % said if said else "") + up, **more)

    def refused(self, w, *words, n=1):
        r = w.ask("/")
        self.assertEqual((r.status, r.json()["reason"]), (502, "tls_failed"))
        fault = w.wait_log(n, reason="tls_failed")[-1]["fault"]
        for word in words:
            self.assertIn(word, fault)
            self.assertIn(word.encode(), w.stderr())
        self.assertIn(b"tls_failed", w.stderr())

    def check(self, yaml):
        path = self.path("check.yaml")
        with open(path, "w") as f:
            f.write(yaml)
        done = subprocess.run([WEIR, "check", path], capture_output=True, timeout=20)
        return done.returncode, (done.stdout + done.stderr).decode()

    def states(self, w):
        return [e for u in ask(w.admin, "/upstreams").json()["upstreams"] for e in u["endpoints"]]


class Whom(Out):
    def test_a_good_one(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            got = []
            u = self.secure(serving(lambda r: got.append(r) or OK), self.context(maximum_version=version))
            w = self.gate(u, top="workers: 1")
            for _ in range(3):
                self.assertEqual(w.ask("/").body, b"ok")
            self.assertEqual(len(u.seen), 1)             # one connection for all
            self.assertEqual((u.seen[0]["name"], u.seen[0]["alpn"]), ("localhost", "http/1.1"))
            self.assertEqual(got[0].get("host"), "localhost:%d" % u.port)
            self.assertEqual(w.metrics()["weir_upstream_tls_handshakes_total"], 1)

    def test_host_decides_the_name(self):
        u = self.secure()
        for host, name in (("test.example:8080", "test.example"), ("A.Wild.Example", "a.wild.example")):
            w = self.gate(u, ", host: '%s'" % host)
            self.assertEqual(w.ask("/").body, b"ok")
            self.assertEqual(u.seen[-1]["name"], name)
        self.refused(self.gate(u, ", host: other.example"), "ostname mismatch")
        self.refused(self.gate(u, ", host: a.b.wild.example"), "ostname mismatch")

    def test_an_address_is_checked_and_not_asked_for(self):
        u = self.secure()
        w = self.gate("https://127.0.0.1:%d" % u.port)
        self.assertEqual(w.ask("/").body, b"ok")
        self.assertIsNone(u.seen[0]["name"])
        named = self.secure(context=self.context(self.ca.issue("named", "DNS:localhost")))
        self.refused(self.gate("https://127.0.0.1:%d" % named.port), "IP address mismatch")

    def test_who_is_refused(self):
        other = CA(self.directory, "other")
        rows = [
            (self.ca.expired("old", "DNS:localhost"), "certificate has expired"),
            (self.ca.issue("wrong", "DNS:example.com,DNS:*.localhost"), "ostname mismatch"),
            (self.ca.issue("cn", subject="/CN=localhost"), "ostname mismatch"),
            (other.issue("stranger", "DNS:localhost"), "unable to get local issuer certificate"),
            (self.ca.issue("client", "DNS:localhost", use="clientAuth"), "purpose"),
        ]
        got = []
        for pair, word in rows:
            u = self.secure(serving(lambda r: got.append(r) or OK), self.context(pair))
            self.refused(self.gate(u), word)
        self.assertEqual(got, [])

    def test_revoked(self):
        number = self.ca.serial
        u = self.secure()
        self.assertEqual(self.gate(u, tls="crl: %s" % self.ca.crl("none.crl")).ask("/").body, b"ok")
        self.refused(self.gate(u, tls="crl: %s" % self.ca.crl("some.crl", number)), "certificate revoked")

    def test_self_signed(self):
        pem, key = self.path("self.pem"), self.path("self.key")
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", pem,
            "-days", "30", "-subj", "/CN=self", "-addext", "subjectAltName=DNS:localhost")
        u = self.secure(context=self.context((pem, key)))
        self.refused(self.gate(u), "self")
        w = self.proxy(u, up=", tls: {ca: %s}" % pem)        # unless it is just that one which is believed
        self.assertEqual(w.ask("/").body, b"ok")

    def test_the_systems_cas(self):
        u = self.secure()
        w = self.gate(u, ca=False, env=dict(os.environ, SSL_CERT_FILE=self.ca.pem))
        self.assertEqual(w.ask("/").body, b"ok")
        other = CA(self.directory, "other")
        self.refused(self.gate(u, ca=False, env=dict(os.environ, SSL_CERT_FILE=other.pem)), "unable to get local issuer")

    def test_not_verified_is_loud(self):
        u = self.secure(context=self.context(self.ca.expired("old", "DNS:nobody")))
        w = self.gate(u, ca=False, tls="verify: false")
        self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual(u.seen[0]["name"], "localhost")
        self.assertIn(b"W005", w.stderr())
        self.assertIn(b"not verified (tls.verify: false) in 1 upstream, api alone", w.stderr())
        self.assertEqual(w.metrics()['weir_upstream_tls_unverified{upstream="api"}'], 1)
        self.assertEqual(self.gate(self.secure()).metrics()['weir_upstream_tls_unverified{upstream="api"}'], 0)

    def test_modern(self):
        u = self.secure(context=self.context(maximum_version=ssl.TLSVersion.TLSv1_2))
        self.refused(self.gate(u, tls="profile: modern"), "version")
        u = self.secure()
        self.assertEqual(self.gate(u, tls="profile: modern").ask("/").body, b"ok")
        self.assertEqual(u.seen[0]["version"], "TLSv1.3")

    def test_what_is_old_is_refused(self):
        c = self.context()
        c.set_ciphers("AES128-SHA:AES256-SHA:@SECLEVEL=0")
        c.maximum_version = ssl.TLSVersion.TLSv1_2
        self.refused(self.gate(self.secure(context=c)))
        c = self.context()
        c.set_ciphers("ALL:@SECLEVEL=0")
        c.minimum_version, c.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        self.refused(self.gate(self.secure(context=c)))

    def test_a_certificate_of_ours(self):
        mine = self.ca.issue("mine", "DNS:weir", subject="/CN=weir at home", use="clientAuth")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            c = self.context(maximum_version=version, verify_mode=ssl.CERT_REQUIRED)
            c.load_verify_locations(self.ca.pem)
            u = self.secure(context=c)
            w = self.gate(u, tls="certificate: %s, key: %s" % mine)
            self.assertEqual(w.ask("/").body, b"ok")
            self.assertIn((("commonName", "weir at home"),), u.seen[0]["peer"]["subject"])
            w = self.gate(u)
            self.refused(w, "alert")
            if version == ssl.TLSVersion.TLSv1_3:
                self.assertIn(b"alert certificate required: the endpoint asks for a certificate (tls.certificate)", w.stderr())
            theirs = CA(os.path.dirname(self.ca.pem), "theirs").issue("foreign", "DNS:weir", use="clientAuth")
            w = self.gate(u, tls="certificate: %s, key: %s" % theirs)
            self.refused(w, "alert")
            self.assertIn(b"alert unknown ca: the endpoint does not know the CA of the certificate that it is shown", w.stderr())
            self.assertEqual(self.states(w)[0]["last_failure"], "tls_failed")


class Names(Out):
    """With `host: client` the name is the caller's."""

    def closing(self, r):
        return answer_bytes(headers=[("Connection", "close")], body=b"ok")

    def test_each_name_has_connections_of_its_own(self):
        u = self.secure()
        w = self.gate(u, ", host: client", top="workers: 1")
        for host in ("localhost", "test.example", "localhost:80", "TEST.example", "a.wild.example", "localhost"):
            self.assertEqual(w.ask("/", host=host).body, b"ok", host)
        self.assertEqual([s["name"] for s in u.seen], ["localhost", "test.example", "a.wild.example"])
        self.assertEqual([s["resumed"] for s in u.seen], [False] * 3)

    def test_none_falls_to_the_endpoints(self):
        u = self.secure()
        w = self.gate(u, ", host: client")
        self.assertEqual(w.ask("/", host=None, version="1.0").body, b"ok")
        self.assertEqual(u.seen[0]["name"], "localhost")

    def test_a_name_that_the_endpoint_has_not_is_the_callers_doing(self):
        u = self.secure()
        w = self.gate(u, ", host: client, eject: {failures: 1, share: 100%}")
        for i in range(5):
            r = w.ask("/", host="other%d.example" % i)
            self.assertEqual((r.status, r.json()["reason"]), (502, "tls_failed"))
        self.assertIn(b"ostname mismatch (name other0.example)", w.stderr())
        state = self.states(w)[0]
        self.assertEqual((state["state"], state["last_failure"]), ("up", None))
        self.assertEqual(w.ask("/", host="localhost").body, b"ok")

    def test_sessions_do_not_cross_names(self):
        u = self.secure(serving(self.closing))
        w = self.gate(u, ", host: client", top="workers: 1")
        for host in ("localhost", "localhost", "test.example", "localhost", "localhost"):
            self.assertEqual(w.ask("/", host=host).body, b"ok")
            wait_until("it to be closed", lambda: w.metrics()["weir_upstream_connections"] == 0)
        self.assertEqual([s["resumed"] for s in u.seen], [False, True, False, False, True])


class Sessions(Out):
    def test_resumed(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            u = self.secure(serving(lambda r: answer_bytes(headers=[("Connection", "close")], body=b"ok")),
                            self.context(maximum_version=version))
            w = self.gate(u, top="workers: 1")
            for _ in range(4):
                self.assertEqual(w.ask("/").body, b"ok")
                wait_until("it to be closed", lambda: w.metrics()["weir_upstream_connections"] == 0)
            self.assertEqual([s["resumed"] for s in u.seen], [False, True, True, True])
            self.assertEqual(w.metrics()["weir_upstream_tls_handshakes_resumed_total"], 3)

    def test_one_that_is_not_taken(self):
        contexts = [self.context(), self.context()]
        u = self.secure(serving(lambda r: answer_bytes(headers=[("Connection", "close")], body=b"ok")), contexts[0])
        w = self.gate(u, top="workers: 1")
        self.assertEqual(w.ask("/").body, b"ok")
        u.context = contexts[1]          # another server, with keys of its own
        contexts[1].sni_callback = u.named
        for _ in range(2):
            self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual([s["resumed"] for s in u.seen], [False, False, True])

    def test_an_idle_one_that_was_closed_is_replaced(self):
        def script(peer, number):
            peer.read_request()
            peer.send(OK)
            if number == 0:
                peer.sock.unwrap()       # close_notify
            elif number > 1:
                script(peer, number)
        u = self.secure(script)
        w = self.gate(u, top="workers: 1")
        for _ in range(4):
            self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual(len(w.wait_log(4, status=200)), 4)


class Reloads(Out):
    def reload(self, w, ok=True):
        done = subprocess.run([WEIR, "reload", "-c", w.conf_path], capture_output=True, timeout=20)
        self.assertEqual(done.returncode == 0, ok, done.stdout + done.stderr)
        return (done.stdout + done.stderr).decode()

    def planned(self, w):
        return subprocess.run([WEIR, "plan", "-c", w.conf_path], capture_output=True, timeout=20).stdout.decode()

    def edit(self, w, old, new):
        with open(w.conf_path) as f:
            text = f.read()
        self.assertIn(old, text)
        with open(w.conf_path, "w") as f:
            f.write(text.replace(old, new))

    def test_another_ca(self):
        shutil.copy(self.ca.pem, self.path("believed.pem"))
        other = CA(self.directory, "other")
        u = self.secure()
        w = self.proxy(u, up=", tls: {ca: %s}" % self.path("believed.pem"), top="workers: 1\nreload: {watch: false}")
        self.assertEqual(w.ask("/").body, b"ok")
        self.reload(w)                   # the same: the connection stays
        self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual(len(u.seen), 1)
        self.assertIn("nothing changes", self.planned(w))
        shutil.copy(other.pem, self.path("believed.pem"))
        self.assertRegex(self.planned(w), "upstream \\w+: changed\n    endpoints are checked or shown something else: connections end")
        self.assertEqual(w.metrics()["weir_upstream_connections_idle"], 1)
        self.reload(w)
        self.assertEqual(w.metrics()["weir_upstream_connections_idle"], 0)
        self.refused(w, "unable to get local issuer certificate")
        u.context = self.context(other.issue("theirs", "DNS:localhost"))
        self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual([s["resumed"] for s in u.seen], [False, False])

    def test_the_watch_sees_it_and_what_cannot_be_used_changes_nothing(self):
        shutil.copy(self.ca.pem, self.path("believed.pem"))
        other = CA(self.directory, "other")
        u = self.secure()
        w = self.proxy(u, up=", tls: {ca: %s}" % self.path("believed.pem"), top="reload: {poll: 100ms}")
        self.assertEqual(w.ask("/").body, b"ok")
        self.write("believed.pem", b"nonsense")
        wait_until("the refusal", lambda: b"E073" in w.stderr())
        self.assertEqual(w.ask("/").body, b"ok")
        shutil.copy(other.pem, self.path("believed.pem"))
        wait_until("the other CA", lambda: w.ask("/").status == 502)

    def test_verification_switched_on_again_believes_no_session(self):
        u = self.secure(serving(lambda r: answer_bytes(headers=[("Connection", "close")], body=b"ok")),
                        self.context(self.ca.expired("old", "DNS:localhost")))
        w = self.gate(u, ca=False, tls="verify: false", top="workers: 1\nreload: {watch: false}")
        for _ in range(2):
            self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual([s["resumed"] for s in u.seen], [False, True])
        self.edit(w, "verify: false", "ca: " + self.ca.pem)
        self.reload(w)
        self.refused(w, "certificate has expired")

    def test_a_connection_under_way_is_not_kept_for_later(self):
        go = threading.Event()

        def script(peer, number):
            while True:
                peer.read_request()
                if number == 0:
                    go.wait(10)
                peer.send(OK)
        u = self.secure(script)
        w = self.gate(u, tls="verify: true", top="workers: 1\nreload: {watch: false}")
        with w.dial() as p:
            p.send(request_bytes())
            wait_until("it to arrive", lambda: len(u.seen) == 1)
            self.edit(w, "verify: true", "profile: modern")
            self.reload(w)
            go.set()
            self.assertEqual(p.read_response().body, b"ok")
        self.assertEqual(w.metrics()["weir_upstream_connections"], 0)
        self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual(len(u.seen), 2)

    def test_files_are_checked_when_the_configuration_is(self):
        yaml = ("version: 1\nlisten: 127.0.0.1:1\nupstreams:\n  api:\n    endpoints: https://localhost\n    tls: {%s}\n"
                "routes: [{match: /, upstream: api}]\n")
        other = self.ca.issue("other", "DNS:o.example", use="clientAuth")
        locked = self.path("locked.key")
        run("ec", "-in", self.good[1], "-aes128", "-passout", "pass:x", "-out", locked)
        old = self.ca.expired("old", "DNS:x")
        pair = "certificate: %s, key: %s"
        for text, words in (
                ("ca: /nowhere/ca.pem", ("E070", "/nowhere/ca.pem", "No such file")),
                ("ca: " + self.good[1], ("E073",)),
                ("ca: " + self.write("empty.pem", b""), ("E073", "no certificate")),
                (pair % (self.good[0], other[1]), ("E072", "not the key of the certificate")),
                (pair % (self.good[0], locked), ("E072", "encrypted")),
                (pair % (self.good[1], self.good[1]), ("E071",)),
                (pair % old, ("E071", "expired")),
                (pair % (self.good[0], "/nowhere/key"), ("E070",))):
            status, said = self.check(yaml % text)
            self.assertNotEqual(status, 0, text)
            for word in words:
                self.assertIn(word, said, text)
        status, said = self.check(yaml % (pair % self.good + ", ca: " + self.ca.pem))
        self.assertEqual(status, 0, said)


class Handshakes(Out):
    def test_one_that_stalls(self):
        def silent(peer, _):
            peer.sock.recv(1)
            time.sleep(10)
        u = self.upstream(silent)
        w = self.gate("https://localhost:%d" % u.port, ", timeouts: {connect: 300ms}")
        r = w.ask("/")
        self.assertEqual((r.status, r.json()["reason"]), (504, "connect_timeout"))
        line = w.wait_log(reason="connect_timeout")[0]
        self.assertEqual(line["fault"], "tls_timeout")
        self.assertTrue(250 < line["duration_ms"] < 3000)
        w = self.gate("https://localhost:%d" % u.port, ", filters: [{timeout: {tls: 100ms}}]")
        self.assertEqual(w.ask("/").status, 504)
        self.assertTrue(80 < w.wait_log()[0]["duration_ms"] < 1500)
        self.assertEqual(w.metrics()["weir_upstream_tls_handshakes_failed_total"], 1)

    def test_what_is_no_handshake(self):
        rows = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nnaive", "HTTP without TLS"),
            (b"\x16\x03\x03\x00\x05\x02\x00\x00\x01\x00", ""),
            (b"\xff" * 300, ""), (b"\x15\x03\x03\x00\x02\x02\x28", "alert handshake failure"),
            (b"\x15\x03\x03\x00\x02\x02\x70", "unrecognized name"), (b"", "the connection ended"),
            (b"\x16\x03\x03\x40\x00" + b"\x02\x00\xff\xff" + b"\0" * 16380 + b"\x16\x03\x03\x40\x00" + b"\0" * 16384, ""),
        ]
        for data, word in rows:
            def script(peer, _):
                peer.sock.recv(4096)
                peer.send(data)
            u = self.upstream(script)
            w = self.gate("https://localhost:%d" % u.port)
            self.refused(w, word)
            self.assertNotIn(b"naive", w.ask("/").raw)

    def test_an_answer_before_the_handshake_reaches_nobody(self):
        def head(peer):
            peer.send(answer_bytes(body=b"injected"))
        u = self.secure(head=head)
        w = self.gate(u)
        self.refused(w)
        self.assertNotIn(b"injected", w.ask("/").body)

    def test_cut_anywhere(self):
        u = self.secure()
        limit = [0]

        def down(there):
            left = limit[0]
            while left > 0:
                got = there.recv(left)
                if not got:
                    return
                left -= len(got)
                yield got
        r = Relay(u.port, down)
        self.addCleanup(r.upstream.stop)
        w = self.gate(r, top="workers: 1")
        statuses = set()
        for n in list(range(0, 1400, 90)) + [4000]:
            limit[0] = n
            a = w.ask("/")
            statuses.add((a.status, a.json()["reason"] if a.status != 200 else ""))
        self.assertLessEqual(statuses, {(502, "tls_failed"), (502, "upstream_reset"), (502, "upstream_cut"), (200, "")})
        self.assertIn((502, "tls_failed"), statuses)
        wait_until("no connection to be left", lambda: w.metrics()["weir_upstream_connections"] == 0)

    def test_byte_by_byte(self):
        u = self.secure()

        def down(there):
            while True:
                got = there.recv(4096)
                if not got:
                    return
                for i in range(len(got)):
                    yield got[i:i + 1]
        r = Relay(u.port, down)
        self.addCleanup(r.upstream.stop)
        w = self.gate(r)
        for _ in range(3):
            self.assertEqual(w.ask("/").body, b"ok")

    def test_a_failure_counts_and_another_endpoint_is_tried(self):
        bad = self.secure(context=self.context(self.ca.expired("old", "DNS:localhost")))
        good = self.secure()
        w = self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
workers: 1
upstreams:
  api:
    endpoints: ["%s", "%s"]
    balance: round_robin
    tls: {ca: %s}
    eject: {failures: 2}
    filters: [retry]
routes: [{match: /, upstream: api}]
""" % (bad.url, good.url, self.ca.pem))
        for i in range(10):
            r = w.ask("/", "POST", body=b"x")
            self.assertEqual(r.body, b"ok")
        self.assertEqual({l["attempts"] for l in w.wait_log(10)}, {1, 2})
        states = self.states(w)
        self.assertEqual([s["state"] for s in states], ["ejected", "up"])
        self.assertEqual(states[0]["last_failure"], "tls_failed")
        self.assertEqual(w.metrics()["weir_upstream_tls_handshakes_failed_total"], 2)

    def test_a_breaker_counts_it(self):
        bad = self.secure(context=self.context(self.ca.expired("old", "DNS:localhost")))
        w = self.gate(bad, ", eject: {failures: 0, ratio: 0%}, filters: [breaker: {min_requests: 3}]", top="workers: 1")
        reasons = [w.ask("/").json()["reason"] for _ in range(5)]
        self.assertEqual(reasons, ["tls_failed"] * 3 + ["breaker_open"] * 2)


class Exchanges(Out):
    def test_large_bodies_both_ways(self):
        body = os.urandom(3_000_000)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            u = self.secure(serving(lambda r: answer_bytes(body=r.body)), self.context(maximum_version=version))
            w = self.gate(u, top="workers: 1")
            self.assertEqual(w.ask("/", "POST", body=body).body, body)
            with w.dial() as p:
                p.send(request_bytes("POST", "/", [("Transfer-Encoding", "chunked")]))
                for i in range(0, 300_000, 10_000):
                    p.send(b"2710\r\n" + body[i:i + 10_000] + b"\r\n")
                p.send(b"0\r\n\r\n")
                self.assertEqual(p.read_response().body, body[:300_000])
            self.assertEqual(len(u.seen), 1)

    def test_a_slow_reader_holds_the_endpoint_back(self):
        sent = [0]

        def script(peer, _):
            peer.read_request()
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
            for _ in range(200):
                peer.send(b"x" * 100_000)
                sent[0] += 100_000
        w = self.gate(self.secure(script))
        with w.dial() as p:
            p.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            p.send(request_bytes())
            time.sleep(0.5)
            self.assertLess(w.metrics()["weir_buffered_bytes"], 1_000_000)
            self.assertEqual(len(p.read_response().body), 20_000_000)

    def until_close(self, ending):
        def script(peer, _):
            peer.read_request()
            peer.send("HTTP/1.1 200 OK\r\n\r\n" + "x" * 50_000)
            ending(peer)
        return self.gate(self.secure(script))

    def test_an_end_counts_only_with_close_notify(self):
        w = self.until_close(lambda peer: peer.sock.unwrap())
        self.assertEqual(len(w.ask("/").body), 50_000)
        self.assertEqual(w.wait_log()[0]["reason"], "none")

        def fin(peer):
            socket.socket.shutdown(peer.sock, socket.SHUT_WR)
            time.sleep(0.5)
        for ending in (fin, lambda peer: peer.reset()):
            w = self.until_close(ending)
            with self.assertRaises(Closed):
                w.ask("/")
            self.assertEqual(w.wait_log()[0]["reason"], "upstream_cut")
        self.assertNotIn(b"tls_failed", w.stderr())

    def test_a_length_needs_no_close_notify(self):
        def script(peer, _):
            peer.read_request()
            peer.send(answer_bytes(body=b"y" * 70_000))
        self.assertEqual(len(self.gate(self.secure(script)).ask("/").body), 70_000)

    def test_a_tunnel(self):
        def script(peer, _):
            peer.read_request()
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            try:
                while True:
                    peer.fill()
                    peer.send(peer.buf)
                    peer.buf = b""
            except Closed:
                peer.sock.unwrap()
        w = self.gate(self.secure(script))
        with w.dial() as p:
            p.send(request_bytes(headers=[("Connection", "upgrade"), ("Upgrade", "echo")]))
            self.assertEqual(p.read_response().status, 101)
            for i in range(3):
                p.send(b"ping%d" % i)
                self.assertEqual(p.take(5), b"ping%d" % i)
            p.end_sending()
            self.assertTrue(p.ended())

    def test_key_updates_and_pipelined_rubbish(self):
        def script(peer, _):
            peer.read_request()
            peer.send(OK + OK)           # nobody asked for the second
            peer.read_request()
        u = self.secure(script)
        w = self.gate(u, top="workers: 1")
        for _ in range(3):
            self.assertEqual(w.ask("/").body, b"ok")
        self.assertEqual(len(u.seen), 3)

    def test_both_sides(self):
        pem, key = self.ca.issue("front", "DNS:front.example")
        u = self.secure(serving(lambda r: answer_bytes(body=r.body)))
        w = self.gate(u, listen="[{at: '127.0.0.1:@PORT@', tls: {certificates: {certificate: %s, key: %s}}}]" % (pem, key))
        c = ssl.create_default_context(cafile=self.ca.pem)
        body = os.urandom(500_000)
        with Peer(c.wrap_socket(socket.create_connection(("127.0.0.1", w.port)), server_hostname="front.example")) as p:
            for _ in range(3):
                p.send(request_bytes("POST", "/", body=body))
                self.assertEqual(p.read_response().body, body)
        self.assertEqual(len(u.seen), 1)


class Checks(Out):
    def test_they_speak_tls_too(self):
        good, seen = self.secure(serving(lambda r: seen.append(r) or answer_bytes(headers=[("Connection", "close")]))), []
        bad = self.secure(context=self.context(self.ca.expired("old", "DNS:localhost")))
        plain = self.upstream(lambda peer, _: (peer.sock.recv(4096), peer.send(OK)))
        w = self.weir("""version: 1
listen: 127.0.0.1:@PORT@
admin: 127.0.0.1:@ADMIN@
upstreams:
  api:
    endpoints: ["%s", "%s", "https://localhost:%d"]
    tls: {ca: %s}
    health: {path: /well, every: 200ms, rise: 1, fall: 2}
routes: [{match: /, upstream: api}]
""" % (good.url, bad.url, plain.port, self.ca.pem))
        wait_until("the checks", lambda: [s["state"] for s in self.states(w)] == ["up", "down", "down"] and len(seen) > 3)
        wait_until("why", lambda: self.states(w)[1]["last_failure"] == "tls_failed")
        self.assertEqual((seen[0].target, seen[0].get("host")), ("/well", "localhost:%d" % good.port))
        self.assertIn(b"check: tls_failed: certificate has expired (name localhost)", w.stderr())
        self.assertEqual({s["name"] for s in good.seen}, {"localhost"})
        self.assertEqual({s["resumed"] for s in good.seen}, {False})       # the certificate is looked at each time
        bad.context = good.context
        wait_until("it to come back", lambda: self.states(w)[1]["state"] in ("up", "ramping"))

    def test_an_answer_in_records_that_come_together(self):
        def script(peer, _):
            peer.read_request()
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            for line in ("HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n", "\r\n"):
                peer.send(line)
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            peer.ended()
        w = self.gate(self.secure(script), ", health: {path: /, every: 300ms, fall: 1}")
        wait_until("checks", lambda: self.states(w)[0]["checks"]["ok"] > 1)
        self.assertEqual(self.states(w)[0]["checks"]["failed"], 0)

    def test_one_that_stalls_is_over_in_time(self):
        def silent(peer, _):
            peer.sock.recv(1)
            time.sleep(5)
        u = self.upstream(silent)
        w = self.gate("https://localhost:%d" % u.port, ", health: {path: /, every: 100ms, timeout: 50ms, fall: 1}")
        wait_until("it to be down", lambda: self.states(w)[0]["state"] == "down")
        self.assertEqual(self.states(w)[0]["last_failure"], "connect_timeout")

    def test_a_certificate_of_ours(self):
        mine = self.ca.issue("mine", "DNS:weir", use="clientAuth")
        c = self.context(verify_mode=ssl.CERT_REQUIRED)
        c.load_verify_locations(self.ca.pem)
        u = self.secure(serving(lambda r: answer_bytes(body=b"z" * 100_000)), c)
        health = ", health: {path: /, every: 50ms, rise: 1, fall: 1}"
        w = self.gate(u, health, tls="certificate: %s, key: %s" % mine)
        wait_until("a check", lambda: self.states(w)[0]["checks"]["ok"] > 2)
        w = self.gate(u, health)
        wait_until("a check", lambda: self.states(w)[0]["last_failure"] == "tls_failed")


class Proxied(Out):
    def head(self, version):
        def read(peer):
            if version == "v1":
                line = b""
                while not line.endswith(b"\r\n"):
                    line += peer.sock.recv(1)
                return line
            head = b""
            while len(head) < 16 or len(head) < 16 + struct.unpack(">H", head[14:16])[0]:
                head += peer.sock.recv(1)
            return head
        return read

    def test_the_header_goes_in_front_of_the_handshake(self):
        for version, word in (("v1", b"PROXY TCP4 127.0.0.1 127.0.0.1"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11")):
            u = self.secure(head=self.head(version))
            w = self.gate(u, ", proxy_protocol: " + version)
            with w.dial() as p:
                for _ in range(3):
                    p.send(request_bytes())
                    self.assertEqual(p.read_response().body, b"ok")
            self.assertEqual(w.ask("/").body, b"ok")         # another caller: another connection
            self.assertEqual(len(u.seen), 2)
            self.assertTrue(u.seen[0]["head"].startswith(word), u.seen[0]["head"])

    def test_of_checks_too(self):
        for version, word in (("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20")):
            u = self.secure(head=self.head(version))
            w = self.gate(u, ", proxy_protocol: %s, health: {path: /, every: 50ms, rise: 1}" % version)
            wait_until("checks", lambda: self.states(w)[0]["checks"]["ok"] > 2)
            self.assertTrue(u.seen[0]["head"].startswith(word), u.seen[0]["head"])


if __name__ == "__main__":
    main()
