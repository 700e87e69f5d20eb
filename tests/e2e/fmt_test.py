#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir fmt: what becomes of files, and what is said about them. That all of our own are in the usual layout."""

import glob
import os
import re
import subprocess

from harness import *

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UGLY = "version: 1\nroutes:\n- match: /   \n  respond: {body: x}\n"
USUAL = "version: 1\nroutes:\n  - match: /\n    respond: {body: x}\n"


class Fmt(Case):
    def fmt(self, *args, user=None):
        r = subprocess.run([WEIR, "fmt"] + list(args), capture_output=True, text=True, timeout=60, user=user,
                           stdin=subprocess.DEVNULL)
        return r.returncode, r.stdout, r.stderr

    def file(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", newline="") as f:
            f.write(text)
        return path

    def read(self, path):
        with open(path, newline="") as f:
            return f.read()

    def test_written(self):
        a, b = self.file("a.yaml", UGLY), self.file("b.yaml", USUAL)
        os.chmod(a, 0o640)
        before = os.stat(b)
        self.assertEqual(self.fmt(a, b), (0, "", ""))
        self.assertEqual(self.read(a), USUAL)
        self.assertEqual(os.stat(a).st_mode & 0o7777, 0o640)
        self.assertEqual((os.stat(b).st_ino, os.stat(b).st_mtime_ns), (before.st_ino, before.st_mtime_ns))
        self.assertEqual(sorted(n for n in os.listdir(self.directory) if "yaml" in n), ["a.yaml", "b.yaml"])

    def test_checked(self):
        a, b = self.file("a.yaml", UGLY), self.file("b.yaml", USUAL)
        self.assertEqual(self.fmt("--check", b), (0, "", ""))
        self.assertEqual(self.fmt("--check", a, b), (1,
            f"{a}: is not in the usual layout\n"
            "     3 - - match: /   \n     3 +   - match: /\n"
            "     4 -   respond: {body: x}\n     4 +     respond: {body: x}\n", ""))
        self.assertEqual(self.read(a), UGLY)
        r = self.fmt("--check", self.file("long.yaml", "a: 1\n" + "".join("b%d: 1 \n" % i for i in range(20))))
        self.assertTrue(r[1].endswith("       and 10 more lines\n"), r[1])

    def test_a_link_stays_one(self):
        self.file("real.yaml", UGLY)
        link = os.path.join(self.directory, "link.yaml")
        os.symlink("real.yaml", link)
        self.assertEqual(self.fmt(link), (0, "", ""))
        self.assertEqual(os.readlink(link), "real.yaml")
        self.assertEqual(self.read(link), USUAL)

    def test_what_cannot_be(self):
        broken, good = self.file("broken.yaml", "a: [1\nb: 2\n"), self.file("good.yaml", UGLY)
        code, out, err = self.fmt(broken, good)
        self.assertEqual((code, out), (1, ""))
        self.assertTrue(err.startswith(f"{broken}:2:2: error E004: not valid YAML: "), err)
        self.assertEqual(self.read(broken), "a: [1\nb: 2\n")
        self.assertEqual(self.read(good), USUAL)           # the others are done all the same
        code, _, err = self.fmt(os.path.join(self.directory, "none.yaml"))
        self.assertEqual(code, 1)
        self.assertIn("No such file", err)
        fifo = os.path.join(self.directory, "fifo")
        os.mkfifo(fifo)
        self.assertEqual(self.fmt(fifo)[0], 1)

    def test_a_folder_that_may_not_be_written_to(self):
        a = self.file("a.yaml", UGLY)
        if os.getuid() == 0:
            os.chmod(self.directory, 0o755)
            code, _, err = self.fmt(a, user="nobody")
        else:
            os.chmod(self.directory, 0o555)
            code, _, err = self.fmt(a)
            os.chmod(self.directory, 0o755)
        self.assertEqual((code, err), (1, f"weir fmt: {a}: cannot write beside it: Permission denied\n"))
        self.assertEqual(self.read(a), UGLY)

    def test_misused(self):
        for args in ([], ["--check"], ["--chek", "a.yaml"], ["a.yaml", "--check"]):
            self.assertEqual(self.fmt(*args)[0], 2, args)

    def test_our_own_files(self):
        files = [f for where in ("conf/*.yaml", "conf/examples/*.yaml", "conf/examples/tls/*.yaml", "docker/*.yaml",
                                 "docker/etc/*.yaml", "bench/*.yaml", "tests/corpus/*.yaml") for f in sorted(glob.glob(os.path.join(TOP, where)))]
        self.assertGreater(len(files), 12)
        self.assertEqual(self.fmt("--check", *files), (0, "", ""))

    def test_yaml_in_our_documents(self):
        n = 0
        for path in glob.glob(os.path.join(TOP, "*.md")) + glob.glob(os.path.join(TOP, "docs", "*.md")):
            for i, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```$", self.read(path), re.M | re.S)):
                name = self.file(f"{os.path.basename(path)}.{i}.yaml", block)
                self.assertEqual(self.fmt("--check", name), (0, "", ""))
                n += 1
        self.assertGreater(n, 2)


if __name__ == "__main__":
    main()
