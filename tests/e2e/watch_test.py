#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changed files are reloaded by themselves: saved as editors and Kubernetes do it, included, secret, broken and mended."""

import os
import re
import signal
import subprocess
import time

from harness import *


class Gate(Process):
    """A gateway whose configuration is at a path of the test's own."""

    def __init__(self, directory, path, ports):
        self.port, self.admin = ports
        with open(os.path.join(directory, "access"), "wb") as out:
            super().__init__(["run", "-c", path], out, directory)
        wait_until("weir to be ready", lambda: connects(self.admin) and ask(self.admin, "/readyz").status == 200, 20)

    def says(self, wanted):
        wait_until("the answer to be %r" % wanted, lambda: ask(self.port, "/").body.decode() == wanted)

    def number(self, name):
        text = ask(self.admin, "/metrics").body.decode()
        return int(re.search(r"^weir_config_%s (\d+)$" % re.escape(name), text, re.M)[1])


class Watch(Case):
    def setUp(self):
        super().setUp()
        self.ports = free_port(), free_port()
        self.path = self.place("weir.yaml")

    def place(self, *names):
        return os.path.join(self.directory, *names)

    def text(self, word, more=""):
        return ("version: 1\nlisten: 127.0.0.1:%d\nadmin: 127.0.0.1:%d\n%sroutes: [{match: /, respond: {body: %s}}]\n"
                % (*self.ports, more, word))

    def write(self, path, text):
        with open(path, "w") as f:
            f.write(text)

    def gate(self, path=None):
        g = Gate(self.directory, path or self.path, self.ports)
        self.addCleanup(g.stop)
        return g

    def test_saved_in_place_and_by_rename(self):
        self.write(self.path, self.text("one"))
        g = self.gate()
        g.says("one")
        self.write(self.path, self.text("two"))
        g.says("two")
        self.write(self.path + ".new", self.text("three"))
        os.rename(self.path + ".new", self.path)
        g.says("three")
        subprocess.run(["sed", "-i", "s/three/four/", self.path], check=True)
        g.says("four")
        self.assertIn(b"reload: %s changed: ok in " % self.path.encode(), g.stderr())
        self.assertEqual(g.number("generation"), 4)

    def version_put(self, n, word):
        """As a kubelet puts a ConfigMap's next version."""
        folder, link = self.place("etc", "..%d" % n), self.place("etc", "..data")
        os.mkdir(folder)
        self.write(os.path.join(folder, "weir.yaml"), self.text(word))
        os.symlink("..%d" % n, link + "_tmp")
        os.rename(link + "_tmp", link)
        subprocess.run(["rm", "-rf", self.place("etc", "..%d" % (n - 1))], check=True)

    def test_a_config_map(self):
        os.mkdir(self.place("etc"))
        self.version_put(1, "one")
        os.symlink("..data/weir.yaml", self.place("etc", "weir.yaml"))
        g = self.gate(self.place("etc", "weir.yaml"))
        g.says("one")
        for n, word in ((2, "two"), (3, "three"), (4, "four")):
            self.version_put(n, word)
            g.says(word)
        self.assertEqual(g.number("generation"), 4)

    def test_a_secret_and_an_included_file(self):
        os.mkdir(self.place("conf.d"))
        self.write(self.place("secret"), "one\n")
        self.write(self.path, self.text("'${file:%s}'" % self.place("secret"), "include: conf.d/*.yaml\n"))
        g = self.gate()
        g.says("one")
        self.write(self.place("secret"), "two\n")
        g.says("two")
        more = self.place("conf.d", "more.yaml")
        self.write(more, "routes: [{match: /more, respond: {body: more}}]\n")
        wait_until("the new route", lambda: ask(g.port, "/more").body == b"more")
        os.remove(more)
        wait_until("the route to go", lambda: ask(g.port, "/more").body == b"two")

    def test_broken_and_mended(self):
        self.write(self.path, self.text("one", "include: more.yaml\n"))
        self.write(self.place("more.yaml"), "")
        g = self.gate()
        self.write(self.path, self.text("two", "include: [more.yaml, other.yaml]\n"))
        wait_until("the reload to fail", lambda: g.number('reloads_total{result="failed"}') == 1)
        g.says("one")
        self.assertEqual(g.number("reload_success"), 0)
        self.write(self.place("other.yaml"), "routes: [{\n")                 # what was missing comes, and is broken
        wait_until("it to fail again", lambda: g.number('reloads_total{result="failed"}') == 2)
        self.write(self.place("other.yaml"), "routes: [{match: /other, respond: {body: other}}]\n")
        g.says("two")
        self.assertEqual((g.number("reload_success"), g.number("generation")), (1, 2))
        self.assertEqual(ask(g.port, "/other").body, b"other")

    def test_a_signal_and_the_watch_are_one_reload(self):
        self.write(self.path, self.text("one"))
        g = self.gate()
        self.write(self.path, self.text("two"))
        g.signal(signal.SIGHUP)
        g.says("two")
        self.write(self.path, self.text("three"))          # seen alone: so what the signal did was not seen again
        g.says("three")
        self.assertEqual(g.number("generation"), 3)

    def test_turned_off_and_on(self):
        self.write(self.path, self.text("one", "reload: {watch: false, poll: 1s}\n"))
        g = self.gate()
        self.write(self.path, self.text("two"))
        time.sleep(1.5)                                    # nothing is to happen: there is nothing to wait for
        g.says("one")
        g.signal(signal.SIGHUP)
        g.says("two")
        self.write(self.path, self.text("three"))
        g.says("three")

    def test_compared_when_nothing_is_told(self):
        """A folder further up is another one: no event comes from where the file was."""
        os.makedirs(self.place("a", "etc"))
        self.write(self.place("a", "etc", "weir.yaml"), self.text("one", "reload: {poll: 500ms}\n"))
        g = self.gate(self.place("a", "etc", "weir.yaml"))
        g.says("one")
        os.makedirs(self.place("b", "etc"))
        self.write(self.place("b", "etc", "weir.yaml"), self.text("two"))
        os.rename(self.place("a"), self.place("c"))
        os.rename(self.place("b"), self.place("a"))
        g.says("two")


if __name__ == "__main__":
    main()
