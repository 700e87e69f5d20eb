# SPDX-License-Identifier: Apache-2.0
"""TLS towards clients, spoken by Python's ssl and the openssl program: who gets which certificate, what is refused and how,
what a reload changes, and that everything above it works as it does without."""

import calendar
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

from certs import CA, run
from harness import (Case, Closed, LONG, Peer, SANITIZED, WEIR, answer_bytes, ask, connects, dial, main, request_bytes, serving,
                     wait_until)


class Tls(Case):
    def setUp(self):
        super().setUp()
        self.ca = CA(self.directory)
        self.pem, self.key = self.ca.issue("site", "DNS:test.example,DNS:*.wild.example")

    def tls_yaml(self, certificates=None, more=""):
        certificates = certificates or [(self.pem, self.key)]
        return "tls: {certificates: [%s]%s}" % (", ".join("{certificate: %s, key: %s}" % c[:2] for c in certificates), more)

    def gate(self, upstream=None, certificates=None, more="", listen_more="", **args):
        listen = "[{at: '127.0.0.1:@PORT@', %s%s}]" % (self.tls_yaml(certificates, more), listen_more)
        return self.proxy(upstream or self.mock(), listen=listen, **args)

    def context(self, **more):
        c = ssl.create_default_context(cafile=self.ca.pem)
        for name, value in more.items():
            setattr(c, name, value)
        return c

    def dial(self, w, name="test.example", context=None, session=None):
        raw = socket.create_connection(("127.0.0.1", w.port), timeout=10)
        try:
            return Peer((context or self.context()).wrap_socket(raw, server_hostname=name, session=session))
        except BaseException:
            raw.close()
            raise

    def ask(self, w, path="/bytes/1", method="GET", name="test.example", context=None, **more):
        with self.dial(w, name, context) as p:
            p.send(request_bytes(method, path, **more))
            return p.read_response(method)

    def subject(self, w, name, context=None):
        c = context or self.context(check_hostname=False)
        with self.dial(w, name, c) as p:
            p.send(request_bytes(path="/bytes/1"))       # who leaves before that may have ended the handshake for his part alone
            p.read_response()
            return dict(x[0] for x in p.sock.getpeercert()["subject"])["commonName"]

    def write(self, name, data):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def check(self, yaml, **args):
        path = os.path.join(self.directory, "check.yaml")
        with open(path, "w") as f:
            f.write(yaml)
        done = subprocess.run([WEIR, "check", path], capture_output=True, timeout=20, **args)
        return done.returncode, (done.stdout + done.stderr).decode()


