#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Corpus runner for an HTTP/1.x reverse proxy (stdlib only, Python 3.8+).

  run_corpus.py requests  --gateway 127.0.0.1:8080 --upstream-port 9001 [--json] [--out f.json]
  run_corpus.py responses --gateway 127.0.0.1:8080 --upstream-port 9001 [--json] [--out f.json]
  run_corpus.py upstream  --upstream-port 9001            (only the recording upstream, for hand tests)

The gateway must already forward every path to 127.0.0.1:<upstream-port> (HTTP/1.1, keep-alive pool on,
rate limits and health checks off, request and response timeouts above 2 s). With --spawn 'CMD' the
runner starts the gateway itself after the upstream listens ({port} = upstream port) and stops it by pid.
With --tls CA.pem all of it goes through TLS, and a connection that ends without a close_notify was cut.

Every observation is judged twice:
  floor   field "expect": what RFC 9110/9112 and safety demand of any gateway
  strict  field "strict" (else "expect"): what a gateway with no legacy burden should do
After each case a canary request on a fresh connection (and, in responses mode, on the same connection)
must get its own answer: that catches poisoned connection pools and response-queue desync.
Exit status: 0 all floor verdicts pass, 1 otherwise, 2 harness trouble."""
import argparse, base64, collections, json, os, re, select, shlex, signal, socket, ssl, struct, subprocess, sys, threading, time

TCHAR = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = frozenset(b"0123456789")
HEX = frozenset(b"0123456789abcdefABCDEF")
TARGET_OK = frozenset(range(0x21, 0x7f)) | frozenset(range(0x80, 0x100))
IDLE = 0.15          # quiet time after the last expected answer
MARK = b"/canary/"
d64 = base64.b64decode


class Bad(Exception):
    pass


class Need(Exception):
    pass


# ------------------------------------------------------------------ strict parsing
def take_line(buf, pos, limit=4 << 20):
    i = buf.find(b"\n", pos)
    if i < 0:
        j = buf.find(b"\r", pos)
        if 0 <= j < len(buf) - 1:
            raise Bad("bare-cr")
        if len(buf) - pos > limit:
            raise Bad("line-too-long")
        raise Need()
    if i == pos or buf[i - 1] != 13:
        raise Bad("bare-lf")
    line = bytes(buf[pos:i - 1])
    if b"\r" in line:
        raise Bad("bare-cr")
    return line, i + 1


def parse_fields(buf, pos, allow_ctl):
    fields = []
    while True:
        line, pos = take_line(buf, pos)
        if not line:
            return fields, pos
        if line[0] in b" \t":
            raise Bad("obs-fold")
        name, sep, value = line.partition(b":")
        if not sep:
            raise Bad("field-no-colon")
        if not name or any(ch not in TCHAR for ch in name):
            raise Bad("field-name:%r" % name[:40])
        value = value.strip(b" \t")
        for ch in value:
            if ch == 0:
                raise Bad("nul-in-value")
            if (ch < 32 and ch != 9 or ch == 127) and not allow_ctl:
                raise Bad("ctl-in-value:%02x" % ch)
        fields.append((name.lower(), value))


def parse_chunked(buf, pos, allow_ctl):
    body = bytearray()
    while True:
        line, pos = take_line(buf, pos)
        size, _, ext = line.partition(b";")
        size = size.rstrip(b" \t") if _ else size
        if not size or len(size) > 15 + 1024 or any(ch not in HEX for ch in size):
            raise Bad("chunk-size:%r" % line[:40])
        if any(ch < 32 and ch != 9 or ch == 127 for ch in ext):
            raise Bad("ctl-in-chunk-ext")
        n = int(size, 16)
        if n >= 1 << 63:
            raise Bad("chunk-size-overflow")
        if n == 0:
            trailers, pos = parse_fields(buf, pos, allow_ctl)
            return bytes(body), trailers, pos
        if len(buf) < pos + n + 2:
            if len(buf) > pos + n and buf[pos + n] != 13:
                raise Bad("chunk-data-crlf")
            raise Need()
        body += buf[pos:pos + n]
        if buf[pos + n:pos + n + 2] != b"\r\n":
            raise Bad("chunk-data-crlf")
        pos += n + 2


def framing(fields, what):
    te = [v for n, v in fields if n == b"transfer-encoding"]
    cls = [v for n, v in fields if n == b"content-length"]
    if te and cls:
        raise Bad("te-and-cl")
    if len(te) > 1:
        raise Bad("two-te")
    if len(cls) > 1:
        raise Bad("two-cl")
    if te and te[0].lower() != b"chunked":
        raise Bad("te-value:%r" % te[0][:40])
    if cls and (not cls[0] or any(ch not in DIGITS for ch in cls[0]) or int(cls[0]) >= 1 << 63):
        raise Bad("cl-value:%r" % cls[0][:40])
    return bool(te), int(cls[0]) if cls else None


class Msg:
    __slots__ = ("method", "target", "version", "fields", "body", "trailers", "status", "complete", "conn", "t")

    def get(self, name):
        return [v for n, v in self.fields if n == name]


def parse_request(buf, pos, allow_ctl=False):
    """One strictly well-formed request, or Need / Bad. Also returns where the head ends."""
    m = Msg()
    line, p = take_line(buf, pos)
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or not parts[1]:
        raise Bad("request-line:%r" % line[:60])
    m.method, m.target, m.version = parts
    if any(ch not in TCHAR for ch in m.method):
        raise Bad("method")
    if any(ch not in TARGET_OK for ch in m.target):
        raise Bad("target-octet")
    if b"#" in m.target:
        raise Bad("fragment-in-target")
    if m.version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Bad("version:%r" % m.version[:20])
    m.fields, p = parse_fields(buf, p, allow_ctl)
    hosts = m.get(b"host")
    if len(hosts) > 1:
        raise Bad("two-hosts")
    if not hosts and m.version == b"HTTP/1.1":
        raise Bad("no-host")
    chunked, clen = framing(m.fields, "request")
    if chunked and m.version == b"HTTP/1.0":
        raise Bad("te-in-1.0")
    return m, p, chunked, clen


def request_body(buf, p, m, chunked, clen, allow_ctl=False):
    m.trailers = []
    if chunked:
        m.body, m.trailers, p = parse_chunked(buf, p, allow_ctl)
    elif clen:
        if len(buf) < p + clen:
            raise Need()
        m.body = bytes(buf[p:p + clen])
        p += clen
    else:
        m.body = b""
    return p


def parse_response(buf, pos, method, eof, allow_ctl=False):
    """One strictly well-formed response at pos. m.complete False: cut short by eof."""
    m = Msg()
    m.complete, m.body, m.trailers, m.fields, m.status = False, b"", [], [], 0
    try:
        line, p = take_line(buf, pos)
        mm = re.match(rb"HTTP/(1\.[01]) ([1-9][0-9][0-9])( |$)", line)
        if not mm:
            raise Bad("status-line:%r" % line[:40])
        if any(ch == 0 or ch < 32 and ch != 9 or ch == 127 for ch in line):
            raise Bad("ctl-in-status-line")
        m.version, m.status = mm.group(1), int(mm.group(2))
        m.fields, p = parse_fields(buf, p, allow_ctl)
    except Need:
        if eof:
            return m, len(buf)
        raise
    chunked, clen = framing(m.fields, "response")
    if m.status < 200 or m.status in (204, 304) or method == b"HEAD":
        if m.status < 200 or m.status == 204:
            if chunked or (clen and m.status == 204):
                raise Bad("framing-field-in-%d" % m.status)
        m.complete = True
        return m, p
    if chunked:
        if m.version == b"1.0":
            raise Bad("te-in-1.0")
        try:
            m.body, m.trailers, p = parse_chunked(buf, p, allow_ctl)
            m.complete = True
        except Need:
            if not eof:
                raise
            m.body, p = bytes(buf[p:]), len(buf)
        return m, p
    if clen is not None:
        if len(buf) < p + clen:
            if not eof:
                raise Need()
            m.body, p = bytes(buf[p:]), len(buf)
            return m, p
        m.body = bytes(buf[p:p + clen])
        m.complete = True
        return m, p + clen
    if not eof:
        raise Need()
    m.body, m.complete = bytes(buf[p:]), eof == "fin"
    return m, len(buf)


# ------------------------------------------------------------------ recording upstream
class Upstream:
    def __init__(self, port, cases=None):
        self.cases = cases or {}
        self.lock = threading.Lock()
        self.log = []                     # (t, conn, kind, payload)
        self.s = socket.socket()
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.s.bind(("127.0.0.1", port))
        self.s.listen(256)
        self.port = self.s.getsockname()[1]
        self.n = 0
        self.allow_ctl = False
        self.play_lock = threading.Lock()
        threading.Thread(target=self.loop, daemon=True).start()

    def ev(self, conn, kind, payload=None):
        with self.lock:
            self.log.append((time.monotonic(), conn, kind, payload))

    def mark(self):
        with self.lock:
            return len(self.log)

    def since(self, i):
        with self.lock:
            return self.log[i:]

    def loop(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            self.n += 1
            threading.Thread(target=self.conn, args=(c, self.n), daemon=True).start()

    def conn(self, c, cid):
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buf, pos, head_seen = bytearray(), 0, False
        self.ev(cid, "open")
        try:
            while True:
                while pos < len(buf):
                    try:
                        m, p, chunked, clen = parse_request(buf, pos, self.allow_ctl)
                        if not head_seen:
                            head_seen = True
                            self.ev(cid, "head", m)
                            case = self.case_of(m)
                            if case is not None and case.get("when") == "headers":
                                if not self.play(c, cid, case, m):
                                    return
                                owed = max(0, (clen or 0) - (len(buf) - p))
                                buf, pos, head_seen = bytearray(), 0, False
                                if owed and not self.drain(c, cid, owed):
                                    return
                                break
                            if m.version == b"HTTP/1.1" and any(v.lower() == b"100-continue" for v in m.get(b"expect")):
                                c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                        p = request_body(buf, p, m, chunked, clen, self.allow_ctl)
                    except Need:
                        break
                    except Bad as e:
                        self.ev(cid, "bad", (str(e), bytes(buf[pos:pos + 300])))
                        c.sendall(b"HTTP/1.1 400 Bad Request\r\nX-Up: bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        return
                    pos, head_seen = p, False
                    m.conn, m.t = cid, time.monotonic()
                    self.ev(cid, "req", m)
                    case = self.case_of(m)
                    if case is not None:
                        if not self.play(c, cid, case, m):
                            return
                        continue
                    body = b"echo:" + m.target[:200] + b"\n"
                    out = b"HTTP/1.1 200 OK\r\nX-Up: 1\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
                    if m.method != b"HEAD":
                        out += body
                    c.sendall(out)
                    conn = b",".join(m.get(b"connection")).lower()
                    if b"close" in conn or (m.version == b"HTTP/1.0" and b"keep-alive" not in conn):
                        return
                if pos > 1 << 20:
                    del buf[:pos]
                    pos = 0
                data = c.recv(262144)
                if not data:
                    self.ev(cid, "eof", len(buf) - pos)
                    return
                self.ev(cid, "bytes", data if not data.startswith(b"GET " + MARK) else b"")
                buf += data
        except OSError:
            pass
        finally:
            self.ev(cid, "close", bytes(buf[pos:pos + 300]))
            try:
                c.close()
            except OSError:
                pass

    def drain(self, c, cid, n):
        """After an early answer this connection still owes n octets of request body. Anything that looks
        like a new request before they are paid means the gateway reused a connection that was not idle."""
        while n > 0:
            x = c.recv(65536)
            if not x:
                return False
            if re.search(rb"(GET|POST|HEAD) /(canary|case)/", x[:n + 40]):
                self.ev(cid, "smuggle-in-body", x[:200])
                return False
            n -= len(x)
        return n == 0

    def case_of(self, m):
        i = m.target.find(b"/case/")
        return self.cases.get(m.target[i + 6:].split(b"?")[0].decode("latin1")) if i >= 0 else None

    def play(self, c, cid, case, m):
        self.ev(cid, "play", case["id"])
        steps = case.get("steps") or [["send", case["raw_b64"]]]
        try:
            for st in steps:
                if st[0] == "send":
                    c.sendall(d64(st[1]))
                elif st[0] == "sleep":
                    time.sleep(st[1] / 1000.0)
                elif st[0] == "drip":
                    b = d64(st[1])
                    for i in range(0, len(b), st[2]):
                        c.sendall(b[i:i + st[2]])
                        time.sleep(st[3] / 1000.0)
            if case["end"] == "keep":
                return True
            if case["end"] == "rst":
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                c.shutdown(socket.SHUT_WR)
                c.settimeout(0.3)
                try:
                    while c.recv(65536):
                        pass
                except OSError:
                    pass
        except OSError as e:
            self.ev(cid, "play-error", str(e))
        return False


# ------------------------------------------------------------------ client side
class Client:
    """One connection to the gateway; reads while writing; stops on quiet, close or timeout."""
    tls = None          # an ssl.SSLContext

    def __init__(self, addr):
        self.s = socket.create_connection(addr, timeout=2)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            self.s = self.tls.wrap_socket(self.s, server_hostname="localhost", suppress_ragged_eofs=False)
        self.s.setblocking(False)
        self.rx, self.eof, self.first = bytearray(), None, None
        self.t0 = time.monotonic()

    def take(self):
        """All that is there now; TLS may hold some of it that select() knows nothing of."""
        got = False
        while not self.eof:
            try:
                x = self.s.recv(262144)
                if x:
                    self.rx += x
                    got = True
                else:
                    self.eof = "fin"
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:
                self.eof = "rst"
            if not self.tls:
                break
        return got

    def run(self, out, done, timeout, stage2=None):
        """done(rx, eof) -> True when all wanted answers are in. Returns 'done', 'eof' or 'timeout'."""
        out = memoryview(out)
        last = self.t0 = time.monotonic()
        quiet = None
        while True:
            now = time.monotonic()
            if self.eof:
                return "eof"
            if quiet and now - quiet >= IDLE:
                return "done"
            if now - last >= timeout:
                return "timeout"
            if stage2 and (now - self.t0 > 0.6 or self.rx.startswith(b"HTTP/1.1 100")) and not len(out):
                out, stage2 = memoryview(stage2), None
                last = now
            r, w, _ = select.select([self.s], [self.s] if len(out) else [], [], 0.02)
            if w:
                try:
                    n = self.s.send(out[:262144])
                    out = out[n:]
                    last = now
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except OSError:
                    out = out[len(out):]
            if r and self.take():
                self.first = self.first or now
                last = now
                quiet = now if quiet else None
            if not quiet and not stage2 and done(self.rx, self.eof):
                quiet = time.monotonic()

    def wait_eof(self, secs):
        end = time.monotonic() + secs
        while not self.eof and time.monotonic() < end:
            r, _, _ = select.select([self.s], [], [], 0.02)
            if r:
                self.take()
        return self.eof

    def close(self):
        try:
            self.s.close()
        except OSError:
            pass


def split_responses(rx, eof, methods):
    """Strict list of responses on a client connection; (list, error or None, rest)."""
    out, pos, k = [], 0, 0
    try:
        while pos < len(rx):
            m, pos = parse_response(rx, pos, methods[k] if k < len(methods) else b"GET", eof)
            out.append(m)
            if m.status >= 200 or not m.status:
                k += 1
            if not m.complete:
                break
    except Need:
        return out, "need", bytes(rx[pos:pos + 200])
    except Bad as e:
        return out, "bad:" + str(e), bytes(rx[pos:pos + 200])
    return out, None, b""


def canary(addr, n, tries=1, timeout=2.0):
    t = b"/canary/%d" % n
    why = "?"
    for _ in range(tries):
        try:
            c = Client(addr)
        except OSError as e:
            why = "connect:%s" % e
            time.sleep(0.1)
            continue
        try:
            c.run(b"GET " + t + b" HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n",
                  lambda rx, eof: split_responses(rx, eof, [b"GET"])[0][-1:] and split_responses(rx, eof, [b"GET"])[1] is None and rx != b"", timeout)
            rs, err, _ = split_responses(c.rx, c.eof, [b"GET"])
        finally:
            c.close()
        fin = [r for r in rs if r.status >= 200]
        if fin and fin[0].status == 200 and fin[0].body == b"echo:" + t + b"\n" and len(fin) == 1 and not err:
            return None
        why = "status=%s body=%r err=%s" % ([r.status for r in rs], fin[0].body[:60] if fin else None, err)
        if fin and (b"POISON" in fin[0].body or fin[0].status == 200):
            return "POISONED " + why
    return why


# ------------------------------------------------------------------ judging requests
def judge_req(case, o, mode):
    exp = case["expect"] if mode == "floor" else case.get("strict", case["expect"])
    n = case.get("n_requests", 1)
    f = []
    reqs = o["reqs"]
    if o["bad"]:
        f.append("upstream-malformed(%s)" % o["bad"])
    if any(b"/smuggled" in r.target for r in reqs) and not case.get("allow_smuggled"):
        f.append("smuggled-request-at-upstream")
    if len(reqs) > n:
        f.append("too-many-requests(%d)" % len(reqs))
    if case.get("max_complete") is not None and len(reqs) > case["max_complete"]:
        f.append("completed-an-incomplete-request")
    absent = list(case.get("absent", [])) + (case.get("strict_absent", []) if mode == "strict" else [])
    for r in reqs:
        names = [x for x, _ in r.fields]
        for a in absent:
            if a.encode() in names:
                f.append("field-not-removed(%s)" % a)
        for a, v in list(case.get("absent_value", {}).items()) + (list(case.get("strict_absent_value", {}).items()) if mode == "strict" else []):
            if any(v.lower() in x.decode("latin1").lower() for x in r.get(a.encode())):
                f.append("value-forwarded(%s: %s)" % (a, v))
        for a in case.get("present", []):
            if a.encode() not in names:
                f.append("field-lost(%s)" % a)
        for a in case.get("trailer_absent_in_head", []):
            if any(v in (b"99", b"evil.test", b"Bearer x", b"1.2.3.4", b"text/evil", b"a=b") for v in r.get(a.encode())):
                f.append("trailer-merged(%s)" % a)
        if case.get("host_in"):
            h = (r.get(b"host") or [b""])[0].decode("latin1").lower()
            t = r.target.decode("latin1").lower()
            want = case["host_in"][0]
            bad = {"gw.test": "evil.test", "evil.test": "gw.test"}[want]
            if h == bad and not t.startswith("http://"):
                f.append("host-not-replaced(%s)" % h)
    st = o["status"]
    if exp == "reject":
        if reqs:
            f.append("forwarded(status=%s)" % st)
        elif o["partial"] and not case.get("partial_ok"):
            f.append("partly-forwarded")
        if st and st[0] < 400:
            f.append("answered-%d" % st[0])
        if not st and not o["eof"] and not case.get("wait_ok"):
            f.append("no-answer-no-close")
    elif exp == "forward":
        if len(reqs) != n and not o["bad"]:
            f.append("upstream-saw-%d-of-%d(status=%s)" % (len(reqs), n, st))
        if len([x for x in st if 200 <= x < 300]) < min(n, len(case.get("bodies_b64", [0]))) and not o["bad"]:
            f.append("client-status=%s" % st)
    else:
        if not st and not o["eof"] and not case.get("wait_ok"):
            f.append("no-answer-no-close")
    bodies = [d64(x) for x in case.get("bodies_b64", [])]
    if bodies and reqs:
        if exp == "forward":
            for i, r in enumerate(reqs[:len(bodies)]):
                if r.body != bodies[i]:
                    f.append("body-%d-differs(%r)" % (i, r.body[:30]))
        elif n == 1 and reqs[0].body not in bodies and not (case["class"] == "body-on-get" and reqs[0].body == b""):
            f.append("body-differs(%r)" % reqs[0].body[:30])
    if case.get("targets") and exp == "forward" and [r.target.decode("latin1") for r in reqs] != case["targets"]:
        f.append("order(%s)" % [r.target for r in reqs])
    if case.get("must_close") and st and not o["eof"] and not o["said_close"]:
        f.append("connection-not-closed")
    if case.get("no_1xx") and any(x < 200 for x in o["all_status"]):
        f.append("1xx-to-1.0-client")
    if o["client_err"] and o["client_err"].startswith("bad") and not (not st and exp != "forward"):
        f.append("malformed-answer(%s)" % o["client_err"])
    if o["canary"]:
        f.append("canary-failed(%s)" % o["canary"])
    return f


def run_requests(a, up, cases, addr):
    results, n = [], 0
    for case in cases:
        n += 1
        raw = d64(case["raw_b64"])
        up.allow_ctl = bool(case.get("allow_ctl"))
        i0 = up.mark()
        nreq = case.get("n_requests", 1)
        meths = [m.group(1) for m in re.finditer(rb"(?:^|\r\n\r\n|\n\n)([A-Z]+) \S+ HTTP/1", raw)] or [b"GET"]
        if len(meths) < nreq:
            meths += [b"GET"] * nreq

        def done(rx, eof):
            rs, err, _ = split_responses(rx, eof, meths)
            fin = [r for r in rs if r.status >= 200]
            return len(fin) >= nreq or (fin and fin[-1].status >= 400) or (err or "").startswith("bad")
        o = {"status": [], "all_status": [], "eof": None, "client_err": None, "said_close": False}
        try:
            c = Client(addr)
        except OSError as e:
            o["client_err"] = "connect:%s" % e
            c = None
        if c:
            how = c.run(raw, done, a.timeout, d64(case["raw2_b64"]) if case.get("raw2_b64") else None)
            if case.get("must_close") and not c.eof:
                c.wait_eof(0.5)
            rs, err, _ = split_responses(c.rx, c.eof, meths)
            o["all_status"] = [r.status for r in rs if r.status]
            o["status"] = [s for s in o["all_status"] if s >= 200]
            o["eof"], o["client_err"], o["how"] = c.eof, err, how
            fin = [r for r in rs if r.status >= 200]
            o["said_close"] = bool(fin) and (b"close" in b",".join(fin[-1].get(b"connection")).lower() or fin[-1].version == b"1.0")
            o["rx"] = bytes(c.rx[:160]).decode("latin1")
            c.close()
        time.sleep(0.02)
        if any(e[2] == "head" for e in up.since(i0)) or o["how" if "how" in o else "eof"] == "timeout":
            time.sleep(0.03)
        o["canary"] = None if a.no_canary else canary(addr, n, tries=2)
        evs = [e for e in up.since(i0)]
        o["reqs"] = [e[3] for e in evs if e[2] == "req" and MARK not in e[3].target]
        o["bad"] = "; ".join(e[3][0] for e in evs if e[2] == "bad")
        o["bad_bytes"] = [e[3][1][:120].decode("latin1") for e in evs if e[2] == "bad"]
        heads = [e for e in evs if e[2] == "head" and MARK not in e[3].target]
        left = [e for e in evs if e[2] in ("close",) and e[3] and MARK not in e[3]]
        o["partial"] = len(heads) > len(o["reqs"]) or (bool(left) and not o["bad"] and not heads)
        fl, stc = judge_req(case, o, "floor"), judge_req(case, o, "strict")
        results.append({"id": case["id"], "class": case["class"], "expect": case["expect"], "strict": case.get("strict", case["expect"]),
                        "floor_fail": fl, "strict_fail": stc, "status": o["all_status"], "eof": o["eof"], "upstream": len(o["reqs"]), "partial": o["partial"],
                        "upstream_bad": o["bad"], "seen": [(r.method + b" " + r.target[:60]).decode("latin1") for r in o["reqs"]][:4], "note": case["note"]})
        if a.verbose:
            print(("ok   " if not fl else "FAIL ") + ("ok   " if not stc else "fail ") + case["id"], o["all_status"], "up=%d" % len(o["reqs"]), "; ".join(fl or stc), flush=True)
        if not alive(addr, o["canary"]):
            return results, "gateway gone after " + case["id"]
    return results, None


def alive(addr, why):
    if not why:
        return True
    for _ in range(30):
        try:
            socket.create_connection(addr, 1).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


# ------------------------------------------------------------------ judging responses
def judge_resp(case, o, mode):
    exp = case["expect"] if mode == "floor" else case.get("strict", case["expect"])
    f = []
    kind = o["kind"]
    if kind == "malformed":
        f.append("malformed-to-client(%s)" % o["err"])
    if o["poison"]:
        f.append("poison-reached-client")
    if exp == "pass":
        if kind != "complete":
            f.append("not-passed(%s %s)" % (kind, o["status"]))
        elif o["status"] != case["status"]:
            f.append("status %s not %s" % (o["status"], case["status"]))
        elif "body_b64" in case and o["body"] != d64(case["body_b64"]):
            f.append("body-differs(%r)" % o["body"][:40])
    elif exp == "502":
        if kind == "gw-error" or (kind == "closed" and mode == "floor"):
            pass
        elif kind == "pending" and case.get("pending_ok"):
            pass
        else:
            f.append("not-5xx(%s %s)" % (kind, o["status"]))
    elif exp == "truncate":
        if kind not in ("incomplete", "gw-error", "closed"):
            f.append("client-not-told(%s %s)" % (kind, o["status"]))
    else:
        if kind == "pending" and not case.get("pending_ok"):
            f.append("hang")
        if kind == "complete":
            if o["status"] != case["status"] and not case["id"].startswith("sl-") and not 300 > o["status"] >= 200:
                f.append("status %s not %s" % (o["status"], case["status"]))
            elif "body_b64" in case and o["body"] not in (d64(case["body_b64"]), b""):
                f.append("body-differs(%r)" % o["body"][:40])
    if kind in ("complete", "incomplete"):
        for a in case.get("absent", []):
            if a in o["names"]:
                f.append("field-not-removed(%s)" % a)
        for a, v in (case.get("strict_absent_value", {}) if mode == "strict" else {}).items():
            if v in o["values"].get(a, []):
                f.append("value-forwarded(%s)" % a)
        for a, k in case.get("count", {}).items():
            if o["names"].count(a) != k:
                f.append("count(%s)=%d" % (a, o["names"].count(a)))
    if case.get("no_1xx") and o["interim"]:
        f.append("1xx-to-1.0-client")
    if case.get("max_upstream") and o["plays"] > case["max_upstream"]:
        f.append("retried-non-idempotent(%d)" % o["plays"])
    if case.get("first_byte_ms") and kind == "complete" and (9e9 if o["first_ms"] is None else o["first_ms"]) > case["first_byte_ms"]:
        f.append("buffered-stream(first byte %s ms)" % o["first_ms"])
    if o["bad"]:
        f.append("upstream-malformed(%s)" % o["bad"])
    if o["same"]:
        f.append("same-connection(%s)" % o["same"])
    if o["canary"]:
        f.append("canary-failed(%s)" % o["canary"])
    return f


def run_responses(a, up, cases, addr):
    results, n = [], 100000
    for case in cases:
        n += 1
        method = case.get("method", "GET").encode()
        head = method + b" /case/" + case["id"].encode() + b" " + case.get("req_version", "HTTP/1.1").encode() + b"\r\nHost: gw.test\r\n" + case.get("req_headers", "").encode() + b"\r\n"
        body = b"z" * case["req_body_fill"] if "req_body_fill" in case else d64(case.get("req_body_b64", ""))
        i0 = up.mark()
        up.allow_ctl = False

        def done(rx, eof):
            rs, err, _ = split_responses(rx, eof, [method])
            return any(r.status >= 200 for r in rs) or (err or "").startswith("bad")
        o = {"same": None, "interim": 0, "status": None, "body": b"", "names": [], "values": {}, "poison": False, "err": None, "first_ms": None}
        try:
            c = Client(addr)
        except OSError as e:
            c = None
            o["kind"], o["err"] = "connect", str(e)
        if c:
            c.run(head + body, done, a.timeout)
            rs, err, rest = split_responses(c.rx, c.eof, [method])
            fin = [r for r in rs if r.status >= 200 or not r.status]
            o["interim"] = len([r for r in rs if 0 < r.status < 200])
            o["err"] = err
            o["first_ms"] = int((c.first - c.t0) * 1000) if c.first else None
            o["poison"] = b"POISONED" in c.rx and b"POISONED" not in (d64(case["body_b64"]) if "body_b64" in case else b"")
            if fin:
                r = fin[0]
                o["status"], o["body"] = r.status, r.body
                o["names"] = [x.decode("latin1") for x, _ in r.fields]
                for x, v in r.fields:
                    o["values"].setdefault(x.decode("latin1"), []).append(v.decode("latin1"))
                own = not any(x == b"x-up" for x, _ in r.fields)
                if r.complete and r.status in (500, 502, 503, 504) and own:
                    o["kind"] = "gw-error"
                elif r.complete:
                    o["kind"] = "complete"
                elif c.eof:
                    o["kind"] = "incomplete" if r.status else "closed"
                else:
                    o["kind"] = "pending"
                if err and err.startswith("bad"):
                    o["kind"] = "malformed"
                if len(fin) > 1:
                    o["poison"] = True
            elif err and err.startswith("bad"):
                o["kind"] = "malformed"
            elif c.eof:
                o["kind"] = "incomplete" if rest else "closed"
            else:
                o["kind"] = "pending"
            if case.get("settle_ms"):
                time.sleep(case["settle_ms"] / 1000.0)
            if o["kind"] == "complete" and not c.eof and case.get("req_version") != "HTTP/1.0" and len(body) == int((re.search(r"Content-Length: (\d+)", case.get("req_headers", "")) or [0, len(body)])[1]):
                t = b"/canary/s%d" % n
                k = len(c.rx)
                c.run(b"GET " + t + b" HTTP/1.1\r\nHost: gw.test\r\n\r\n", lambda rx, eof: len(rx) > k and split_responses(rx[k:], eof, [b"GET"])[1] is None, a.timeout)
                if not (c.eof and len(c.rx) == k):      # closing instead of answering is allowed
                    r2, e2, _ = split_responses(c.rx[k:], c.eof, [b"GET"])
                    f2 = [x for x in r2 if x.status >= 200]
                    if not f2 or f2[0].status != 200 or f2[0].body != b"echo:" + t + b"\n" or len(f2) > 1:
                        o["same"] = "status=%s body=%r err=%s" % ([x.status for x in r2], f2[0].body[:40] if f2 else None, e2)
            c.close()
        time.sleep(0.02)
        o["canary"] = None if a.no_canary else canary(addr, n, tries=1 if case["class"] in ("extra-data", "premature", "bodyless-with-body", "te-and-cl") else 2)
        evs = up.since(i0)
        o["plays"] = len([1 for e in evs if e[2] == "play"])
        o["bad"] = "; ".join(e[3][0] for e in evs if e[2] == "bad") + "".join(" smuggled-into-body" for e in evs if e[2] == "smuggle-in-body")
        fl, stc = judge_resp(case, o, "floor"), judge_resp(case, o, "strict")
        results.append({"id": case["id"], "class": case["class"], "expect": case["expect"], "strict": case.get("strict", case["expect"]), "floor_fail": fl, "strict_fail": stc,
                        "kind": o["kind"], "status": o["status"], "interim": o["interim"], "plays": o["plays"], "note": case["note"]})
        if a.verbose:
            print(("ok   " if not fl else "FAIL ") + ("ok   " if not stc else "fail ") + case["id"], o["kind"], o["status"], "; ".join(fl or stc), flush=True)
        if not alive(addr, o["canary"]):
            return results, "gateway gone after " + case["id"]
    return results, None


# ------------------------------------------------------------------ main
def main():
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=("requests", "responses", "upstream"))
    ap.add_argument("--gateway", default="127.0.0.1:8080")
    ap.add_argument("--upstream-port", type=int, default=0)
    ap.add_argument("--corpus")
    ap.add_argument("--timeout", type=float, default=2.0)
    ap.add_argument("--only", help="regular expression on id or class")
    ap.add_argument("--skip-class", default="", help="comma-separated classes to leave out")
    ap.add_argument("--waive", help="file of ids (one a line, reason after it) whose failures are listed but not counted as failures")
    ap.add_argument("--spawn", help="command that starts the gateway; {port} is the upstream port")
    ap.add_argument("--tls", metavar="CA", help="speak TLS, and take certificates for localhost from this CA (a file in PEM)")
    ap.add_argument("--no-canary", action="store_true")
    ap.add_argument("--json", action="store_true", help="print machine-readable results")
    ap.add_argument("--out", help="also write the JSON here")
    ap.add_argument("-v", "--verbose", action="store_true")
    a = ap.parse_args()
    Client.tls = ssl.create_default_context(cafile=a.tls) if a.tls else None
    host, _, port = a.gateway.rpartition(":")
    addr = (host.strip("[]") or "127.0.0.1", int(port))
    path = a.corpus or os.path.join(here, "requests.jsonl" if a.mode == "requests" else "responses.jsonl")
    cases = [] if a.mode == "upstream" else [json.loads(x) for x in open(path) if x.strip()]
    up = Upstream(a.upstream_port, {c["id"]: c for c in cases} if a.mode == "responses" else {})
    if a.mode == "upstream":
        print("upstream on 127.0.0.1:%d" % up.port, flush=True)
        i = 0
        while True:
            time.sleep(0.2)
            for t, cid, kind, x in up.since(i):
                i += 1
                if kind in ("req", "bad", "close"):
                    print(cid, kind, (x.method + b" " + x.target + b" body=%d" % len(x.body)) if kind == "req" else x, flush=True)
    if a.only:
        cases = [c for c in cases if re.search(a.only, c["id"]) or re.search(a.only, c["class"])]
    skip = set(filter(None, a.skip_class.split(",")))
    cases = [c for c in cases if c["class"] not in skip]
    proc = None
    if a.spawn:
        proc = subprocess.Popen(shlex.split(a.spawn.replace("{port}", str(up.port))), stdin=subprocess.DEVNULL)
    try:
        for _ in range(100):
            why = canary(addr, 0)
            if not why:
                break
            time.sleep(0.1)
        else:
            print("gateway does not answer a plain request: %s (upstream port %d)" % (why, up.port), file=sys.stderr)
            return 2
        t0 = time.time()
        results, stop = (run_requests if a.mode == "requests" else run_responses)(a, up, cases, addr)
    finally:
        if proc:
            proc.terminate()
            try:
                proc.wait(5)
            except subprocess.TimeoutExpired:
                proc.kill()
    waived = []
    if a.waive:
        ids = {x.split()[0] for x in open(a.waive) if x.strip() and not x.startswith("#")}
        for r in results:
            if r["id"] in ids and (r["floor_fail"] or r["strict_fail"]):
                waived.append(r["id"])
                r["waived"], r["floor_fail"], r["strict_fail"] = r["floor_fail"] or r["strict_fail"], [], []
    classes = collections.OrderedDict()
    for r in results:
        k = classes.setdefault(r["class"], {"total": 0, "floor_pass": 0, "strict_pass": 0, "floor_failed": [], "strict_failed": []})
        k["total"] += 1
        for lv in ("floor", "strict"):
            if r[lv + "_fail"]:
                k[lv + "_failed"].append(r["id"])
            else:
                k[lv + "_pass"] += 1
    doc = {"mode": a.mode, "gateway": a.gateway, "corpus": os.path.basename(path), "total": len(results), "of": len(cases), "stopped": stop, "waived": waived, "seconds": round(time.time() - t0, 1),
           "floor_pass": sum(1 for r in results if not r["floor_fail"]), "strict_pass": sum(1 for r in results if not r["strict_fail"]),
           "critical": [r["id"] for r in results if any(re.match(r"smuggled|canary-failed\(POISON|poison|upstream-malformed|too-many", x) for x in r["floor_fail"])],
           "classes": classes, "results": results}
    if a.out:
        with open(a.out, "w") as fh:
            json.dump(doc, fh, indent=1)
    if a.json:
        json.dump(doc, sys.stdout)
        print()
    else:
        print("%-22s %6s %7s %7s  failing at the floor" % ("class", "cases", "floor", "strict"))
        for k, v in classes.items():
            print("%-22s %6d %7d %7d  %s" % (k, v["total"], v["floor_pass"], v["strict_pass"], " ".join(v["floor_failed"][:8]) + (" ..." if len(v["floor_failed"]) > 8 else "")))
        print("%-22s %6d %7d %7d  critical: %d  (%.0f s)%s" % ("TOTAL", doc["total"], doc["floor_pass"], doc["strict_pass"], len(doc["critical"]), doc["seconds"], "  STOPPED: " + stop if stop else ""))
        if waived:
            print("waived: " + " ".join(waived))
        if doc["critical"]:
            print("critical ids: " + " ".join(doc["critical"]))
    return 2 if stop else (0 if doc["floor_pass"] == doc["total"] else 1)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *x: sys.exit(143))
    sys.exit(main())
