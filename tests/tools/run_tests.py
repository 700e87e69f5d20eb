#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test suites and adds up their counts.

    run_tests.py [--only unit,sim,e2e,corpus] [--builds plain,sanitized,threads] [--jobs N]

A test is a program that ends with "N passed, N failed", or a Python unittest. Unit and simulation tests run from both
builds, those with threads also from one with ThreadSanitizer, end-to-end tests against the plain one, some of them against
the one with ThreadSanitizer and, when asked with `--builds valgrind`, under valgrind, or all with `--builds address` against the
sanitized one, the corpora against the sanitized one.
Output is shown of tests that failed only. A program that dies, hangs or says no counts is one failure. The last line is the
sum of all.
"""
import argparse, concurrent.futures, glob, os, re, signal, subprocess, sys, time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILDS = {"plain": "build", "sanitized": "build/san-address", "threads": "build/san-thread", "address": "build/san-address"}
WEIR = {"valgrind": "tests/tools/valgrind.sh"}        # else the weir of the build
SLOW = {"threads": "3", "address": "3", "valgrind": "6"}
# Where workers meet: reloads, sessions and certificates, limits that all workers share.
# Where memory is handed on: every way in which an exchange and a TLS connection may go and end.
CHOSEN = {
    "threads": {"reload_test": ["Reload", "sixty"], "tls_test": ["Exchange", "Sessions", "a_new_certificate"],
                "concurrency_test": ["four_workers"], "token_bucket_test": ["four_workers"]},
    "valgrind": {"proxy_test": ["Connections", "Upstreams", "Messages"], "tls_test": ["Exchange", "Callers", "plain_http", "garbage"],
                 "reload_test": ["another_configuration", "bad_file", "upstream_moves", "slots_in_flight"]},
}
TIMEOUT = {"unit": 120, "sim": 180, "e2e": 300, "corpus": 600}
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


def counts(output, status):
    """(passed, failed) of a finished program."""
    found = re.findall(r"^(\d+) passed, (\d+) failed\s*$", output, re.M)
    ran = re.findall(r"^Ran (\d+) tests? in", output, re.M)
    if found:
        passed, failed = map(int, found[-1])
    elif ran:
        bad = re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", output)
        skipped = re.findall(r"skipped=(\d+)", output)
        failed = sum(map(int, bad))
        passed = int(ran[-1]) - failed - sum(map(int, skipped))
    else:
        passed, failed = 0, 0
    if (status != 0 or passed + failed == 0) and failed == 0:
        failed = 1
    return passed, failed


def kill_group(pgid):
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_one(cmd, timeout, env):
    """Runs a program in a process group of its own and leaves nothing of it behind."""
    proc = subprocess.Popen(cmd, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = proc.communicate(timeout=timeout)
        output = output.decode(errors="replace")
        if proc.returncode < 0:
            output += f"\n(ended by signal {-proc.returncode})\n"
    except subprocess.TimeoutExpired:
        kill_group(proc.pid)
        output = proc.communicate()[0].decode(errors="replace") + f"\n(hung: ended after {timeout} s)\n"
    except BaseException:
        kill_group(proc.pid)
        raise
    kill_group(proc.pid)
    return (*counts(output, proc.returncode), output)


def programs(suite, build):
    """The commands of a suite, by name."""
    if suite in ("unit", "sim"):
        sources = sorted(glob.glob(f"{TOP}/tests/{suite}/*_test.c"))
        if build == "threads":
            sources = [s for s in sources if "pthread_create" in open(s).read()]
        names = [os.path.basename(s)[:-2] for s in sources]
        return {n: [f"{BUILDS[build]}/tests/{suite}/{n}"] for n in names}
    if suite == "e2e":
        scripts = sorted(set(glob.glob(f"{TOP}/tests/e2e/*_test.py") + glob.glob(f"{TOP}/tests/e2e/test_*.py")))
        named = {os.path.basename(s)[:-3]: [sys.executable, os.path.relpath(s, TOP)] for s in scripts}
        if build in CHOSEN:
            return {name: named[name] + words for name, words in CHOSEN[build].items()}
        return named
    return {"corpus": [sys.executable, "tests/corpus/check.py", "--weir", f"{BUILDS[build]}/weir"]}


def run_suite(suite, build, jobs):
    todo = programs(suite, build)
    if not todo:
        return 0, 0
    env = {**os.environ, **SANITIZERS, "WEIR": os.path.join(TOP, WEIR.get(build) or f"{BUILDS[build]}/weir"),
           "WEIR_SLOW": SLOW.get(build, "1"), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.monotonic()
    passed = failed = 0
    # What measures time with real sockets runs alone.
    with concurrent.futures.ThreadPoolExecutor(jobs if suite in ("unit", "sim") else 1) as pool:
        results = {n: pool.submit(run_one, cmd, TIMEOUT[suite] * int(SLOW.get(build, "1")), env) for n, cmd in todo.items()}
        for name, result in results.items():
            try:
                p, f, output = result.result()
            except OSError as e:
                p, f, output = 0, 1, str(e)
            passed += p
            failed += f
            if f:
                print(f"--- {suite} {build} {name}: {f} failed\n{output[-8000:].rstrip()}\n---", flush=True)
            elif suite == "corpus":
                print(output.rstrip().rsplit("\n", 1)[0])
    took = time.monotonic() - started
    print(f"{suite:7} {build:10} {passed:6} passed, {failed} failed  ({len(todo)} programs, {took:.1f} s)", flush=True)
    return passed, failed


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", default="unit,sim,e2e,corpus")
    ap.add_argument("--builds", default="plain,sanitized,threads")
    ap.add_argument("--jobs", type=int, default=os.cpu_count())
    args = ap.parse_args()
    suites, builds = args.only.split(","), args.builds.split(",")
    plan = [("unit", "plain"), ("unit", "sanitized"), ("unit", "threads"), ("sim", "plain"), ("sim", "sanitized"), ("e2e", "plain"),
            ("e2e", "threads"), ("e2e", "address"), ("e2e", "valgrind"), ("corpus", "sanitized")]
    passed = failed = 0
    for suite, build in plan:
        if suite in suites and build in builds:
            p, f = run_suite(suite, build, args.jobs)
            passed += p
            failed += f
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