class Exchange(Tls):
    def test_plain_callers_are_sent_to_tls(self):
        w = self.weir("""version: 1
listen:
  - {at: "127.0.0.1:@PORT@", %s}
  - {at: "127.0.0.1:@ADMIN@"}
upstreams: {api: {endpoints: ["%s"]}}
routes:
  - {match: /.well-known/acme-challenge/, respond: {body: token}}
  - {match: /, upstream: api, filters: [{https_redirect: {port: @PORT@}}]}
""" % (self.tls_yaml(), self.mock().url), ready=False)
        wait_until("the listeners", lambda: connects(w.admin) and connects(w.port))
        self.assertEqual(ask(w.admin, "/.well-known/acme-challenge/x").body, b"token")
        out = subprocess.run(["curl", "-sSL", "-w", " %{url_effective} %{num_redirects} %{method}", "--cacert", self.ca.pem, "--connect-to",
                              "test.example:%d:127.0.0.1:%d" % (w.admin, w.admin), "--connect-to",
                              "test.example:%d:127.0.0.1:%d" % (w.port, w.port), "-d", "abc",
                              "http://test.example:%d/echo?a=b" % w.admin], capture_output=True, check=True, timeout=20).stdout
        self.assertEqual(out, b"abc https://test.example:%d/echo?a=b 1 POST" % w.port)

    def test_a_request(self):
        w = self.gate()
        r = self.ask(w, "/echo", "POST", body=b"x" * 3000)
        self.assertEqual((r.status, r.body), (200, b"x" * 3000))

    def test_versions_and_protocols(self):
        w = self.gate()
        for version, word in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            c = self.context(minimum_version=version, maximum_version=version)
            c.set_alpn_protocols(["h2", "http/1.1"])
            with self.dial(w, context=c) as p:
                self.assertEqual((p.sock.version(), p.sock.selected_alpn_protocol()), (word, "http/1.1"))
                for _ in range(3):
                    p.send(request_bytes(path="/bytes/10"))
                    self.assertEqual(len(p.read_response().body), 10)
        c = self.context()
        c.set_alpn_protocols(["h2"])
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            self.dial(w, context=c)

    def test_modern_is_1_3_alone(self):
        w = self.gate(more=", profile: modern")
        self.assertEqual(self.ask(w).status, 200)
        with self.assertRaises(ssl.SSLError):
            self.dial(w, context=self.context(maximum_version=ssl.TLSVersion.TLSv1_2))

    def test_the_upstream_hears_that_it_was_https(self):
        seen = []
        u = self.upstream(serving(lambda r: seen.append(r) or answer_bytes()))
        w = self.gate(u)
        self.ask(w, "/")
        self.assertEqual(seen[0].get("x-forwarded-proto"), "https")
        self.assertIn("proto=https", seen[0].get("forwarded"))

    def test_large_bodies_both_ways_and_slow_readers(self):
        body = os.urandom(3_000_000)
        w = self.gate(self.upstream(serving(lambda r: answer_bytes(body=r.body))))       # it has all of it before it answers
        self.assertEqual(self.ask(w, "/", "POST", body=body).body, body)
        w = self.gate()
        with self.dial(w) as p:
            p.send(request_bytes(path="/bytes/5000000"))
            time.sleep(0.3)          # what it cannot take waits, sealed, in the gateway
            held = w.metrics().get("weir_buffered_bytes", 0)
            self.assertLess(held, 1_000_000)
            self.assertEqual(len(p.read_response().body), 5_000_000)

    def test_chunks_and_pipelining(self):
        w = self.gate()
        with self.dial(w) as p:
            p.send(request_bytes(path="/bytes/5") * 20)
            for _ in range(20):
                self.assertEqual(len(p.read_response().body), 5)
            p.send(request_bytes("POST", "/echo", [("Transfer-Encoding", "chunked")]) + b"3\r\nabc\r\n")
            p.send(b"4\r\ndefg\r\n0\r\n\r\n")
            self.assertEqual(p.read_response().body, b"abcdefg")

    def test_a_request_in_pieces_of_one_byte(self):
        w = self.gate()
        with self.dial(w) as p:
            for b in request_bytes(path="/bytes/7"):
                p.send(bytes([b]))
            self.assertEqual(len(p.read_response().body), 7)

    def test_it_ends_with_a_close_notify(self):
        w = self.gate()
        with self.dial(w) as p:
            p.sock.suppress_ragged_eofs = False
            p.send(request_bytes(path="/bytes/7", headers=[("Connection", "close")]))
            self.assertEqual(len(p.read_response().body), 7)
            self.assertEqual(p.sock.recv(10), b"")      # and not SSLEOFError

    def test_a_websocket_through_it(self):
        def script(peer, _):
            peer.read_request()
            peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            peer.send(peer.take(4))
        w = self.gate(self.upstream(script))
        with self.dial(w) as p:
            p.send(request_bytes(headers=[("Connection", "upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                                          ("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")]))
            self.assertEqual(p.read_response().status, 101)
            self.assertEqual(p.take(5), b"hello")
            p.send(b"ping")
            self.assertEqual(p.take(4), b"ping")


class Names(Tls):
    def test_who_gets_which(self):
        pairs = [(self.pem, self.key)] + [self.ca.issue(n, "DNS:" + san) for n, san in
                                          (("b", "b.example"), ("star", "*.b.example"), ("one", "one.b.example"),
                                           ("late", "late.example,DNS:b.example,DNS:test.example"))]
        w = self.gate(certificates=pairs)
        for name, wanted in (("b.example", "b"), ("x.b.example", "star"), ("ONE.b.example", "one"), ("one.b.example", "one"),
                             ("y.x.b.example", "site"), ("B.Example.", "b"),
                             ("late.example", "late"), ("test.example", "site"), ("unknown.example", "site"), ("a.wild.example", "site"), (None, "site")):
            self.assertEqual(self.subject(w, name), wanted, name)

    def test_two_kinds_of_keys_of_one_name(self):
        rsa = self.ca.issue("rsa", "DNS:test.example,DNS:*.wild.example", kind="rsa")
        w = self.gate(certificates=[(self.pem, self.key), rsa])
        for ciphers, wanted in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "site")):
            c = self.context(maximum_version=ssl.TLSVersion.TLSv1_2, check_hostname=False)
            c.set_ciphers(ciphers)
            self.assertEqual(self.subject(w, "test.example", c), wanted)

    def test_what_stands_between_it_and_the_root_is_sent(self):
        middle = self.ca.below("middle")
        pem, key = middle.issue("leaf", "DNS:test.example")
        with open(pem, "ab") as f, open(middle.pem, "rb") as more:
            f.write(more.read())
        w = self.gate(certificates=[(pem, key)])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            c = self.context(minimum_version=version, maximum_version=version)
            self.assertEqual(self.ask(w, context=c).status, 200)

    def test_a_staple_of_another_is_not_sent(self):
        twin, number = CA(self.directory, "twin"), self.ca.serial        # of the same number, by another issuer
        for staple in (self.ca.staple("o", self.ca.issue("other", "DNS:o")[0], number + 1), twin.staple("t", twin.issue("t", "DNS:t")[0], number)):
            w = self.proxy(self.mock(), listen="[{at: '127.0.0.1:@PORT@', tls: {certificates: {certificate: %s, key: %s, ocsp: %s}}}]"
                           % (self.pem, self.key, staple))
            out = run("s_client", "-connect", "127.0.0.1:%d" % w.port, "-status", "-CAfile", self.ca.pem, "-servername", "test.example")
            self.assertIn(b"no response sent", out.stdout)
            self.assertIn(b"W015", w.stderr())
            self.assertIn(b"it is about another certificate, and will not be sent", w.stderr())

    def test_strict_sni(self):
        other = self.ca.issue("other", "DNS:other.example")
        w = self.gate(certificates=[(self.pem, self.key), other], more=", strict_sni: true")
        for name, subject in (("test.example", "site"), ("Other.Example", "other"), ("a.wild.example", "site")):
            self.assertEqual(self.subject(w, name), subject)
        for name in ("nobody.example", "a.b.wild.example", "example", None):
            with self.assertRaises(ssl.SSLError) as caught:
                self.subject(w, name)
            self.assertIn("UNRECOGNIZED_NAME", str(caught.exception).upper().replace(" ", "_"))
        self.assertIn(b"handshake failed: no certificate has the name that it asked for, if any (tls.strict_sni)", w.stderr())

    def test_staple(self):
        staple = self.ca.staple("site", self.pem, 2)
        w = self.proxy(self.mock(), listen="[{at: '127.0.0.1:@PORT@', tls: {certificates: {certificate: %s, key: %s, ocsp: %s}}}]"
                       % (self.pem, self.key, staple))
        out = run("s_client", "-connect", "127.0.0.1:%d" % w.port, "-status", "-CAfile", self.ca.pem, "-servername",
                  "test.example").stdout
        self.assertIn(b"Cert Status: good", out)


class Sessions(Tls):
    def resumed(self, w, version, session, name="test.example"):
        c = self.contexts.setdefault(version, self.context(minimum_version=version, maximum_version=version, check_hostname=False))
        with self.dial(w, name, c, session) as p:
            p.send(request_bytes(path="/bytes/1"))
            p.read_response()
            return p.sock.session_reused, p.sock.session

    def test_resumption_by_any_worker_and_after_a_reload(self):
        self.contexts = {}
        w = self.gate(top="workers: 2")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            reused, session = self.resumed(w, version, None)
            self.assertFalse(reused)
            for _ in range(8):
                reused, session = self.resumed(w, version, session)
                self.assertTrue(reused)
            w.signal(signal.SIGHUP)
            wait_until("the reload", lambda: b"reload" in w.stderr())
            self.assertTrue(self.resumed(w, version, session)[0])
        self.assertEqual(w.metrics()["weir_tls_handshakes_resumed_total"], 18)

    def test_no_tickets(self):
        self.contexts = {}
        w = self.gate(more=", tickets: false")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            _, session = self.resumed(w, version, None)
            if session:
                self.assertFalse(self.resumed(w, version, session)[0])

    def test_a_session_is_for_the_names_that_gave_it(self):
        self.contexts = {}
        w = self.gate(certificates=[(self.pem, self.key), self.ca.issue("b", "DNS:b.example")])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            _, session = self.resumed(w, version, None)
            self.assertFalse(self.resumed(w, version, session, "b.example")[0])


class Callers(Tls):
    def setUp(self):
        super().setUp()
        self.mine = self.ca.issue("alice", subject="/O=Weir, Inc./CN=alice", use="clientAuth")
        self.theirs = CA(self.directory, "other").issue("mallory", subject="/CN=alice", use="clientAuth")
        self.seen = []
        self.up = self.upstream(serving(lambda r: self.seen.append(r) or answer_bytes()))

    def gate_of(self, verify):
        return self.gate(self.up, more=", clients: {ca: %s, verify: %s, header: X-Caller}" % (self.ca.pem, verify))

    def with_certificate(self, pair, version=ssl.TLSVersion.TLSv1_3):
        c = self.context(minimum_version=version, maximum_version=version)
        if pair:
            c.load_cert_chain(*pair)
        return c

    def test_required(self):
        w = self.gate_of("required")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            r = self.ask(w, "/", context=self.with_certificate(self.mine, version), headers=[("X-Caller", "CN=root")])
            self.assertEqual(r.status, 200)
            self.assertEqual(self.seen[-1].all("x-caller"), ["CN=alice,O=Weir\\, Inc."])
            for pair in (None, self.theirs):
                with self.assertRaises((ssl.SSLError, Closed, ConnectionError)):
                    self.ask(w, "/", context=self.with_certificate(pair, version))
        self.assertEqual(len(self.seen), 2)
        lines = sorted(w.wait_log(2), key=lambda line: line["tls_version"])      # of two workers: in any order
        for line, version in zip(lines, ("TLSv1.2", "TLSv1.3")):
            self.assertEqual([line[k] for k in ("tls_version", "sni", "tls_subject")],
                             [version, "test.example", "CN=alice,O=Weir\\, Inc."])
        self.assertIn(b"listener 127.0.0.1:%d: 127.0.0.1: handshake failed: " % w.port, w.stderr())
        self.assertIn(b'; it asked for "test.example"', w.stderr())
        self.assertRegex(wait_until("the log", lambda: b"127.0.0.1: handshake failed: " in w.stderr() and w.stderr()).decode(),
                         "handshake failed: (peer did not return a certificate|certificate verify failed: unable to get local)")

    def test_optional(self):
        w = self.gate_of("optional")
        self.ask(w, "/", context=self.with_certificate(self.mine))
        self.ask(w, "/", headers=[("X-Caller", "CN=root"), ("x_caller", "CN=root")])
        self.assertEqual([r.all("x-caller") for r in self.seen], [["CN=alice,O=Weir\\, Inc."], []])
        self.assertEqual(self.seen[1].all("x_caller"), [])
        with self.assertRaises((ssl.SSLError, Closed, ConnectionError)):
            self.ask(w, "/", context=self.with_certificate(self.theirs))

    def test_nobody_hides_it_or_says_it_behind_the_body(self):
        w = self.gate_of("optional")
        c = self.with_certificate(self.mine)
        r = self.ask(w, "/", context=c, headers=[("Connection", "x-caller, close"), ("X-Caller", "CN=root")])
        self.assertEqual((r.status, self.seen[-1].all("x-caller")), (200, ["CN=alice,O=Weir\\, Inc."]))
        for name in (b"X-Caller", b"x_caller"):
            with self.dial(w) as p:
                p.send(request_bytes("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "x-caller")])
                       + b"1\r\nx\r\n0\r\nX-Sum: 7\r\n" + name + b": CN=root\r\n\r\n")
                self.assertEqual(p.read_response().status, 200)
            self.assertEqual([n.lower() for n, _ in self.seen[-1].trailers], ["x-sum"])
            self.assertEqual(self.seen[-1].all("x-caller"), [])

    def test_nobody_says_it_on_another_listener(self):
        w = self.proxy(self.up, listen="['127.0.0.1:@PORT@', {at: 'unix:%s/s', %s}]" % (self.directory, self.tls_yaml(
            more=", clients: {ca: %s, header: x-caller}" % self.ca.pem)))
        w.ask("/", headers=[("X-Caller", "CN=root")])
        self.assertEqual(self.seen[0].all("x-caller"), [])

    def test_a_route_for_callers_with_a_certificate_alone(self):
        folder, clients = self.directory, ", clients: {ca: %s, verify: optional, header: x-client-subject}" % self.ca.pem
        w = self.weir("""version: 1
listen: [{at: '127.0.0.1:@PORT@', %s}, 'unix:%s/s']
admin: 127.0.0.1:@ADMIN@
routes:
  - {match: /, respond: {body: for all}}
  - {match: {path: /secret, header: {x-client-subject: "*"}}, respond: {body: for members}}
""" % (self.tls_yaml(more=clients), folder))
        lies = [("X-Client-Subject", "CN=alice")]
        self.assertEqual(self.ask(w, "/secret", context=self.with_certificate(self.mine)).body, b"for members")
        self.assertEqual(self.ask(w, "/secret", headers=lies).body, b"for all")
        with socket.socket(socket.AF_UNIX) as s:             # the listener that asks nobody for a certificate
            s.connect(folder + "/s")
            p = Peer(s)
            p.send(request_bytes(path="/secret", headers=lies))
            self.assertEqual(p.read_response().body, b"for all")

    def refused(self, w, word, **how):
        with self.assertRaises((ssl.SSLError, Closed, ConnectionError)):
            self.ask(w, **how)
        self.assertIn(word, wait_until("the log", lambda: word in w.stderr() and w.stderr()))

    def test_revoked(self):
        bob = self.ca.issue("bob", use="clientAuth")
        crl = self.ca.crl("all.crl", self.ca.serial)
        w = self.gate(self.up, more=", clients: {ca: %s, crl: %s, verify: optional, header: x-caller}" % (self.ca.pem, crl))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertEqual(self.ask(w, "/", context=self.with_certificate(self.mine, version)).status, 200)
            self.refused(w, b"certificate revoked", context=self.with_certificate(bob, version))
        self.assertEqual(self.ask(w, "/").status, 200)
        self.assertNotIn(b"W014", w.stderr())

    def test_a_chain_is_looked_at_whole(self):
        between = self.ca.below("between")
        number, carol = self.ca.serial, between.issue("carol", use="clientAuth")
        both = os.path.join(self.directory, "carol-chain.pem")
        crl = os.path.join(self.directory, "both.crl")
        for path, parts in ((both, (carol[0], between.pem)), (crl, (self.ca.crl("a.crl"), between.crl("b.crl")))):
            with open(path, "wb") as f:
                f.write(b"".join(open(p, "rb").read() for p in parts))
        more = ", clients: {ca: %s, crl: %s, header: x-caller}"
        c = self.with_certificate((both, carol[1]))
        self.assertEqual(self.ask(self.gate(self.up, more=more % (self.ca.pem, crl)), "/", context=c).status, 200)
        self.refused(self.gate(self.up, more=more % (self.ca.pem, self.ca.crl("a.crl"))), b"unable to get certificate CRL", context=c)
        with open(crl, "wb") as f:
            f.write(open(self.ca.crl("a.crl", number), "rb").read() + open(between.path("b.crl"), "rb").read())
        self.refused(self.gate(self.up, more=more % (self.ca.pem, crl)), b"certificate revoked", context=c)

    def test_a_new_list_ends_connections_and_sessions(self):
        crl, number = self.ca.crl("all.crl"), self.ca.serial
        w = self.gate(self.up, top="reload: {watch: false}",
                      more=", clients: {ca: %s, crl: %s, header: x-caller}" % (self.ca.pem, crl))
        c = self.with_certificate(self.mine)
        with self.dial(w, context=c) as p:
            p.send(request_bytes())
            self.assertEqual(p.read_response().status, 200)
            session = p.sock.session
            self.ca.crl("all.crl", number)
            said = {verb: subprocess.run([WEIR, verb, "-c", w.conf_path], capture_output=True, timeout=20) for verb in ("plan", "reload")}
            self.assertRegex(said["plan"].stdout.decode(), r"all\.crl: changed\n\s+sha256: ")
            self.assertEqual(said["reload"].returncode, 0, said["reload"].stderr)        # so each worker has it
            with self.assertRaises((Closed, ssl.SSLError)):
                p.read_response()
        with self.assertRaises((ssl.SSLError, Closed, ConnectionError)):
            with self.dial(w, context=c, session=session) as p:
                p.send(request_bytes())
                p.read_response()
        self.assertEqual(len(self.seen), 1)
        self.assertIn(b"certificate revoked", wait_until("the log", lambda: b"handshake failed: " in w.stderr() and w.stderr()))

    def test_lists_that_are_no_good(self):
        def check(crl, ca=self.ca.pem):
            return self.check("version: 1\nlisten: {at: '127.0.0.1:1', %s}\nroutes: [{match: /, respond: {status: 200}}]\n" % self.tls_yaml(
                more=", clients: {ca: %s, crl: %s}" % (ca, crl)))
        good = self.ca.crl("good.crl")
        self.assertEqual(check(good)[0], 0)
        other = CA(self.directory, "forger", "ca")           # the CA's name, and not its key
        rows = [(other.crl("forged.crl"), "E075", "a list has not the signature of the CA that it names"),
                (self.pem, "E075", "it holds no list in PEM"), (good + ".gone", "E070", "no such file"),
                (self.write("half.crl", open(good, "rb").read()[:200]), "E075", "half written")]
        for crl, code, word in rows:
            status, text = check(crl)
            self.assertEqual(status, 1, text)
            self.assertIn(code, text)
            self.assertIn(word.lower(), text.lower())
        for crl in (self.ca.crl("ended.crl", end="20210101000000Z"), CA(self.directory, "else").crl("else.crl")):
            status, text = check(crl)
            self.assertEqual(status, 0, text)
            self.assertIn('W014: crl "%s": it has no list in force of "CN=ca": no certificate of that CA is taken' % crl, text)
        w = self.gate(self.up, more=", clients: {ca: %s, crl: %s, header: x-caller}" % (self.ca.pem, self.ca.path("ended.crl")))
        self.refused(w, b"CRL has expired", context=self.with_certificate(self.mine))
        self.assertEqual(w.metrics()['weir_tls_crl_expiry_timestamp_seconds{crl="%s"}' % self.ca.path("ended.crl")],
                         calendar.timegm((2021, 1, 1, 0, 0, 0)))

    def test_lists_of_a_ca_that_may_sign_none(self):
        ca = CA(self.directory, "mute", usage="keyCertSign")
        crl, mine = ca.crl("mute.crl"), ca.issue("muted", use="clientAuth")
        w = self.gate(self.up, more=", clients: {ca: %s, crl: %s}" % (ca.pem, crl))
        self.refused(w, b"key usage does not include CRL signing", context=self.with_certificate(mine))
        status, text = self.check(open(w.conf_path).read())
        self.assertEqual(status, 0, text)
        self.assertIn('W014: crl "%s": no list counts without cRLSign in the keyUsage of "CN=mute": no certificate of that CA is taken'
                      % crl, text)

    def test_a_plan_says_that_other_cas_stand_in_the_file(self):
        def planned():
            return subprocess.run([WEIR, "plan", "-c", w.conf_path], capture_output=True, timeout=20).stdout.decode()
        believed = os.path.join(self.directory, "believed.pem")
        shutil.copy(self.ca.pem, believed)
        w = self.gate(self.up, more=", clients: {ca: %s}" % believed, top="reload: {watch: false}")
        self.assertIn("nothing changes", planned())
        shutil.copy(CA(self.directory, "next").pem, believed)
        said = planned()
        self.assertNotIn("nothing changes", said)
        self.assertIn("listener 127.0.0.1:%d: changed\n    callers are asked for something else: connections end" % w.port, said)

    def test_a_subject_that_is_too_long_is_not_told_in_part(self):
        long = self.ca.issue("long", subject="/CN=x" + "".join("/OU=" + "%02d" % i * 30 for i in range(40)), use="clientAuth")
        w = self.gate_of("required")
        self.assertEqual(self.ask(w, "/", context=self.with_certificate(long)).status, 200)
        self.assertEqual(self.seen[0].all("x-caller"), [])

    def test_a_session_keeps_the_subject(self):
        w = self.gate_of("required")
        c, session = self.with_certificate(self.mine), None
        for reused in (False, True):
            with self.dial(w, context=c, session=session) as p:
                p.send(request_bytes())
                p.read_response()
                self.assertEqual(p.sock.session_reused, reused)
                session = p.sock.session
        self.assertEqual([r.get("x-caller") for r in self.seen], ["CN=alice,O=Weir\\, Inc."] * 2)

    def test_a_session_ends_with_the_certificate(self):
        for version, name in ((ssl.TLSVersion.TLSv1_2, "brief2"), (ssl.TLSVersion.TLSv1_3, "brief3")):
            w = self.gate_of("required")
            end = time.gmtime(time.time() + 4)
            pair = self.ca.expired(name, "DNS:brief", end=time.strftime("%Y%m%d%H%M%SZ", end), use="clientAuth")
            c = self.with_certificate(pair, version)
            with self.dial(w, context=c) as p:
                p.send(request_bytes())
                self.assertEqual(p.read_response().status, 200)
                session = p.sock.session
            with self.dial(w, context=c, session=session) as p:
                self.assertTrue(p.sock.session_reused)
            wait_until("its end", lambda: time.time() > calendar.timegm(end) + 1)
            with self.assertRaises((ssl.SSLError, Closed, ConnectionError)):
                with self.dial(w, context=c, session=session) as p:
                    p.send(request_bytes())
                    p.read_response()
            self.assertIn(b"certificate has expired", wait_until("the log", lambda: b"handshake failed: " in w.stderr()
                                                                 and w.stderr()))


class Unwell(Tls):
    def test_plain_http(self):
        w = self.gate()
        for raw in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"DELETE /x HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000, b"G"):
            with dial(w.port) as p:
                p.send(raw)
                r = p.read_response()
                self.assertEqual((r.status, r.json()["reason"]), (400, "tls_expected"))
                self.assertIn("https://", r.json()["detail"])
                self.assertTrue(p.ended())
        self.assertEqual(w.wait_log(4, reason="tls_expected")[0]["status"], 400)

    def test_who_says_nothing_costs_no_handshake(self):
        w = self.gate(listen_more=", header_timeout: 60s")
        self.assertEqual(self.ask(w).status, 200)
        for said in (b"", b"\x16"):
            before, peers = w.rss(), []
            for _ in range(400):
                peers.append(dial(w.port))
                peers[-1].send(said)
            wait_until("them to be let in", lambda: w.metrics()["weir_client_connections"] == len(peers), 20)
            self.assertTrue(SANITIZED or (w.rss() - before) / len(peers) < 16 * 1024, w.rss() - before)
            for p in peers:
                p.close()
            wait_until("them to be gone", lambda: w.metrics()["weir_client_connections"] == 0)

    def test_a_proxy_header_that_is_not_expected_is_named(self):
        for header in (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\1" * 12):
            w = self.gate()
            with dial(w.port) as p:
                p.send(header + self.hello())
                p.end_sending()
                try:
                    p.until_close()
                except ConnectionError:
                    pass
            self.assertIn(b"PROXY protocol", wait_until("the log", lambda: b"handshake failed: " in w.stderr() and w.stderr()))

    def test_garbage(self):
        w = self.gate()
        hello = self.hello()
        for raw in (b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"\0" * 100, os.urandom(300).replace(b"G", b"\1"),
                    hello[:-20] + b"\xff" * 20, hello + b"\x17\x03\x03\x00\x05hello", b"\x80\x2e\x01\x00\x02" + b"x" * 60):
            raw = b"\x16" + raw[1:] if 65 <= raw[0] <= 90 else raw
            with dial(w.port) as p:
                p.send(raw)
                p.end_sending()
                try:
                    p.until_close()
                except ConnectionError:
                    pass
        self.assertEqual(self.ask(w).status, 200)
        self.assertGreaterEqual(w.metrics()["weir_tls_handshakes_failed_total"], 4)

    def hello(self, name="test.example"):
        i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self.context().wrap_bio(i, o, server_hostname=name).do_handshake()
        except ssl.SSLWantReadError:
            return o.read()

    def test_a_hello_byte_by_byte_and_names_that_are_none(self):
        w = self.gate()
        with dial(w.port) as p:
            for b in self.hello():
                p.send(bytes([b]))
            self.assertEqual(p.take(1), b"\x16")
        hello = self.hello("a" * 60 + ".example")
        at = hello.index(b"a" * 60)
        for name in (b"\0" * 68, b"." * 68, b"*" * 68, b"\xff" * 68):
            with dial(w.port) as p:
                p.send(hello[:at] + name + hello[at + 68:])
                self.assertIn(p.take(1), (b"\x16", b"\x15"))

    def test_a_reset_behind_bytes_is_seen(self):
        """The system tells of both at once, and of the reset no second time."""
        w = self.gate()
        hello = self.hello()
        begun = [dial(w.port) for _ in range(5)]
        for p in begun:
            p.send(hello[:20])
        kept = [self.dial(w) for _ in range(5)]
        wait_until("all to be there", lambda: w.metrics()["weir_client_connections"] == 10)
        w.signal(signal.SIGSTOP)
        for p in begun:
            p.send(hello[20:50])
            p.reset()
        for p in kept:
            os.write(p.sock.fileno(), b"\x17\x03\x03\x00\x50half a record")
            p.reset()
        w.signal(signal.SIGCONT)
        wait_until("all to be gone", lambda: w.metrics()["weir_client_connections"] == 0, 5)

    def test_a_hello_that_is_never_whole_is_cut_in_time(self):
        w = self.gate(listen_more=", header_timeout: 300ms")
        with dial(w.port) as p:
            p.send(self.hello()[:50])
            began = time.monotonic()
            self.assertTrue(p.ended())
            self.assertLess(time.monotonic() - began, 3)
        with dial(w.port) as p:          # endless: a long record of a hello that goes on and on
            try:
                for _ in range(40):
                    p.send(b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + b"\0" * (0x4000 - 4))
            except (Closed, OSError):
                pass
            try:
                p.until_close()
            except ConnectionError:
                pass
        self.assertEqual(self.ask(w).status, 200)

    def test_no_renegotiation(self):
        w = self.gate()
        out = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % w.port, "-tls1_2", "-CAfile", self.ca.pem],
                             input=b"R\n", capture_output=True, timeout=20)
        self.assertRegex(out.stdout + out.stderr, b"(?i)no.renegotiation|alert|unexpected eof|errno")
        self.assertEqual(self.ask(w).status, 200)

    def test_key_updates_without_end(self):
        w = self.gate()
        out = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % w.port, "-tls1_3", "-CAfile", self.ca.pem],
                             input=b"K\n" * 20000, capture_output=True, timeout=60)
        self.assertIsNotNone(out)
        self.assertEqual(self.ask(w).status, 200)

    def test_tls_on_a_plain_port(self):
        w = self.proxy(self.mock())
        with self.assertRaises(ssl.SSLError):
            self.dial(w)
        self.assertEqual(w.wait_log(reason="bad_request")[0]["fault"], "not_http")

    def test_cut_anywhere(self):
        w = self.gate()
        hello = self.hello()
        for n in range(1, len(hello), 7):
            with dial(w.port) as p:
                p.send(hello[:n])
                if n % 2:
                    p.reset()
        wait_until("no connection to be left", lambda: w.metrics()["weir_client_connections"] == 0)
        self.assertEqual(self.ask(w).status, 200)


