# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: starting weir and its mock, a strict HTTP/1.1 peer for both sides, a scripted upstream.

Each test starts its own processes on free ports in a directory of its own and ends them by their ids; at the end weir's
stderr is looked through for what a healthy process never says. The program under test is $WEIR, or build/weir.
"""

import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEIR = os.path.abspath(os.environ.get("WEIR", os.path.join(ROOT, "build", "weir")))
SANITIZED = "san-" in WEIR       # it keeps what is freed, and marks what is not: its size is no measure of weir's
LONG = os.environ.get("WEIR_LONG") == "1"
SLOW = float(os.environ.get("WEIR_SLOW", "1"))      # how many times slower the program is under what looks for its bugs
PATIENCE = 10.0 * SLOW      # seconds, for what should take milliseconds: a test fails instead of hanging
# The last one is what valgrind says.
UNHEALTHY = re.compile(rb"check failed|[Ss]anitizer|ERROR: LeakSanitizer|runtime error|^==\d+== ", re.M)


def free_port():
    """One below those that outgoing connections get: no such connection takes it while nobody listens there yet."""
    while True:
        port = random.SystemRandom().randrange(16000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port


def wait_until(what, probe, patience=PATIENCE):
    """Polls `probe` until it gives something true, and returns that."""
    until = time.monotonic() + patience
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > until:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.005)


def connects(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def raise_files(wanted):
    """Lets this process and its children open so many files; False if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True


# --- HTTP/1.1, strictly ------------------------------------------------------------------------------------------------

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")


class BadMessage(AssertionError):
    pass


class Closed(Exception):
    """The other side ended or reset the connection."""


class Message:
    def __init__(self, first, fields, raw):
        self.first, self.fields, self.raw = first, fields, raw
        self.body, self.trailers, self.chunks = b"", [], []

    def all(self, name):
        name = name.lower()
        return [v for n, v in self.fields if n.lower() == name]

    def get(self, name, default=None):
        values = self.all(name)
        if len(values) > 1:
            raise BadMessage("more than one %s: %r" % (name, values))
        return values[0] if values else default


class Request(Message):
    def __init__(self, first, fields, raw):
        super().__init__(first, fields, raw)
        m = re.match(r"(\S+) (\S+) HTTP/(1\.[01])\Z", first)
        if not m:
            raise BadMessage("request line: %r" % first)
        self.method, self.target, self.version = m.groups()


class Response(Message):
    def __init__(self, first, fields, raw):
        super().__init__(first, fields, raw)
        m = re.match(r"HTTP/(1\.[01]) ([1-9][0-9][0-9]) ([\t -~\x80-\xff]*)\Z", first)
        if not m:
            raise BadMessage("status line: %r" % first)
        self.version, self.status, self.reason = m.group(1), int(m.group(2)), m.group(3)
        self.interim = []

    def json(self):
        return json.loads(self.body)


class Peer:
    """One end of a connection: reads messages by the letter of RFC 9112, nothing is forgiven."""

    def __init__(self, sock):
        self.sock = sock
        self.buf = b""
        sock.settimeout(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        try:
            self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed from e

    def end_sending(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def fill(self):
        try:
            got = self.sock.recv(262144)
        except ConnectionResetError as e:
            raise Closed("reset") from e
        except (TimeoutError, socket.timeout) as e:
            raise AssertionError("nothing came within %g s; so far: %r" % (self.sock.gettimeout(), self.buf[:300])) from e
        if not got:
            raise Closed("end, after %r" % self.buf[-100:])
        self.buf += got

    def take(self, n):
        parts, have = [], len(self.buf)
        if have < n:
            parts, left = [self.buf], n - have
            self.buf = b""
            while left > 0:
                self.fill()
                piece, self.buf = self.buf[:left], self.buf[left:]
                parts.append(piece)
                left -= len(piece)
            return b"".join(parts)
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def line(self):
        while b"\n" not in self.buf:
            self.fill()
        line, self.buf = self.buf.split(b"\n", 1)
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            raise BadMessage("a line that does not end in CRLF alone: %r" % line)
        return line[:-1]

    def fields(self):
        fields, raw = [], b""
        while True:
            line = self.line()
            raw += line + b"\r\n"
            if not line:
                return fields, raw
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name) or not VALUE.match(value):
                raise BadMessage("field: %r" % line)
            fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))

    def head(self, kind):
        first = self.line()
        fields, raw = self.fields()
        return kind(first.decode("latin-1"), fields, first + b"\r\n" + raw)

    def chunk(self):
        """One chunk's payload; b"" for the last one (its trailers are not read yet)."""
        size = self.line()
        if not re.match(rb"[0-9a-fA-F]{1,16}\Z", size):
            raise BadMessage("chunk size: %r" % size)
        n = int(size, 16)
        if n == 0:
            return b""
        data = self.take(n)
        if self.take(2) != b"\r\n":
            raise BadMessage("no CRLF behind a chunk")
        return data

    def until_close(self):
        try:
            while True:
                self.fill()
        except Closed:
            data, self.buf = self.buf, b""
            return data

    def read_body(self, m, bodyless=False, request=False):
        length, coding = m.all("content-length"), m.all("transfer-encoding")
        if length and coding:
            raise BadMessage("both lengths: %r" % m.fields)
        if bodyless:
            return
        if coding:
            if [c.lower() for c in coding] != ["chunked"]:
                raise BadMessage("Transfer-Encoding: %r" % coding)
            while True:
                data = self.chunk()
                if not data:
                    break
                m.chunks.append(data)
            m.body = b"".join(m.chunks)
            m.trailers, _ = self.fields()
        elif length:
            if len(length) > 1 or not re.match(r"[0-9]+\Z", length[0]):
                raise BadMessage("Content-Length: %r" % length)
            m.body = self.take(int(length[0]))
        elif not request:
            m.body = self.until_close()

    def read_request(self, body=True):
        m = self.head(Request)
        if body:
            self.read_body(m, request=True)
        return m

    def read_response(self, method="GET", body=True):
        interim = []
        while True:
            m = self.head(Response)
            if m.status >= 200 or m.status == 101:
                break
            interim.append(m)
        m.interim = interim
        bodyless = method == "HEAD" or m.status in (101, 204, 304)
        if body:
            self.read_body(m, bodyless=bodyless)
        return m

    def ended(self, patience=PATIENCE):
        """Has the other side closed (or reset), with nothing more said?"""
        self.sock.settimeout(patience)
        try:
            self.fill()
            return False
        except Closed:
            return not self.buf
        except AssertionError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)


