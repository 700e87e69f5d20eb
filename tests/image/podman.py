# SPDX-License-Identifier: Apache-2.0
"""Containers of the image, by podman: started, asked, signalled, ended."""

import json
import os
import re
import subprocess
import time
import unittest

DIRECTORY = os.environ.get("WEIR_IMAGE_DIR", "")
IMAGE = "localhost/weir:test"
# As careful people run it. No --user: the image says who it is.
HARDENED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
# There is no systemd to run health checks by: the tests run them.
NOISE = re.compile(r".*(systemd connection|failed to connect to syslog).*\n?")


def command(*args, patience=60, check=True, **more):
    """Runs a command; returns its CompletedProcess with out and err as text."""
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          timeout=patience, **more)
    done.stderr = NOISE.sub("", done.stderr)
    if check and done.returncode != 0:
        raise AssertionError("%s: %d\n%s%s" % (" ".join(args), done.returncode, done.stdout, done.stderr))
    return done


def podman(*args, **more):
    return command("podman", *args, **more)


def inspect(what):
    return json.loads(podman("inspect", what).stdout)[0]


def last(text, lines):
    return "".join(line[:300] + "\n" for line in text.splitlines()[-lines:])


class Container:
    def __init__(self, name):
        self.name = name

    @classmethod
    def run(cls, name, *args, image=IMAGE, options=()):
        podman("run", "-d", "--name", name, *HARDENED, *options, image, *args)
        return cls(name)

    def state(self):
        return inspect(self.name)["State"]

    @property
    def pid(self):
        return self.state()["Pid"]

    def log(self):
        done = podman("logs", self.name, check=False)
        return done.stdout + done.stderr

    def healthy(self):
        """What the image's own HEALTHCHECK says now."""
        return podman("healthcheck", "run", self.name, check=False).returncode == 0

    def signal(self, name):
        podman("kill", "-s", name, self.name)

    def stop(self, seconds=10):
        """As `docker stop`: the image's stop signal, and SIGKILL after so many seconds. Returns (exit status, seconds)."""
        start = time.monotonic()
        podman("stop", "-t", str(seconds), self.name)
        return self.state()["ExitCode"], time.monotonic() - start

    def wait(self, patience=15):
        return int(podman("wait", self.name, patience=patience).stdout)

    def remove(self):
        podman("rm", "-f", "-t", "1", self.name)


class Case(unittest.TestCase):
    """A test whose containers and networks end with it; a failed one shows what they said."""

    def container(self, name, *args, **more):
        c = Container.run(name, *args, **more)
        self.keep(c)
        return c

    def keep(self, container):
        self.addCleanup(container.remove)
        self.addCleanup(self.tell, container)

    def network(self, name):
        podman("network", "create", name)
        self.addCleanup(podman, "network", "rm", "-f", name)
        return name

    def tell(self, container):
        # unittest keeps no public record of a test that still runs.
        if any(error for _, error in self._outcome.result.failures + self._outcome.result.errors if _ is self):
            said = podman("logs", container.name, check=False)
            print("\n-- %s said:\n%s%s" % (container.name, last(said.stderr, 40), last(said.stdout, 5)), end="", flush=True)