class Files(Tls):
    def bad(self, certificate, key, *words, more="", **args):
        status, text = self.check("version: 1\nlisten:\n- at: 127.0.0.1:1\n  tls:\n    certificates: {certificate: %s, key: %s%s}\n"
                                  "routes: [{match: /, respond: {status: 200}}]\n" % (certificate, key, more), **args)
        self.assertNotEqual(status, 0, text)
        for word in words:
            self.assertIn(word, text)

    def test_what_cannot_be_used(self):
        with open(self.pem, "rb") as f:
            pem = f.read()
        with open(self.key, "rb") as f:
            key = f.read()
        other = self.ca.issue("other", "DNS:o.example")
        self.bad("/nowhere/a.pem", self.key, "E070", "/nowhere/a.pem", "No such file")
        self.bad(self.pem, self.directory, "E070", "a directory")
        self.bad(self.write("half.pem", pem[:len(pem) // 2]), self.key, "E071", "half.pem",
                 "bad end line: the file ends in the middle of it (half written?)")
        self.bad(self.pem, self.write("half.key", key[:len(key) // 2]), "E072", "half.key")
        self.bad(self.write("empty.pem", b""), self.key, "E071", "no certificate")
        self.bad(self.write("bad.pem", pem[:80] + b"AAAA" + pem[84:]), self.key, "E071")
        self.bad(self.pem, other[1], "E072", "not the key of the certificate")
        self.bad(self.pem, self.pem, "E072", "no private key")
        self.bad(*self.ca.expired("old", "DNS:old.example"), "E071", "expired", "2020-01-02")
        self.bad(*self.ca.expired("new", "DNS:new.example", "20900101000000Z", "20910101000000Z"), "E071", "not valid before 2090-01-01")
        self.bad(*self.ca.issue("weak", "DNS:weak.example", kind="weak"), "E071", "ee key too small: its key has 1024 bits")
        self.bad(self.write("turned.pem", open(self.ca.pem, "rb").read() + pem), self.key, "E072",
                 "the first one in", "turned.pem", "is a CA's (CN=ca); the server's own comes first")
        locked = os.path.join(self.directory, "locked.key")
        run("ec", "-in", self.key, "-aes128", "-passout", "pass:x", "-out", locked)
        self.bad(self.pem, locked, "E072", "encrypted")
        self.bad(self.pem, self.key, "E074", "no OCSP response", more=", ocsp: %s" % self.pem)
        self.bad(self.pem, self.key, "E074", "good", more=", ocsp: %s" % self.ca.staple("r", self.pem, 2, revoked=True))

    def test_at_a_reload_the_old_ones_stay(self):
        w = self.gate(top="reload: {watch: false}")
        pem, key = (open(p, "rb").read() for p in (self.pem, self.key))
        other = open(self.ca.issue("other", "DNS:test.example")[1], "rb").read()
        expired = [open(p, "rb").read() for p in self.ca.expired("old", "DNS:test.example")]
        run("ec", "-in", self.key, "-aes128", "-passout", "pass:x", "-out", os.path.join(self.directory, "locked.key"))
        locked = open(os.path.join(self.directory, "locked.key"), "rb").read()
        for certificate, secret, file, word in (
                (expired[0], expired[1], "site.pem", "expired"), (pem, other, "site.key", "not the key of the certificate"),
                (pem, locked, "site.key", "encrypted"), (pem, None, "site.key", "No such file"), (None, key, "site.pem", "No such file"),
                (pem[:-20], key, "site.pem", "bad end line"), (pem[:60], key, "site.pem", "bad end line"),
                (pem, key[:-20], "site.key", "bad end line"), (b"", key, "site.pem", "no certificate"), (pem, b"", "site.key", "no private"),
                (pem[:90] + b"!!!!" + pem[94:], key, "site.pem", "bad base64 decode")):
            for path, data in ((self.pem, certificate), (self.key, secret)):
                if data is None:
                    os.unlink(path)
                else:
                    with open(path, "wb") as f:
                        f.write(data)
            done = subprocess.run([WEIR, "reload", "-c", w.conf_path], capture_output=True, timeout=20)
            said = (done.stdout + done.stderr).decode()
            self.assertNotEqual(done.returncode, 0, word)
            self.assertIn(file, said)
            self.assertIn(word, said)
            self.assertEqual(self.subject(w, "test.example"), "site")

    def test_a_key_that_may_not_be_read(self):
        os.chmod(self.directory, 0o755)
        os.chmod(self.key, 0)
        reader = {} if os.geteuid() else {"user": 65534, "extra_groups": []}
        try:
            subprocess.run([WEIR, "version"], capture_output=True, check=True, **reader)
        except OSError:
            self.skipTest("nobody may run the program where it stands")
        self.bad(self.pem, self.key, "E070", "site.key", "Permission denied", **reader)

    def test_one_that_ends_soon_is_told_and_taken(self):
        pem, key = self.ca.issue("soon", "DNS:test.example", days=3)
        w = self.gate(certificates=[(pem, key)])
        self.assertIn(b"W004", w.stderr())
        self.assertIn(b"it expires at 20", w.stderr())
        self.assertEqual(self.ask(w).status, 200)

    def ends_in(self, name, seconds):
        end = time.time() + seconds
        return end, self.ca.expired(name, "DNS:test.example", end=time.strftime("%Y%m%d%H%M%SZ", time.gmtime(end)))

    def reload(self, w):
        done = subprocess.run([WEIR, "reload", "-c", w.conf_path], capture_output=True, timeout=20)
        return done.returncode, (done.stdout + done.stderr).decode()

    def test_one_that_expires_in_force_holds_up_no_other_change(self):
        end, pair = self.ends_in("brief", 6)
        w = self.gate(certificates=[pair], top="reload: {watch: false}")
        metric = 'weir_tls_certificate_expiry_timestamp_seconds{certificate="%s"}' % pair[0]
        self.assertEqual(w.metrics()[metric], int(end))
        wait_until("its end", lambda: time.time() > end + 1, 20)
        with open(w.conf_path) as f:
            text = f.read()
        with open(w.conf_path, "w") as f:
            f.write(text + "drain: {timeout: 5s}\n")
        planned = subprocess.run([WEIR, "plan", "-c", w.conf_path], capture_output=True, timeout=20)
        self.assertIn(b"drain.timeout", planned.stdout, planned.stderr)
        status, said = self.reload(w)
        self.assertEqual(status, 0, said)
        self.assertIn("W004", said)
        self.assertIn("it expired at 20", said)
        self.assertIn("would not start", said)
        self.assertEqual(self.reload(w)[0], 0)                   # it is in force still
        self.assertEqual(w.metrics()[metric], int(end))
        checked = subprocess.run([WEIR, "check", w.conf_path], capture_output=True, timeout=20)
        self.assertNotEqual(checked.returncode, 0)
        self.assertIn(b"E071", checked.stderr)
        other = self.ca.expired("old", "DNS:test.example")
        for new, old in zip(other, pair):
            shutil.copy(new, old)                                # another one that has expired too
        status, said = self.reload(w)
        self.assertNotEqual(status, 0)
        self.assertIn("E071", said)
        for new, old in zip((self.pem, self.key), pair):
            shutil.copy(new, old)
        self.assertEqual(self.reload(w)[0], 0)
        self.assertGreater(w.metrics()[metric], time.time() + 20 * 86400)

    def test_what_is_of_no_use_is_told(self):
        yaml = ("version: 1\nlisten:\n- at: 127.0.0.1:1\n  tls: {certificates: [%s]}\n"
                "routes: [{match: /, respond: {status: 200}}]\n")
        pair = "{certificate: %s, key: %s}"
        below = self.ca.below("below")
        deep = below.issue("deep", "DNS:deep.example")

        def chained(name, *behind):
            with open(os.path.join(self.directory, name), "w") as out:
                for path in (deep[0],) + behind:
                    with open(path) as f:
                        out.write(f.read())
            return out.name, deep[1]
        whole, order = chained("whole.pem", below.pem, self.ca.pem), chained("order.pem", self.ca.pem, below.pem)
        foreign = chained("foreign.pem", below.pem, self.pem)
        fine, again, rsa = (self.pem, self.key), self.ca.issue("again", "DNS:*.wild.example,DNS:test.example"), self.ca.issue(
            "rsa", "DNS:test.example,DNS:*.wild.example", kind="rsa")
        for pairs, words in (((fine, rsa), ()), ((self.ca.issue("bare"),), ("W006", "bare.pem", "no subjectAltName")),
                             ((fine, rsa, again), ("W007", "again.pem", "never shown", "site.pem")),
                             ((deep,), ()), ((whole,), ()),
                             ((order,), ("W008", "order.pem", "number 2 in it (CN=ca) has not issued the one before it (CN=deep)")),
                             ((foreign,), ("W008", "number 3 in it (CN=site)", "(CN=below)")),
                             ((self.ca.issue("caller", "DNS:x.example", use="clientAuth"),), ("W009", "caller.pem", "not for servers"))):
            status, said = self.check(yaml % ", ".join(pair % p for p in pairs))
            self.assertEqual(status, 0, said)
            self.assertEqual("warning" in said, bool(words), said)
            for word in words:
                self.assertIn(word, said)
        status, said = self.check("version: 1\nlisten: {at: '127.0.0.1:1', per_address: {}}\n"
                                  "routes: [{match: /, respond: {status: 200}}]\n")
        self.assertEqual(status, 0, said)
        self.assertIn("W002", said)
        self.assertIn("per_address", said)

    def test_whose_certificate_is_in_force_can_be_seen(self):
        def told():
            return json.loads(ask(w.admin, "/config").body)["certificates"]
        w = self.gate(top="reload: {watch: false}")
        before = told()
        self.assertEqual([(c["file"], c["subject"], c["serial"]) for c in before], [(self.pem, "CN=site", "02")])
        self.assertRegex(before[0]["expires"], r"\A20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
        for new, old in zip(self.ca.issue("next", "DNS:test.example", subject="/CN=site", days=60), (self.pem, self.key)):
            shutil.copy(new, old)
        planned = subprocess.run([WEIR, "plan", "-c", w.conf_path], capture_output=True, timeout=20).stdout.decode()
        self.assertIn("certificate %s: changed\n    serial: 02 -> 03\n    expires: 20" % self.pem, planned)
        self.assertNotIn("subject", planned)
        self.assertEqual(told(), before)
        self.assertEqual(self.reload(w)[0], 0)
        self.assertEqual([c["serial"] for c in told()], ["03"])
        self.assertIn(b"certificate %s: CN=site, serial 03, until 20" % self.pem.encode(), w.stderr())
        self.assertEqual(self.reload(w)[0], 0)
        self.assertEqual(w.stderr().count(b"serial 03"), 1)      # once, when it is new

    def test_the_log_has_no_subject_where_nobody_is_told_of_it(self):
        w = self.gate()
        self.ask(w)
        with socket.create_connection(("127.0.0.1", w.port), timeout=10) as raw:
            context = self.context(check_hostname=False)
            with Peer(context.wrap_socket(raw)) as p:            # names nobody
                p.send(request_bytes(path="/bytes/1"))
                p.read_response()
        first, second = sorted(w.wait_log(2), key=lambda line: "sni" not in line)
        self.assertEqual((first["tls_version"], first["sni"]), ("TLSv1.3", "test.example"))
        self.assertNotIn("tls_subject", first)
        self.assertEqual((second["tls_version"], second.get("sni")), ("TLSv1.3", None))

    def test_authorities(self):
        for path, word in (("/nowhere/ca.pem", "E070"), (self.key, "E073"), (self.write("no.pem", b""), "E073")):
            status, text = self.check("version: 1\nlisten:\n- at: 127.0.0.1:1\n  tls:\n    certificates: {certificate: %s, key: %s}\n"
                                      "    clients: {ca: %s}\nroutes: [{match: /, respond: {status: 200}}]\n"
                                      % (self.pem, self.key, path))
            self.assertNotEqual(status, 0)
            self.assertIn(word, text)

    def test_a_new_certificate_is_seen_and_a_broken_one_changes_nothing(self):
        w = self.gate(top="reload: {poll: 100ms}")
        with self.dial(w) as old:
            old.send(request_bytes(path="/bytes/1"))
            old.read_response()
            good = open(self.pem, "rb").read(), open(self.key, "rb").read()
            self.write("site.key", b"nonsense")
            wait_until("the refusal", lambda: b"E072" in w.stderr())
            self.assertEqual(self.ask(w).status, 200)
            os.mkdir(os.path.join(self.directory, "new"))
            other = CA.__new__(CA)
            other.__dict__.update(self.ca.__dict__, directory=os.path.join(self.directory, "new"), serial=100)
            new = other.issue("renewed", "DNS:test.example")
            shutil.copy(new[0], self.pem)
            shutil.copy(new[1], self.key)
            wait_until("the new certificate", lambda: self.subject(w, "test.example") == "renewed")
            wait_until("the log", lambda: b"certificate %s: CN=renewed, serial 65, until 20" % self.pem.encode() in w.stderr())
            old.send(request_bytes(path="/bytes/2"))
            self.assertEqual(len(old.read_response().body), 2)
            self.assertTrue(good)

    def test_paths_count_from_the_files_folder(self):
        shutil.copy(self.pem, os.path.join(self.directory, "rel.pem"))
        shutil.copy(self.key, os.path.join(self.directory, "rel.key"))
        w = self.gate(certificates=[("rel.pem", "rel.key")])
        self.assertEqual(self.ask(w).status, 200)


class Swapped(Tls):
    """Certificates that change while callers come, stay and resume: nobody may notice but by what he is shown."""

    def setUp(self):
        super().setUp()
        other = self.ca.issue("two", "DNS:test.example,DNS:*.wild.example")      # a renewed one has the same names
        self.pairs = [[open(p, "rb").read() for p in pair] for pair in ((self.pem, self.key), other)]
        self.failed, self.done, self.stop = [], {"new": 0, "kept": 0, "resumed": 0}, threading.Event()

    def swap(self, i):
        for path, data in zip((self.pem, self.key), self.pairs[i % 2]):
            with open(path, "wb") as f:
                f.write(data)

    def exchange(self, p, kind):
        p.send(request_bytes(path="/bytes/100"))
        r = p.read_response()
        if (r.status, len(r.body)) != (200, 100):
            raise AssertionError("status %d" % r.status)
        self.done[kind] += 1

    def new(self, w):
        with self.dial(w) as p:
            self.exchange(p, "new")

    def kept(self, w):
        with self.dial(w) as p:
            while not self.stop.is_set():
                self.exchange(p, "kept")
                time.sleep(0.002)

    def resumed(self, w):
        c, session = self.context(), None
        while not self.stop.is_set():
            with self.dial(w, context=c, session=session) as p:
                self.exchange(p, "resumed")
                if session and not p.sock.session_reused:
                    raise AssertionError("not resumed")
                session = p.sock.session

    def forever(self, what, w):
        try:
            while not self.stop.is_set():
                what(w)
        except BaseException as e:
            self.failed.append("%s: %r" % (what.__name__, e))

    def under_load(self, w, swap, n):
        threads = [threading.Thread(target=self.forever, args=(what, w))
                   for what in (self.new, self.new, self.kept, self.kept, self.resumed)]
        for t in threads:
            t.start()
        try:
            for i in range(1, n + 1):
                swap(i)
                self.assertEqual(self.failed, [])
            wait_until("all kinds of callers", lambda: self.failed or min(self.done.values()) > n)
        finally:
            self.stop.set()
            for t in threads:
                t.join()
        self.assertEqual(self.failed, [])

    def test_by_reloads(self):
        w = self.gate(top="reload: {watch: false}")

        def swap(i):
            self.swap(i)
            done = subprocess.run([WEIR, "reload", "-c", w.conf_path], capture_output=True, timeout=20)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.subject(w, "test.example"), ("site", "two")[i % 2])
        wrk, out = None, open(os.path.join(self.directory, "wrk"), "w+")
        self.addCleanup(out.close)
        n = 100 if LONG else 20
        if LONG:
            wrk = subprocess.Popen(["wrk", "-t", "1", "-c", "50", "-d", "30s", "https://127.0.0.1:%d/bytes/100" % w.port], stdout=out)
        self.under_load(w, swap, n)
        if wrk:
            self.assertIsNone(wrk.poll(), "wrk ended before the reloads did")
            wrk.wait(60)
            out.seek(0)
            said = out.read()
            print("\n%d swaps; requests on %s\n%s" % (n, self.done, said))
            self.assertNotIn("Socket errors", said)
            self.assertNotIn("Non-2xx", said)
        self.assertEqual(w.metrics()["weir_tls_handshakes_failed_total"], 0)

    def test_by_writing_the_files(self):
        """The certificate first and then the key: for a moment they do not belong together."""
        w = self.gate(top="reload: {poll: 100ms}")

        def swap(i):
            self.swap(i)
            wait_until("the new certificate", lambda: self.subject(w, "test.example") == ("site", "two")[i % 2])
        self.under_load(w, swap, 10)


if __name__ == "__main__":
    main()
