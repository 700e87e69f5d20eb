# SPDX-License-Identifier: Apache-2.0
"""curl as a client that somebody else wrote."""

import os
import shutil
import subprocess
import unittest

from harness import Case, main


@unittest.skipUnless(shutil.which("curl"), "curl is not installed")
class Curl(Case):
    def setUp(self):
        super().setUp()
        self.w = self.proxy(self.mock())
        self.url = "http://127.0.0.1:%d" % self.w.port

    def curl(self, *args, **more):
        r = subprocess.run(["curl", "-sS", "--max-time", "20"] + list(args), capture_output=True, timeout=30, **more)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout

    def file(self, n):
        path = os.path.join(self.directory, "body")
        with open(path, "wb") as f:
            f.write(os.urandom(n))
        with open(path, "rb") as f:
            return path, f.read()

    def test_get_and_keep_alive(self):
        out = self.curl("-w", "%{num_connects} ", *[self.url + "/bytes/2"] * 5)
        self.assertEqual(out, b"xx1 xx0 xx0 xx0 xx0 ")

    def test_head(self):
        out = self.curl("-I", self.url + "/bytes/7")
        self.assertIn(b"content-length: 7\r\n", out.lower())

    def test_post_with_expect(self):
        path, body = self.file(2 << 20)
        out = self.curl("-H", "Expect: 100-continue", "--data-binary", "@" + path, self.url + "/echo")
        self.assertTrue(out == body)

    def test_chunked_upload(self):
        path, body = self.file(3 << 20)
        out = self.curl("-T", "-", "-X", "POST", self.url + "/echo", input=body)
        self.assertTrue(out == body)

    def test_http_1_0(self):
        self.assertEqual(self.curl("-0", self.url + "/bytes/3"), b"xxx")
        self.assertTrue(self.curl("-0", self.url + "/sse/2/1").endswith(b"data: [DONE]\n\n"))

    def test_as_a_proxy_with_absolute_form(self):
        out = self.curl("-x", self.url, "http://some.example/abs?x=1")
        self.assertIn(b'"path":"/abs?x=1"', out)
        self.assertIn(b"some.example", out)

    def test_parallel(self):
        out = self.curl("-Z", "--parallel-max", "20", *[self.url + "/bytes/1"] * 60)
        self.assertEqual(out, b"x" * 60)

    def test_events(self):
        self.assertEqual(self.curl("-N", self.url + "/sse/3/5").count(b"\n\n"), 4)


if __name__ == "__main__":
    main()
