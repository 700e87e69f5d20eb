# SPDX-License-Identifier: Apache-2.0
"""A worker whose thread is held: the watchdog notices it, says so, and says when it turns again."""

import ctypes
import os
import signal
import subprocess
import time

from harness import Case, main, request_bytes, wait_until

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000


class Held:
    """Stops one thread of a process; others go on. OSError: this machine does not allow it."""

    def __init__(self, tid):
        self.tid = tid
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.call(PTRACE_SEIZE)
        self.call(PTRACE_INTERRUPT)
        os.waitpid(tid, WALL)

    def call(self, what):
        if self.ptrace(what, self.tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def let_go(self):
        self.call(PTRACE_DETACH)


def threads(w):
    """The workers' threads: all but the first, which is the control thread, and those that write logs."""
    return [int(t) for t in os.listdir("/proc/%d/task" % w.pid) if int(t) != w.pid]


class Watchdog(Case):
    def test_a_held_worker(self):
        w = self.proxy(self.mock(), top="watchdog: 200ms\nworkers: 1\nlog: {to: none}")
        self.assertEqual(w.ask("/bytes/1").status, 200)
        workers = threads(w)
        self.assertEqual(len(workers), 1)
        try:
            held = Held(workers[0])
        except OSError as e:
            self.skipTest("a thread cannot be held here: %s" % e)
        wait_until("the watchdog to say so", lambda: b"error watchdog: worker 0 has not turned for 0." in w.stderr())
        self.assertIn(b"it gives no stack", w.stderr())          # held like this it takes no signal either
        metrics = w.metrics()                                    # the admin listener is not the worker's
        self.assertEqual(metrics['weir_worker_stuck{worker="0"}'], 1)
        self.assertGreater(metrics['weir_worker_lag_seconds{worker="0"}'], 0.2)
        held.let_go()
        wait_until("it to turn again", lambda: b"warn watchdog: worker 0 turns again, after " in w.stderr())
        self.assertEqual(w.ask("/bytes/1").status, 200)
        metrics = w.metrics()
        self.assertEqual(metrics['weir_worker_stuck{worker="0"}'], 0)
        self.assertEqual(metrics['weir_worker_stuck_total{worker="0"}'], 1)

    def test_the_signal_is_harmless(self):
        w = self.proxy(self.mock(), top="workers: 2")
        for _ in range(50):
            w.signal(signal.SIGUSR2)
        for tid in threads(w):
            subprocess.run(["kill", "-USR2", str(tid)], check=False)
        with w.dial() as p:
            for _ in range(20):
                p.send(request_bytes(path="/bytes/1"))
                self.assertEqual(p.read_response().body, b"x")
        self.assertNotIn(b"watchdog", w.stderr())

    def test_a_process_that_was_stopped(self):
        w = self.proxy(self.mock(), top="watchdog: 200ms\nworkers: 2")
        w.signal(signal.SIGSTOP)
        time.sleep(1)
        w.signal(signal.SIGCONT)
        self.assertEqual(w.ask("/bytes/1").status, 200)
        time.sleep(0.5)
        self.assertNotIn(b"watchdog", w.stderr())


if __name__ == "__main__":
    main()
