#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the container image and tests it, as root on Debian, without an engine's daemon and without systemd.

    sandbox.py [TEST ...]       the tests of image_test.py whose names contain one of these

WEIR_IMAGE_KEEP=DIRECTORY: everything is made there and left there, and the next run builds only what has changed.

What it makes lives in one directory (images, containers, networks' records) and in namespaces of its own: processes, mounts,
and for the tests the network as well, so that they may publish any port and a container finds another by its name. When this
program ends, in whatever way, its processes end with it, hence the mounts and networks; the directory is then removed.

The base image is made by mmdebstrap from the machine's own apt sources and has the name that the Dockerfile asks for: the
Dockerfile is built as it is. buildah builds by chroot, podman runs by runc with cgroups as files.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DOCKERFILE = os.path.join(ROOT, "docker", "Dockerfile")
LIMIT = {"build": 1500, "test": 600}          # seconds; a quiet machine needs a tenth

# Without CAP_SYS_RESOURCE no limit can be raised, and podman's defaults are above the machine's.
CONFIGURATION = {
    "storage.conf": """[storage]
driver = "overlay"
graphroot = "@DIR@/storage"
runroot = "@DIR@/run"
""",
    "containers.conf": """[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
lock_type = "file"
tmp_dir = "@DIR@/tmp"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=8192:8192", "nproc=1024:1024"]
[network]
network_backend = "netavark"
network_config_dir = "@DIR@/networks"
"""}


def say(text):
    print("== " + text, flush=True)


def call(*args, **more):
    """Runs a command; shows what it said only when it fails."""
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, **more)
    if done.returncode != 0:
        sys.exit("%s\nsandbox: %s failed with %d" % (done.stdout[-6000:], " ".join(args[:3]), done.returncode))
    return done.stdout


# --- inside: the build -------------------------------------------------------------------------------------------------

def bases():
    """The images that the Dockerfile starts from: [(name as podman stores it, Debian's release)]."""
    releases = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
    with open(DOCKERFILE) as f:
        text = f.read()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.M))
    found = sorted(set(re.findall(r"^FROM (\S+)", text, re.M)) - stages - {"scratch"})
    named = []
    for name in found:
        m = re.fullmatch(r"debian:(\w+)-slim", name)
        if not m:
            sys.exit("sandbox: knows how to make debian:RELEASE-slim, but the Dockerfile starts from " + name)
        named.append(("docker.io/library/" + name, releases.get(m[1], m[1])))
    return named