def dial(port, host="127.0.0.1"):
    return Peer(socket.create_connection((host, port), timeout=PATIENCE))


def request_bytes(method="GET", path="/", headers=(), body=b"", host="test.example", version="1.1"):
    lines = ["%s %s HTTP/%s" % (method, path, version)]
    if host is not None:
        lines.append("Host: " + host)
    lines += ["%s: %s" % h for h in headers]
    if body and not any(n.lower() in ("content-length", "transfer-encoding") for n, _ in headers):
        lines.append("Content-Length: %d" % len(body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def ask(port, path="/", method="GET", **more):
    """One request on a connection of its own; for this machine, for the admin listener is nobody else's."""
    more.setdefault("host", "localhost")
    with dial(port) as p:
        p.send(request_bytes(method, path, **more))
        return p.read_response(method)


def answer_bytes(status="200 OK", headers=(), body=b"", length=True):
    lines = ["HTTP/1.1 " + status] + ["%s: %s" % h for h in headers]
    if length:
        lines.append("Content-Length: %d" % len(body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


# --- processes ---------------------------------------------------------------------------------------------------------

class Process:
    def __init__(self, args, stdout, directory, env=None):
        self.directory = directory
        self.err_path = os.path.join(directory, "stderr-%d" % free_port())
        with open(self.err_path, "wb") as err:
            self.proc = subprocess.Popen([WEIR] + args, stdout=stdout, stderr=err, stdin=subprocess.DEVNULL, env=env)
        self.checked = False

    @property
    def pid(self):
        return self.proc.pid

    def stderr(self):
        with open(self.err_path, "rb") as f:
            return f.read()

    def signal(self, number):
        self.proc.send_signal(number)

    def wait(self, patience=20 * SLOW):
        return self.proc.wait(patience)

    def stop(self):
        """Ends the process if it still runs, and looks through what it said. Returns its exit status."""
        if self.proc.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.wait()
                raise AssertionError("did not end on SIGTERM; stderr: %s" % self.stderr()[-2000:])
        self.check_healthy()
        return self.proc.returncode

    def check_healthy(self):
        if self.checked:
            return
        self.checked = True
        text = self.stderr()
        if UNHEALTHY.search(text):
            raise AssertionError("stderr says:\n" + text.decode("latin-1")[-6000:])
        if self.proc.returncode is not None and self.proc.returncode < 0 and self.proc.returncode != -signal.SIGKILL:
            raise AssertionError("killed by signal %d; stderr:\n%s" % (-self.proc.returncode, text.decode("latin-1")[-3000:]))

    def rss(self):
        """Resident bytes."""
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024

    def cpu(self):
        """Seconds of CPU spent so far."""
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Mock(Process):
    def __init__(self, directory, *args):
        super().__init__(["mock", "--listen", "127.0.0.1:0"] + list(args), subprocess.PIPE, directory)
        line = self.proc.stdout.readline().decode()
        m = re.match(r"mock upstream on 127\.0\.0\.1:(\d+)\n\Z", line)
        if not m:
            raise AssertionError("the mock says %r and %r" % (line, self.stderr()))
        self.port = int(m.group(1))
        self.url = "http://127.0.0.1:%d" % self.port

    def stats(self):
        return ask(self.port, "/stats").json()

    def stop(self):
        try:
            return super().stop()
        finally:
            self.proc.stdout.close()


class Weir(Process):
    """`weir run` with the given YAML, in which @PORT@ and @ADMIN@ stand for free ports. Ready when /readyz says so."""

    def __init__(self, directory, yaml, env=None, ready=True):
        self.port, self.admin = free_port(), free_port()
        while self.admin == self.port:
            self.admin = free_port()
        self.out_path = os.path.join(directory, "access-%d" % self.port)
        self.conf_path = os.path.join(directory, "weir-%d.yaml" % self.port)
        with open(self.conf_path, "w") as f:
            f.write(yaml.replace("@PORT@", str(self.port)).replace("@ADMIN@", str(self.admin)))
        with open(self.out_path, "wb") as out:
            super().__init__(["run", "-c", self.conf_path], out, directory, env)
        if ready:
            wait_until("weir to be ready", self.is_ready, 20 * SLOW)

    def is_ready(self):
        if self.proc.poll() is not None:
            raise AssertionError("weir ended with %d: %s" % (self.proc.returncode, self.stderr().decode("latin-1")))
        try:
            return ask(self.admin, "/readyz").status == 200
        except (OSError, Closed):
            return False

    def dial(self):
        return dial(self.port)

    def ask(self, path="/", method="GET", **more):
        return ask(self.port, path, method, **{"host": "test.example", **more})

    def log(self):
        with open(self.out_path, "rb") as f:
            text = f.read()
        return [json.loads(line) for line in text.split(b"\n")[:-1]]

    def wait_log(self, n=1, **wanted):
        """The log's lines that hold all of `wanted`, once there are `n`."""
        def probe():
            lines = [l for l in self.log() if all(l.get(k) == v for k, v in wanted.items())]
            return lines if len(lines) >= n else None
        return wait_until("%d log lines with %r; there are %r" % (n, wanted, self.log()), probe)

    def metrics(self):
        text = ask(self.admin, "/metrics").body.decode()
        return {m.group(1): float(m.group(2)) for m in re.finditer(r"^([^#\s]\S*) (\S+)$", text, re.M)}


class Upstream:
    """A scripted server: `script(peer, number)` runs on a thread for each connection (0, 1, ...)."""

    def __init__(self, script):
        self.script = script
        self.errors = []
        self.count = 0
        self.peers = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            peer = Peer(sock)
            self.peers.append(peer)
            threading.Thread(target=self.serve, args=(peer, self.count), daemon=True).start()
            self.count += 1

    def serve(self, peer, number):
        try:
            self.script(peer, number)
        except (Closed, OSError):
            pass
        except Exception as e:          # shown at the end of the test, which is on another thread
            self.errors.append(e)
        finally:
            peer.close()

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for peer in self.peers:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.errors:
            raise AssertionError("the upstream saw: %r" % self.errors)


def serving(handler):
    """A script for Upstream that answers each request of a connection with what `handler(request)` gives (bytes)."""
    def script(peer, _):
        while True:
            peer.send(handler(peer.read_request()))
    return script


class Case(unittest.TestCase):
    """A test with a directory, and with processes that end with it."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="weir-e2e-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def mock(self, *args):
        m = Mock(self.directory, *args)
        self.addCleanup(m.stop)
        return m

    def upstream(self, script):
        u = Upstream(script)
        self.addCleanup(u.stop)
        return u

    def weir(self, yaml, **more):
        w = Weir(self.directory, yaml, **more)
        self.addCleanup(w.stop)
        return w

    def proxy(self, upstream, route="", top="", up="", listen='["127.0.0.1:@PORT@"]', **more):
        """Weir with one route for everything. `route`, `up`, `top`: further YAML of these mappings, in flow style (for
        route and up: ", key: value ...") or as lines (top)."""
        return self.weir("""version: 1
listen: %s
admin: 127.0.0.1:@ADMIN@
%s
upstreams:
  api: {endpoints: ["%s"]%s}
routes:
  - {match: /, upstream: api%s}
""" % (listen, top, getattr(upstream, "url", upstream), up, route), **more)


class Result(unittest.TextTestResult):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.bad = set()

    def addError(self, test, err):
        super().addError(test, err)
        self.bad.add(str(test))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.bad.add(str(test))


def main():
    """Runs the calling file's tests, and ends with "N passed, N failed"."""
    suite = unittest.TestLoader().loadTestsFromModule(sys.modules["__main__"])
    if len(sys.argv) > 1:
        every = [t for group in suite for t in group]
        nobody = [a for a in sys.argv[1:] if not any(a in t.id() for t in every)]
        if nobody:
            sys.exit("no test's name has %s in it" % ", ".join(nobody))
        suite = unittest.TestSuite(t for t in every if any(a in t.id() for a in sys.argv[1:]))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(suite)
    failed = max(len(result.bad), 0 if result.wasSuccessful() else 1)
    skipped = len(result.skipped)
    print("%d passed, %d failed%s" % (result.testsRun - failed - skipped, failed,
                                      ", %d skipped" % skipped if skipped else ""))
    sys.stdout.flush()
    sys.exit(1 if failed else 0)
