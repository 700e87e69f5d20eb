# SPDX-License-Identifier: Apache-2.0
"""The access log: one JSON object a request, whatever the request was."""

import json
import os
import signal
import subprocess

from harness import Case, Closed, Process, ask, dial, free_port, main, request_bytes, wait_until

ORDER = ["time", "id", "client", "method", "target", "host", "route", "endpoint", "status", "reason", "bytes_in", "bytes_out",
         "duration_ms", "first_byte_ms", "attempts", "version", "conn"]


class Log(Case):
    def test_fields(self):
        m = self.mock()
        w = self.proxy(m, route=", name: main, filters: [request_id]")
        r = w.ask("/echo?a=b", "POST", body=b"x" * 1234)
        line = w.wait_log()[0]
        self.assertEqual(list(line), ORDER)
        self.assertRegex(line["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
        wanted = {"client": "127.0.0.1", "method": "POST", "target": "/echo?a=b", "host": "test.example", "route": "main",
                  "endpoint": m.url, "status": 200, "reason": "none", "bytes_in": 1234, "bytes_out": 1234, "attempts": 1,
                  "version": "1.1", "id": r.get("x-request-id")}
        self.assertEqual({k: line[k] for k in wanted}, wanted)
        self.assertGreater(line["first_byte_ms"], 0)
        self.assertGreaterEqual(line["duration_ms"], line["first_byte_ms"])

    def test_requests_of_one_connection_share_its_number(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            for _ in range(3):
                p.send(request_bytes(path="/bytes/1"))
                p.read_response()
        w.ask("/bytes/1")
        numbers = [l["conn"] for l in w.wait_log(4)]
        self.assertEqual(len(set(numbers)), 2)

    def test_every_refusal_has_its_line(self):
        w = self.proxy(self.mock())
        for raw, status, reason, fault in ((b"nonsense\r\n\r\n", 400, "bad_request", "not_http"),
                                           (b"GET /%2f HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_path", None),
                                           (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "not_implemented", None),
                                           (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "version", None)):
            with w.dial() as p:
                p.send(raw)
                self.assertEqual(p.read_response().status, status)
            line = w.wait_log(reason=reason)[0]
            self.assertEqual(line["status"], status)
            if fault:
                self.assertIn("fault", line)

    def test_hostile_bytes_stay_within_their_field(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            p.send(b'GET /"},{"status":1?\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n')
            p.read_response()
        with w.dial() as p:
            p.send(b"GET /a?b=%22%0a HTTP/1.1\r\nHost: x\r\n\r\n")
            p.read_response()
        lines = w.wait_log(2)           # each line was parsed as JSON
        self.assertEqual(len(lines), 2)

    def test_a_file(self):
        path = os.path.join(self.directory, "access.log")
        w = self.proxy(self.mock(), top="log: {to: %s}" % path)
        w.ask("/bytes/1")

        def lines():
            with open(path) as f:
                return [json.loads(l) for l in f]
        wait_until("the line", lambda: len(lines()) == 1)
        self.assertEqual(w.log(), [])

    def test_log_none(self):
        w = self.proxy(self.mock(), top="log: {to: none}")
        w.ask("/bytes/1")
        w.stop()
        self.assertEqual(w.log(), [])

    def test_the_last_lines_are_written_at_the_end(self):
        w = self.proxy(self.mock())
        with w.dial() as p:
            for _ in range(500):
                p.send(request_bytes(path="/bytes/1"))
                p.read_response()
        self.assertEqual(w.stop(), 0)
        self.assertEqual(len(w.log()), 500)

    def test_a_pipe_nobody_reads_stops_no_request(self):
        m = self.mock()
        port, admin = free_port(), free_port()
        conf = os.path.join(self.directory, "pipe.yaml")
        with open(conf, "w") as f:
            f.write("version: 1\nlisten: 127.0.0.1:%d\nadmin: 127.0.0.1:%d\nupstreams: {api: {endpoints: ['%s']}}\n"
                    "routes: [{match: /, upstream: api}]\n" % (port, admin, m.url))
        process = Process(["run", "-c", conf], subprocess.PIPE, self.directory)
        self.addCleanup(process.proc.stdout.close)
        self.addCleanup(process.stop)

        def ready():
            try:
                return ask(admin, "/readyz").status == 200
            except (OSError, Closed):
                return False
        wait_until("weir to be ready", ready)
        with dial(port) as p:
            for _ in range(300):
                p.send(request_bytes(path="/bytes/1?" + "x" * 4000))
                self.assertEqual(p.read_response().status, 200)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0)


if __name__ == "__main__":
    main()
