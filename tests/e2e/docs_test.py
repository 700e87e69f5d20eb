# SPDX-License-Identifier: Apache-2.0
"""What the manual says is tried: its YAML loads, and its worked example does what is told of it."""

import glob
import json
import os
import re
import shutil
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


MADE = {"reference.md": ["doc"], "weir.1": ["doc", "--man", "1"], "weir.yaml.5": ["doc", "--man", "5"], "weir.schema.json": ["schema"],
        "weir.included.schema.json": ["schema", "--included"]}


def said(*args):
    return subprocess.run([WEIR] + list(args), stdout=subprocess.PIPE, check=True, text=True, timeout=30).stdout


class Made(Case):
    def test_what_is_made_is_fresh(self):
        for name, verb in MADE.items():
            with self.subTest(name), open(os.path.join(ROOT, "docs", name), encoding="utf-8") as f:
                self.assertEqual(f.read(), said(*verb), "`make docs` writes it anew")

    def test_manual_pages_are_good_roff(self):
        for name in [n for n in MADE if n[-1].isdigit()]:
            p = subprocess.run(["groff", "-ww", "-man", "-Tutf8", "-rLL=78n", os.path.join(ROOT, "docs", name)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
            with self.subTest(name):
                self.assertEqual(p.stderr, "")
                self.assertGreater(len(p.stdout.splitlines()), 50)

    def test_the_readme_has_every_verb(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            text = f.read()
        verbs = re.findall(r"^  (\w+)  +\S", said("help"), re.M)
        self.assertGreater(len(verbs), 10)
        for verb in verbs:
            with self.subTest(verb):
                self.assertRegex(text, r"\| `weir %s\b" % verb)

    def test_an_unknown_word_is_an_error(self):
        p = subprocess.run([WEIR, "doc", "token_bucket.rte"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual((p.returncode, p.stdout), (2, ""))
        self.assertIn('did you mean "token_bucket.rate"?', p.stderr)

    def test_links_lead_somewhere(self):
        for path in DOCS:
            with open(path, encoding="utf-8") as f:
                links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", f.read())
            for link in links:
                with self.subTest("%s: %s" % (os.path.relpath(path, ROOT), link)):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(path), link)))


class Show(Case):
    LINE = re.compile(r"(\S+) = (.*)  # (default|(\S+):(\d+)(, shared: define\.\S+)?)\Z")

    def test_every_line_can_be_asked_for(self):
        paths = set()
        for path in glob.glob(os.path.join(ROOT, "tests", "conf", "good", "*.yaml")):
            env = dict(os.environ, WEIR_TEST_ADDRESS="127.0.0.1:8080", WEIR_TEST_EMPTY="")
            p = subprocess.run([WEIR, "show", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30, env=env)
            self.assertEqual(p.returncode, 0, p.stderr)
            for line in p.stdout.splitlines():
                m = self.LINE.match(line)
                self.assertTrue(m, line)
                if m.group(4):
                    self.assertTrue(m.group(4) == path or "/included/" in m.group(4), line)
                paths.add(re.sub(r"\[\d+\]$|(\.(headers|header|set|add|routes))\.[^.]+$", r"\1", m.group(1)))
        self.assertGreater(len(paths), 100)
        for path in sorted(paths):
            with self.subTest(path):
                self.assertNotIn("did you mean", said("doc", path))

    def test_the_line_is_that_of_the_value(self):
        path = os.path.join(ROOT, "conf", "weir.yaml")
        lines = open(path).read().splitlines()
        found = 0
        for entry in json.loads(said("show", "--json", path)):
            if "line" in entry:
                found += 1
                self.assertIn(entry["value"].strip("[]\"").replace("\\n", ""), lines[entry["line"] - 1].replace("\\n", ""), entry)
        self.assertGreater(found, 10)

    def test_a_bad_file_shows_its_errors(self):
        path = os.path.join(self.directory, "bad.yaml")
        with open(path, "w") as f:
            f.write("version: 1\nlisten: 127.0.0.1:0\nrouts: []\n")
        p = subprocess.run([WEIR, "show", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn('bad.yaml:3:1: error E012: unknown key "routs"; did you mean "routes"?', p.stderr)


class Manual(Case):
    def test_every_snippet_loads(self):
        found = 0
        shutil.copytree(os.path.join(ROOT, "tests", "conf", "tls"), os.path.join(self.directory, "tls"))
        for kind in ("pem", "key"):          # what weir shows to endpoints
            shutil.copy(os.path.join(self.directory, "tls", "server." + kind), os.path.join(self.directory, "tls", "weir." + kind))
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