def sources(release):
    """The machine's apt sources of that release of Debian, as lines; none: mmdebstrap takes its own."""
    lines = set()
    listed = call("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    for line in listed.splitlines():
        origin, uri, suite, component = (line.split() + [""] * 4)[:4]
        if origin == "Debian" and component == "main" and suite in (release, release + "-updates", release + "-security"):
            lines.add("deb %s %s main" % (uri, suite))
    return sorted(lines)


def make_base(name, release, directory):
    if subprocess.run(["buildah", "inspect", "--type", "image", name], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL).returncode == 0:
        return
    say("making the base image %s from the apt sources of this machine" % name)
    tar = os.path.join(directory, "base.tar")
    options = ["path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*",
               "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates"]
    command += ["--dpkgopt=" + o for o in options]
    command += ['--customize-hook=rm -rf "$1"/var/lib/apt/lists/*', release, tar]
    call(*command, *sources(release))
    container = call("buildah", "from", "scratch").strip()
    call("buildah", "add", "--quiet", container, tar, "/")
    call("buildah", "config", "--cmd", "bash", container)
    call("buildah", "commit", "--quiet", "--rm", container, name)
    os.unlink(tar)


def build(directory):
    """weir:test, the image as it is by default; weir:debug; and what the compose file's own build makes of it."""
    for name, release in bases():
        make_base(name, release, directory)
    # docker: the format that has HEALTHCHECK.
    command = ["buildah", "build", "--layers", "--pull=never", "--format", "docker", "-f", DOCKERFILE]
    for tag, more in (("weir:test", []), ("weir:debug", ["--target", "debug"])):
        say("building %s from %s" % (tag, os.path.relpath(DOCKERFILE, ROOT)))
        start = time.monotonic()
        call(*command, *more, "-t", tag, ".", cwd=ROOT)
        print("built in %.0f s" % (time.monotonic() - start))
    say("building by docker/compose.yaml")
    call("podman-compose", "-f", "docker/compose.yaml", "build", cwd=ROOT)


# --- inside: the tests -------------------------------------------------------------------------------------------------

def test(wanted):
    call("ip", "link", "set", "lo", "up")
    say("testing")
    os.execv(sys.executable, [sys.executable, os.path.join(HERE, "image_test.py")] + wanted)


def configure(directory):
    """Puts the programs' configuration where they all look, and what they keep of themselves into the directory: in this
    namespace of mounts alone. Not by the environment, which podman's monitors of containers do not hand on."""
    etc, lib = os.path.join(directory, "etc"), os.path.join(directory, "lib")
    os.makedirs(lib, exist_ok=True)
    shutil.rmtree(etc, ignore_errors=True)
    shutil.copytree("/etc/containers", etc)
    for name, text in CONFIGURATION.items():
        with open(os.path.join(etc, name), "w") as f:
            f.write(text.replace("@DIR@", directory))
    call("mount", "--bind", etc, "/etc/containers")
    call("mount", "--bind", lib, "/var/lib/containers")


def inside(verb, *args):
    """The first process of the namespace buries whatever loses its parent, such as podman's monitors of containers: podman
    takes one that is dead and unburied for one that lives."""
    pid = os.fork()
    if pid == 0:
        directory = os.environ["WEIR_IMAGE_DIR"]
        configure(directory)
        if verb == "build":
            build(directory)
        else:
            test(list(args))
        sys.exit(0)
    while True:
        gone, status = os.wait()
        if gone == pid:
            sys.exit(os.waitstatus_to_exitcode(status) & 255)


# --- outside -----------------------------------------------------------------------------------------------------------

def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)          # PR_SET_PDEATHSIG


class Sandbox:
    def __init__(self):
        self.kept = os.environ.get("WEIR_IMAGE_KEEP")
        # Not /tmp, which may be memory: the images need a gigabyte.
        self.directory = os.path.abspath(self.kept) if self.kept else tempfile.mkdtemp(prefix="weir-image-", dir="/var/tmp")
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(self.directory, 0o755)
        self.child = None
        self.env = dict(os.environ, WEIR_IMAGE_DIR=self.directory, TMPDIR=self.directory,
                        BUILDAH_ISOLATION="chroot", BUILDAH_FORMAT="docker")

    def run(self, verb, *args, network):
        """Runs this file's verb in namespaces; returns its exit status."""
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] + ([] if network else ["--net"])
        command += [sys.executable, os.path.abspath(__file__), "--inside", verb] + list(args)
        self.child = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        try:
            return self.child.wait(LIMIT[verb])
        except subprocess.TimeoutExpired:
            print("sandbox: %s took more than %d s" % (verb, LIMIT[verb]), file=sys.stderr)
            return 1
        finally:
            self.child.kill()
            self.child.wait()

    def remove(self):
        remove_groups()
        if self.kept:
            return
        # The processes are gone with their namespace, but the kernel takes their mounts apart in its own time.
        for _ in range(50):
            shutil.rmtree(self.directory, ignore_errors=True)
            if not os.path.exists(self.directory):
                break
            time.sleep(0.1)
        else:
            print("sandbox: could not remove %s" % self.directory, file=sys.stderr)


def remove_groups():
    """podman's empty cgroups; one that somebody uses cannot be removed."""
    for folder in ["/sys/fs/cgroup"] + ["/sys/fs/cgroup/" + n for n in os.listdir("/sys/fs/cgroup")]:
        for path, _, _ in os.walk(os.path.join(folder, "libpod_parent"), topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                pass


def stop(*_):
    sys.exit("sandbox: interrupted")


def main():
    if os.geteuid() != 0:
        sys.exit("sandbox: root is needed, for namespaces and mounts")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    sandbox = Sandbox()
    try:
        status = sandbox.run("build", network=True) or sandbox.run("test", *sys.argv[1:], network=False)
    finally:
        sandbox.remove()
    sys.exit(status)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--inside"]:
        main()
    else:
        inside(*sys.argv[2:])
