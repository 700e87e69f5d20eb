# SPDX-License-Identifier: Apache-2.0
"""The container image and the compose file, as those see them who run them. Started by sandbox.py, within its namespaces."""

import os
import re
import shutil
import sys
import tempfile
import time

import yaml

from podman import DIRECTORY, HARDENED, IMAGE, Case, Container, command, inspect, podman

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness import Closed, ask, dial, main, request_bytes, wait_until            # noqa: E402 (needs the path above)

MIB = 1024 * 1024
SIZE_LIMIT = 12 * MIB
USER = 65532
PORT = 18080                # published by the tests, in the network of the sandbox
COMPOSE_PORT = 8080         # the one that docker/compose.yaml publishes
PUBLISH = ["-p", "127.0.0.1:%d:8080" % PORT]

CONFIG = """version: 1
listen: 0.0.0.0:8080
admin: 127.0.0.1:9901
log: {to: stdout}
upstreams:
  mock: {endpoints: "http://mock:9000"}
routes:
  - {match: /, upstream: mock}
  - {match: /word, respond: {status: 200, body: "@WORD@"}}
"""


def answer(port=PORT, path="/"):
    """The response, or None while there is nobody who answers."""
    try:
        return ask(port, path)
    except (OSError, Closed):
        return None


def await_status(status, path="/", port=PORT):
    def probe():
        r = answer(port, path)
        return r if r is not None and r.status == status else None
    return wait_until("%d from %s" % (status, path), probe)


def await_word(word, port=PORT, path="/word"):
    wait_until("the answer %r" % word, lambda: getattr(answer(port, path), "body", b"").decode().strip() == word)


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o644)


def folder():
    """A new folder that containers' users may read; it goes with the sandbox at the latest."""
    path = tempfile.mkdtemp(prefix="folder-", dir=DIRECTORY)
    os.chmod(path, 0o755)
    return path


class ConfigMap:
    """A folder as Kubernetes mounts a ConfigMap: weir.yaml -> ..data/weir.yaml, ..data -> a folder a version; the next version
    is a rename of the link ..data, after which the old folder goes."""

    def __init__(self, text):
        self.path = folder()
        self.version = 0
        self.swap(text)
        os.symlink("..data/weir.yaml", os.path.join(self.path, "weir.yaml"))

    def at(self, name):
        return os.path.join(self.path, name)

    def swap(self, text):
        old, self.version = "..version_%d" % self.version, self.version + 1
        new = "..version_%d" % self.version
        os.mkdir(self.at(new), 0o755)
        write(os.path.join(self.at(new), "weir.yaml"), text)
        os.symlink(new, self.at("..data_tmp"))
        os.rename(self.at("..data_tmp"), self.at("..data"))
        shutil.rmtree(self.at(old), ignore_errors=True)


class Weir(Case):
    """What starts a gateway in a container, and a mock upstream from the same image."""

    def folder(self, text):
        path = folder()
        self.addCleanup(shutil.rmtree, path)
        write(os.path.join(path, "weir.yaml"), text)
        return path

    def gateway(self, folder, *options):
        return self.container("weir", options=["-v", folder + ":/etc/weir:ro"] + PUBLISH + list(options))

    def pair(self, folder):
        """A gateway, and a mock upstream that it finds by its name."""
        net = self.network("pair")
        self.container("mock", "mock", "--listen", "0.0.0.0:9000", options=["--network", net])
        w = self.gateway(folder, "--network", net)
        await_status(200)
        return w


