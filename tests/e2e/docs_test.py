# SPDX-License-Identifier: Apache-2.0
"""What the manual says is tried: its YAML loads, and its worked example does what is told of it."""

import glob
import os
import re
import subprocess

from gate import Gate
from harness import ROOT, WEIR, Case, ask, main, request_bytes, wait_until
from scrape import scrape

FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.M | re.S)
DOCS = sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))) + [os.path.join(ROOT, "README.md")]


def snippets(path):
    """[(line, text)] of the YAML in a Markdown file."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    return [(text.count("\n", 0, m.start()) + 2, m.group(1)) for m in FENCE.finditer(text)]


def whole(text):
    """A file of it: what a snippet leaves out is as little as can be."""
    more = ""
    for key, value in (("version", "1"), ("listen", "127.0.0.1:8080"), ("routes", "[{match: /, respond: {status: 204}}]")):
        if not re.search(r"^%s:" % key, text, re.M):
            more += "%s: %s\n" % (key, value)
    return text + more                   # behind it, so that an error's line is the snippet's


class Manual(Case):
    def test_every_snippet_loads(self):
        found = 0
        for path in DOCS:
            for line, text in snippets(path):
                found += 1
                file = os.path.join(self.directory, "snippet.yaml")
                with open(file, "w") as f:
                    f.write(whole(text))
                p = subprocess.run([WEIR, "check", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
                with self.subTest("%s:%d" % (os.path.relpath(path, ROOT), line)):
                    self.assertEqual(p.returncode, 0, p.stdout)
        self.assertGreater(found, 5)

    def test_the_worked_example_of_limits(self):
        example = next(t for _, t in snippets(os.path.join(ROOT, "docs", "limits.md")) if t.startswith("version:"))
        g = Gate()
        self.addCleanup(g.stop)
        # How long they may wait is not what is tried here, and a busy machine may take a second to send 130 requests.
        for old, new in (("127.0.0.1:8080", "127.0.0.1:@PORT@"), ("127.0.0.1:9901", "127.0.0.1:@ADMIN@"),
                         ("http://127.0.0.1:9000", g.url), ("max_wait: 1s", "max_wait: 60s")):
            self.assertIn(old, example)
            example = example.replace(old, new)
        w = self.weir(example)
        peers = []
        for n in range(130):
            p = w.dial()
            self.addCleanup(p.close)
            p.send(request_bytes(headers=[("X-Api-Key", "caller %d" % n)]))
            peers.append(p)
        g.wait(20)
        wait_until("100 to wait", lambda: scrape(w).sum("concurrency_waiting") == 100)
        wait_until("10 to be refused", lambda: scrape(w).sum("concurrency_refused_total") == 10)
        g.open()
        got = [p.read_response() for p in peers]
        self.assertEqual([r.status for r in got].count(200), 120)
        self.assertEqual({r.json()["reason"] for r in got if r.status != 200}, {"queue_full"})
        self.assertEqual(g.most, 20)
        limits = ask(w.admin, "/limits?instance=per_key&key=caller%200").json()["limits"][0]
        self.assertEqual(limits["key"][0]["burst"], 50)


if __name__ == "__main__":
    main()
