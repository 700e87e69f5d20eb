#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What weir gives up once it serves: root, new privileges, core dumps. Most of it can be seen only when the test is root."""

import pwd
import random

from harness import *

ROOT_ONLY = unittest.skipIf(os.geteuid() != 0, "not root")
NOBODY = pwd.getpwnam("nobody")
CONF = """version: 1
listen: %s
admin: 127.0.0.1:@ADMIN@
workers: 2
reload: {watch: false}
%s
routes: [{match: /, respond: {body: %s}}]
"""
OWN = '"127.0.0.1:@PORT@"'


def threads(w):
    """What the kernel says of each thread."""
    found = []
    for name in os.listdir("/proc/%d/task" % w.pid):
        with open("/proc/%d/task/%s/status" % (w.pid, name)) as f:
            found.append(dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line))
    return found


def dumpable(w):
    """The kernel gives the files of a process that may not be looked into to root."""
    return os.stat("/proc/%d/environ" % w.pid).st_uid != 0


def core_limit(w):
    with open("/proc/%d/limits" % w.pid) as f:
        return re.search(r"Max core file size +(\S+)", f.read()).group(1)


def low_port():
    for port in random.sample(range(600, 1024), 100):        # not all of several runs the same one
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port below 1024 is free")


class Privileges(Case):
    def setUp(self):
        super().setUp()
        before = resource.getrlimit(resource.RLIMIT_CORE)
        if os.geteuid() == 0:            # so that there is a limit to be lowered
            resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, max(before[1], 1 << 20) if before[1] >= 0 else before[1]))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, (before[0], resource.getrlimit(resource.RLIMIT_CORE)[1]))

    def conf(self, listen=OWN, more="", body="one"):
        return CONF % (listen, more, body)

    def open_to_all(self):
        """The test's directory, with a folder in it that is the user's."""
        os.chmod(self.directory, 0o755)
        mine = os.path.join(self.directory, "mine")
        os.mkdir(mine)
        os.chown(mine, NOBODY.pw_uid, NOBODY.pw_gid)
        return mine

    def again(self, w, text):
        with open(w.conf_path, "w") as f:
            f.write(text.replace("@PORT@", str(w.port)).replace("@ADMIN@", str(w.admin)))
        return ask(w.admin, "/reload", "POST").json()

    def test_no_new_privileges_and_no_core(self):
        w = self.weir(self.conf())
        self.assertEqual({t["NoNewPrivs"] for t in threads(w)}, {"1"})
        self.assertGreaterEqual(len(threads(w)), 4)          # control, two workers, the log's writer
        if not SANITIZED:
            self.assertEqual(core_limit(w), "0")

    @ROOT_ONLY
    def test_root_is_given_up_by_every_thread(self):
        mine, port = self.open_to_all(), low_port()
        sock, log = mine + "/weir.sock", mine + "/access.log"
        w = self.weir(self.conf('["127.0.0.1:%d", "127.0.0.1:@PORT@", "unix:%s"]' % (port, sock),
                                "user: nobody\nlog: {to: %s}" % log))
        self.assertEqual(ask(port).body, b"one")
        for t in threads(w):
            self.assertEqual(set(t["Uid"].split()), {str(NOBODY.pw_uid)})
            self.assertEqual(set(t["Gid"].split()), {str(NOBODY.pw_gid)})
            self.assertNotIn("0", t["Groups"].split())
            self.assertEqual({int(t[k], 16) for k in ("CapPrm", "CapEff", "CapInh", "CapAmb")}, {0})
        for path in (sock, log):
            self.assertEqual(os.stat(path).st_uid, NOBODY.pw_uid)
        self.assertNotIn(b"W013", w.stderr())

        # What a running gateway does, it does as that user.
        other = free_port()
        listen = '["127.0.0.1:%d", "127.0.0.1:@PORT@", "127.0.0.1:%d", "unix:%s"]' % (port, other, sock)
        said = self.again(w, self.conf(listen, "user: nobody\nlog: {to: %s}" % log, "two"))
        self.assertEqual(said["result"], "ok", said)
        self.assertEqual((ask(port).body, ask(other).body), (b"two", b"two"))
        os.rename(log, log + ".1")
        w.signal(signal.SIGUSR1)
        wait_until("the new log", lambda: os.path.exists(log))
        said = self.again(w, self.conf('["127.0.0.1:%d", "127.0.0.1:%d"]' % (port, low_port()), "user: nobody"))
        self.assertEqual([e["code"] for e in said["errors"]], ["E061"], said)
        self.assertEqual(ask(port).body, b"two")
        self.assertEqual(w.stop(), 0)
        self.assertFalse(os.path.exists(sock))

    @ROOT_ONLY
    def test_users_by_number(self):
        self.open_to_all()
        w = self.weir(self.conf(more="user: 54321\ngroup: nogroup"))
        for t in threads(w):
            self.assertEqual((t["Uid"].split()[0], t["Gid"].split()[0], t["Groups"].split()), ("54321", str(NOBODY.pw_gid), []))
        w = self.weir(self.conf(more="user: root\ngroup: nogroup"))       # who stays root may still leave its group
        for t in threads(w):
            self.assertEqual((set(t["Uid"].split()), set(t["Gid"].split())), ({"0"}, {str(NOBODY.pw_gid)}))
            self.assertNotIn("0", t["Groups"].split())

    @ROOT_ONLY
    @unittest.skipIf(SANITIZED, "who looks for leaks has to look in")
    def test_the_memory_is_nobodys_to_see(self):
        self.open_to_all()
        for more, seen in (("user: nobody", False), ("user: nobody\nsandbox: {core_dumps: true}", True)):
            w = self.weir(self.conf(more=more))
            self.assertEqual((dumpable(w), core_limit(w) == "0"), (seen, not seen), more)
            w.stop()

    @ROOT_ONLY
    def test_who_cannot_be_had(self):
        mine = self.open_to_all()
        for more, says in (("user: no-such-user", "E064: user: there is no such user here"),
                           ("user: nobody\ngroup: no-such-group", "E064: group: there is no such group here"),
                           ("user: 54321", "E064: user: a number without an entry among the users needs a `group`"),
                           ("user: nobody\nlog: {to: %s/log}" % self.directory, "E062"),
                           ('user: nobody\nprobes: "unix:%s/sock"' % self.directory, "E061")):
            w = self.weir(self.conf(more=more), ready=False)
            self.assertEqual(w.wait(), 1)
            self.assertIn(says, w.stderr().decode())
            check = subprocess.run([WEIR, "check", w.conf_path], capture_output=True, text=True, timeout=30)
            known = "E064" not in says                       # what only a start can find out
            self.assertEqual((check.returncode, known or says in check.stderr), (0 if known else 1, True), check.stderr)
        self.assertEqual(os.listdir(mine), [])

    @ROOT_ONLY
    def test_what_cannot_be_read_again_is_said(self):
        os.chmod(self.directory, 0o755)
        secret = os.path.join(self.directory, "secret")
        with open(secret, "w") as f:
            f.write("one")
        os.chmod(secret, 0o600)
        w = self.weir(self.conf(more="user: nobody", body='"${file:%s}"' % secret))
        self.assertRegex(w.stderr(), rb"warning W013: \S+secret: was read as root and cannot be read by `nobody`")
        self.assertEqual(w.stderr().count(b"W013"), 1)
        said = self.again(w, self.conf(more="user: nobody", body='"two ${file:%s}"' % secret))
        self.assertEqual(said["result"], "failed")
        self.assertIn("cannot open it: Permission denied", str(said["errors"]))
        self.assertEqual(ask(w.port).body, b"one")

    @ROOT_ONLY
    def test_what_cannot_be_read_again_did_not_change(self):
        """The watch looks 0.2 s after the start, and must not take the other user's view for a change."""
        os.chmod(self.directory, 0o755)
        secret, plain = os.path.join(self.directory, "secret"), os.path.join(self.directory, "plain")
        for path, mode in ((secret, 0o600), (plain, 0o644)):
            with open(path, "w") as f:
                f.write("one")
            os.chmod(path, mode)
        text = self.conf(more="user: nobody", body='"${file:%s} ${file:%s}"' % (secret, plain))
        w = self.weir(text.replace("watch: false", "poll: 100ms"))
        time.sleep(1)                                        # five looks
        self.assertNotIn(b"reload", w.stderr().split(b"W013", 1)[1].split(b"\n", 1)[1])
        with open(plain, "w") as f:
            f.write("two")                                   # a change all the same, that needs the secret
        wait_until("the reload to fail", lambda: b"plain changed" in w.stderr() and b"Permission denied" in w.stderr())
        os.chmod(secret, 0o644)
        wait_until("it to be in force", lambda: ask(w.port).body == b"one two")

    @ROOT_ONLY
    def test_a_key_that_cannot_be_read_again(self):
        """It is root's, as keys are: read at the start, and said to stand in the way of a reload."""
        os.chmod(self.directory, 0o755)
        crt, key = os.path.join(self.directory, "c.pem"), os.path.join(self.directory, "k.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60",
                        "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example", "-keyout", key, "-out", crt],
                       check=True, capture_output=True)
        os.chmod(crt, 0o644)
        os.chmod(key, 0o600)
        listen = '{at: "127.0.0.1:@PORT@", tls: {certificates: {certificate: %s, key: %s}}}' % (crt, key)
        w = self.weir(self.conf(listen, "user: nobody"))
        self.assertEqual(re.findall(rb"W013: \S+/(\S+): was read as root", w.stderr()), [b"k.pem"])
        said = self.again(w, self.conf(listen, "user: nobody", "two"))
        self.assertEqual(said["result"], "failed")
        self.assertRegex(said["errors"][0]["text"], r'k\.pem": .*Permission denied')
        os.chown(key, NOBODY.pw_uid, -1)
        self.assertEqual(self.again(w, self.conf(listen, "user: nobody", "two"))["result"], "ok")

    @ROOT_ONLY
    def test_another_user_waits_for_a_restart(self):
        self.open_to_all()
        w = self.weir(self.conf())
        self.assertIn(b"running as root", w.stderr())
        said = self.again(w, self.conf(more="user: nobody", body="two"))
        self.assertEqual((said["result"], [x["code"] for x in said["warnings"]]), ("ok", ["W010"]))
        self.assertEqual({t["Uid"].split()[0] for t in threads(w)}, {"0"})

    @ROOT_ONLY
    @unittest.skipUnless(shutil.which("setpriv"), "no setpriv")
    def test_capabilities_without_root(self):
        """Of what a service manager gave, the right to low ports alone is kept, for reloads."""
        self.open_to_all()
        port, path = low_port(), os.path.join(self.directory, "w.yaml")
        text = self.conf().replace("@PORT@", str(port)).replace("@ADMIN@", str(free_port()))
        with open(path, "w") as f:
            f.write(text)
        given = "+net_bind_service,+net_raw,+dac_override"
        p = subprocess.Popen(["setpriv", "--reuid", str(NOBODY.pw_uid), "--regid", str(NOBODY.pw_gid), "--clear-groups",
                              "--inh-caps", given, "--ambient-caps", given, WEIR, "run", "-c", path],
                             stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            wait_until("weir to serve", lambda: connects(port) and ask(port).body == b"one")
            for t in threads(p):
                self.assertEqual([int(t[k], 16) for k in ("CapPrm", "CapEff", "CapInh", "CapAmb")], [1 << 10, 1 << 10, 0, 0])
        finally:
            p.terminate()
            said = p.communicate(timeout=20)[1]
        self.assertEqual(p.returncode, 0, said)

    @ROOT_ONLY
    def test_another_user_than_root_stays(self):
        self.open_to_all()
        port, path = free_port(), os.path.join(self.directory, "w.yaml")
        with open(path, "w") as f:
            f.write(self.conf(more="user: daemon").replace("@PORT@", str(port)).replace("@ADMIN@", str(free_port())))
        p = subprocess.Popen([WEIR, "run", "-c", path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])
        try:
            wait_until("weir to serve", lambda: connects(port) and ask(port).body == b"one")
        finally:
            p.terminate()
            said = p.communicate(timeout=20)[1]
        self.assertEqual(p.returncode, 0, said)
        self.assertIn(b"W012: `user: daemon` is not heeded", said)


def seccomp_env(value):
    return {**{k: v for k, v in os.environ.items() if k != "WEIR_SECCOMP"}, **({"WEIR_SECCOMP": value} if value else {})}


@unittest.skipIf(SANITIZED, "a sanitized build stays outside of the sandbox")
class Sandbox(Case):
    def modes(self, more, value=None):
        w = self.weir(CONF % (OWN, more, "one"), env=seccomp_env(value))
        modes = {t["Seccomp"] for t in threads(w)}
        self.assertEqual(w.ask().body, b"one")
        self.assertEqual(w.stop(), 0)
        return modes

    def test_whose_word_counts(self):
        off = self.modes("")             # "0", or "2" in a container whose engine has a filter of its own
        self.assertEqual(self.modes("sandbox: {seccomp: true}"), {"2"})
        self.assertEqual(self.modes("", "1"), {"2"})
        self.assertEqual(self.modes("sandbox: {core_dumps: true}", "1"), {"2"})
        self.assertEqual(self.modes("", "0"), off)
        self.assertEqual(self.modes("sandbox: {seccomp: false}", "1"), off)
        self.assertEqual(self.modes("sandbox: {seccomp: true}", "0"), {"2"})

    def again(self, w, log, body):
        text = CONF % (OWN, "sandbox: {seccomp: true}\nlog: {to: %s}" % log, body)
        with open(w.conf_path, "w") as f:
            f.write(text.replace("@PORT@", str(w.port)).replace("@ADMIN@", str(w.admin)))
        return ask(w.admin, "/reload", "POST").json()

    def test_logs(self):
        one, other = os.path.join(self.directory, "one.log"), os.path.join(self.directory, "other.log")
        w = self.weir(CONF % (OWN, "sandbox: {seccomp: true}\nlog: {to: %s}" % one, "one"))
        self.assertEqual(w.ask().body, b"one")
        os.rename(one, one + ".1")
        w.signal(signal.SIGUSR1)
        wait_until("the new log", lambda: os.path.exists(one))
        self.assertEqual(self.again(w, other, "two")["result"], "ok")
        self.assertEqual(w.ask().body, b"two")
        wait_until("the other log", lambda: os.path.getsize(other) > 0)

    def test_a_log_file_that_comes_late(self):
        w = self.weir(CONF % (OWN, "sandbox: {seccomp: true}\nlog: {to: stdout}", "one"))
        said = self.again(w, os.path.join(self.directory, "late.log"), "two")
        self.assertIn("sandbox.seccomp forbids it since none was named at the start", said["errors"][0]["text"])
        self.assertEqual((said["errors"][0]["code"], w.ask().body), ("E062", b"one"))
        self.assertEqual(self.again(w, "stderr", "two")["result"], "ok")
        self.assertEqual(w.ask().body, b"two")


if __name__ == "__main__":
    main()