class Image(Weir):
    def test_size(self):
        at = inspect(IMAGE)
        packed = folder()
        self.addCleanup(shutil.rmtree, packed)
        command("skopeo", "copy", "-q", "--dest-compress", "containers-storage:" + IMAGE, "dir:" + packed)
        packed_size = sum(e.stat().st_size for e in os.scandir(packed))
        print("image: %.2f MB, %.2f MB compressed; debug: %.1f MB ... " % (
            at["Size"] / 1e6, packed_size / 1e6, inspect("localhost/weir:debug")["Size"] / 1e6), end="", flush=True)
        self.assertLess(at["Size"], SIZE_LIMIT)

    def test_what_it_says_of_itself(self):
        at = inspect(IMAGE)
        config = at["Config"]
        self.assertEqual(config["User"], "%d:%d" % (USER, USER))
        self.assertEqual(list(config["ExposedPorts"]), ["8080/tcp"])
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertEqual(at["Healthcheck"]["Test"], ["CMD", "/usr/local/bin/weir", "healthcheck"])
        version = podman("run", "--rm", *HARDENED, IMAGE, "version").stdout.split()[-1]
        self.assertEqual(config["Labels"]["org.opencontainers.image.version"], version)
        self.assertEqual(config["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0")
        with open(os.path.join(ROOT, "gateway", "verbs.c")) as f:
            self.assertIn('#define WEIR_VERSION "%s"' % version, f.read(), "the Dockerfile's VERSION is not the source's")

    def test_alone_it_says_what_to_do(self):
        self.container("weir", options=PUBLISH)
        self.assertIn(b"/etc/weir", await_status(200).body)

    def test_nobody_in_particular_and_no_right_to_write(self):
        c = self.container("weir", options=PUBLISH)
        await_status(200)
        with open("/proc/%d/status" % c.pid) as f:
            status = dict(re.findall(r"^(\w+):\s+(.*)$", f.read(), re.M))
        self.assertEqual(set(status["Uid"].split() + status["Gid"].split()), {str(USER)})
        self.assertEqual((int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]), (0, 0, "1"))
        with open("/proc/%d/mountinfo" % c.pid) as f:
            root = next(line.split() for line in f if line.split()[4] == "/")
        self.assertIn("ro", root[5].split(","))

    def test_seccomp(self):
        """A list of its own, beside the engine's."""
        found = {}
        for value in ("1", "0", None):
            c = self.container("weir", options=PUBLISH + (["-e", "WEIR_SECCOMP=" + value] if value else []))
            await_status(200)
            with open("/proc/%d/status" % c.pid) as f:
                found[value] = int(re.search(r"^Seccomp_filters:\s+(\d+)$", f.read(), re.M).group(1))
            c.remove()
        self.assertEqual((found[None], found["1"]), (found["0"] + 1, found["0"] + 1))

    def test_root_is_not_writable_for_its_user(self):
        folder = self.folder("version: 1\nlisten: 0.0.0.0:8080\nlog: {to: /usr/access.log}\n"
                             "routes: [{match: /, respond: {status: 204}}]\n")
        mount = ["-v", folder + ":/etc/weir:ro"]
        for options, why in ((HARDENED, "Read-only file system"), ([], "Permission denied")):
            done = podman("run", "--rm", *options, *mount, IMAGE, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(why, done.stderr)

    def test_through_to_the_mock(self):
        self.pair(self.folder(CONFIG))
        r = ask(PORT, "/bytes/100000")
        self.assertEqual((r.status, len(r.body)), (200, 100000))
        self.assertIn(b"test.example", ask(PORT, host="test.example").body)
        self.assertEqual(ask(PORT, "/status/418").status, 418)

    def test_certificates(self):
        bundle = podman("run", "--rm", "--entrypoint", "/usr/bin/cat", "localhost/weir:debug", "/usr/lib/ssl/cert.pem").stdout
        self.assertGreater(bundle.count("BEGIN CERTIFICATE"), 100)

    def test_debug(self):
        c = self.container("weir", image="localhost/weir:debug", options=PUBLISH)
        await_status(200)
        done = podman("exec", c.name, "sh", "-c", "id -u && curl -s http://127.0.0.1:8080/ && wget -qO- 127.0.0.1:8080")
        self.assertEqual(done.stdout.count("/etc/weir"), 2, done.stdout)
        self.assertEqual(done.stdout.split()[0], str(USER))


class Health(Weir):
    def test_the_health_check(self):
        c = self.pair(self.folder(CONFIG))
        wait_until("the container to be healthy", c.healthy)
        self.assertEqual(c.state()["Health"]["Status"], "healthy")
        # A process that is there and does nothing is not healthy.
        c.signal("STOP")
        try:
            self.assertFalse(c.healthy())
        finally:
            c.signal("CONT")
        wait_until("the container to be healthy again", c.healthy)


class Reload(Weir):
    def with_word(self, word):
        return CONFIG.replace("@WORD@", word)

    def configmap(self, word):
        m = ConfigMap(self.with_word(word))
        self.addCleanup(shutil.rmtree, m.path)
        return m

    def test_configmap_swap(self):
        m = self.configmap("one")
        c = self.pair(m.path)
        await_word("one")
        pid = c.pid
        for word in ("two", "three"):
            m.swap(self.with_word(word))
            await_word(word)
        # What cannot be loaded changes nothing, and the next good one is taken.
        m.swap(self.with_word("four").replace("upstream: mock", "upsteam: mock"))
        wait_until("the log to say what is wrong", lambda: "upsteam" in c.log())
        await_word("three")
        m.swap(self.with_word("five"))
        await_word("five")
        self.assertEqual((c.pid, c.state()["Running"]), (pid, True))

    def test_editors_rename(self):
        folder = self.folder(self.with_word("one"))
        self.pair(folder)
        await_word("one")
        write(os.path.join(folder, "weir.yaml.new"), self.with_word("two"))
        os.rename(os.path.join(folder, "weir.yaml.new"), os.path.join(folder, "weir.yaml"))
        await_word("two")

    def test_hup(self):
        folder = self.folder(self.with_word("one"))
        c = self.pair(folder)
        await_word("one")
        write(os.path.join(folder, "weir.yaml"), self.with_word("two"))
        c.signal("HUP")
        await_word("two")
        # The watch may have been first: what the signal did is in the log.
        wait_until("the log to tell of the signal's reload", lambda: re.search(r"SIGHUP: ok\b", c.log()))

    def test_verb(self):
        folder = self.folder(self.with_word("one"))
        c = self.pair(folder)
        await_word("one")
        write(os.path.join(folder, "weir.yaml"), self.with_word("two"))
        podman("exec", c.name, "weir", "reload")
        await_word("two")
        write(os.path.join(folder, "weir.yaml"), "version: 1\nroute: []\n")
        done = podman("exec", c.name, "weir", "reload", check=False)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        await_word("two")

    def test_a_file_mounted_alone_is_warned_of(self):
        folder = self.folder(self.with_word("one"))
        c = self.container("weir", options=["-v", folder + "/weir.yaml:/etc/weir/weir.yaml:ro"] + PUBLISH)
        await_word("one")
        wait_until("a warning of the mount", lambda: re.search(r"warn.*mount", c.log()))

    def test_requests_go_on_while_it_reloads(self):
        m = self.configmap("0")
        self.pair(m.path)
        with dial(PORT) as p:
            p.send(request_bytes(path="/sse/40/50"))
            p.read_response(body=False)
            for n in range(1, 4):
                m.swap(self.with_word(str(n)))
                await_word(str(n))
            events = 0
            while p.chunk():
                events += 1
            self.assertEqual(events, 41)


class Drain(Weir):
    def test_a_slow_request_ends_well(self):
        c = self.pair(self.folder(CONFIG))
        with dial(PORT) as p:
            p.send(request_bytes(path="/delay/2000/5"))
            # It is in flight once the gateway waits for the mock, which was asked 2 s before it answers.
            time.sleep(0.3)
            start = time.monotonic()
            c.signal("TERM")
            r = p.read_response()
            self.assertEqual((r.status, r.body, r.get("connection", "").lower()), (200, b"xxxxx", "close"))
            self.assertEqual(c.wait(), 0)
            self.assertLess(time.monotonic() - start, 10)

    def test_stop_with_a_stream(self):
        c = self.pair(self.folder(CONFIG))
        with dial(PORT) as p:
            p.send(request_bytes(path="/sse/30/100"))
            p.read_response(body=False)
            status, seconds = c.stop()
            events = 0
            while p.chunk():
                events += 1
        self.assertEqual((status, events), (0, 31))
        print("stopped in %.1f s ... " % seconds, end="", flush=True)
        self.assertLess(seconds, 10)

    def test_idle_it_ends_at_once(self):
        c = self.pair(self.folder(CONFIG))
        with dial(PORT) as p:
            p.send(request_bytes(path="/bytes/1"))
            p.read_response()
            status, seconds = c.stop()
        self.assertEqual(status, 0)
        self.assertLess(seconds, 5)


class Compose(Weir):
    """docker/compose.yaml as podman-compose understands it, on a copy, so that its configuration may be changed."""

    def setUp(self):
        self.top = folder()
        self.addCleanup(shutil.rmtree, self.top)
        shutil.copytree(os.path.join(ROOT, "docker"), os.path.join(self.top, "docker"))
        self.config = os.path.join(self.top, "docker", "etc", "weir.yaml")

    def compose(self, *args, check=True):
        return command("podman-compose", "-p", "weir", "-f", "docker/compose.yaml", *args, cwd=self.top, check=check)

    def up(self):
        self.addCleanup(self.compose, "down", check=False)
        weir, mock = Container("weir_weir_1"), Container("weir_mock_1")
        for c in (weir, mock):
            self.addCleanup(self.tell, c)
        self.compose("up", "-d", "--no-build")
        await_status(200, port=COMPOSE_PORT)
        return weir, mock

    def test_it_builds_the_image(self):
        self.assertEqual(inspect("localhost/weir:latest")["Id"], inspect(IMAGE)["Id"])

    def test_up_and_down(self):
        weir, mock = self.up()
        self.assertIn(b"test.example", ask(COMPOSE_PORT, host="test.example").body)
        for c in (weir, mock):
            at = inspect(c.name)
            self.assertTrue(at["HostConfig"]["ReadonlyRootfs"])
            self.assertIn("no-new-privileges", at["HostConfig"]["SecurityOpt"])
            with open("/proc/%d/status" % at["State"]["Pid"]) as f:
                status = f.read()
            self.assertRegex(status, r"(?m)^Uid:\s+%d\s" % USER)
            self.assertRegex(status, r"(?m)^CapBnd:\s+0+$")
        self.assertNotIn("9901/tcp", str(inspect(weir.name)["NetworkSettings"]["Ports"]))
        self.compose("stop")
        self.assertEqual((weir.state()["ExitCode"], mock.state()["ExitCode"]), (0, 0))

    def test_health(self):
        weir, mock = self.up()
        wait_until("weir to be healthy", weir.healthy)
        # podman-compose 1.0 hands a check's CMD to /bin/sh, which the image has not: it is run here as the file has it.
        with open(os.path.join(self.top, "docker", "compose.yaml")) as f:
            check = yaml.safe_load(f)["services"]["mock"]["healthcheck"]["test"]
        self.assertEqual(check[0], "CMD")
        podman("exec", mock.name, *check[1:])

    def test_a_changed_file_is_taken(self):
        self.up()
        with open(self.config) as f:
            text = f.read()
        write(self.config, text + "  - {match: /word, respond: {status: 200, body: changed}}\n")
        await_word("changed", port=COMPOSE_PORT)


if __name__ == "__main__":
    if not DIRECTORY:
        sys.exit("image_test: run it by `make image-test`")
    main()
