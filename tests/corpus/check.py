#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs both corpora against weir, plain and through TLS, and holds the result to the thresholds below.

    check.py [--weir build/weir] [--only REGEX] [--timeout S] [-v]

The four runs go side by side, each with a gateway and an upstream of its own on free ports. A case passes by its floor
verdict; the strict share, critical findings and a clean end of the gateway are one further check each.
"""
import argparse, json, os, re, signal, socket, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TLS = os.path.join(os.path.dirname(HERE), "conf", "tls")
STRICT_SHARE = {"requests": 0.97, "responses": 0.95}
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|WARNING: ThreadSanitizer")
CHILDREN = []


def free_ports(n):
    """Ports that were free a moment ago, all different."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def start(cmd, log):
    proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    CHILDREN.append(proc)
    return proc


class Mode:
    """One corpus, its upstream (in run_corpus.py) and the gateway between."""

    def __init__(self, corpus, tls, args, folder, listen, up):
        self.corpus, self.name, self.partial = corpus, corpus + (" through TLS" if tls else ""), bool(args.only)
        name = corpus + ("-tls" if tls else "")
        self.out, conf = f"{folder}/{name}.json", f"{folder}/{name}.yaml"
        pair = f", tls: {{certificates: {{certificate: {TLS}/server.pem, key: {TLS}/server.key}}}}" if tls else ""
        with open(f"{HERE}/weir.yaml") as f:
            text = f.read().replace('{listen}"', f'{listen}"{pair}').replace("{up}", str(up))
        with open(conf, "w") as f:
            f.write(text)
        self.weir_log, self.log = open(f"{folder}/{name}.weir", "w+b"), open(f"{folder}/{name}.log", "w+b")
        self.runner = start([sys.executable, f"{HERE}/run_corpus.py", corpus, "--gateway", f"127.0.0.1:{listen}",
                             "--upstream-port", str(up), "--out", self.out, "--timeout", str(args.timeout)]
                            + (["--tls", f"{TLS}/ca.pem"] if tls else []) + (["--only", args.only] if args.only else []) + (["-v"] if args.verbose else []), self.log)
        self.weir = start([args.weir, "run", "-c", conf], self.weir_log)

    @staticmethod
    def text(log):
        log.seek(0)
        return log.read().decode(errors="replace")

    def finish(self):
        """Waits, prints the table; returns (passed, [what failed])."""
        self.runner.wait()
        early = self.weir.poll()
        self.weir.terminate()
        try:
            self.weir.wait(30)
        except subprocess.TimeoutExpired:
            self.weir.kill()
            self.weir.wait()
        said = self.text(self.weir_log)
        print(f"{self.name}\n{self.text(self.log).rstrip()}")
        failed = []
        if early is not None or self.weir.returncode != 0 or SANITIZER.search(said):
            failed.append(f"the gateway ended with status {self.weir.returncode}: {said[-4000:]}")
        try:
            with open(self.out) as f:
                result = json.load(f)
        except (OSError, ValueError):
            return 0, failed + ["no result"]
        total, share = result["total"], result["strict_pass"] / max(result["total"], 1)
        if not self.partial and share < STRICT_SHARE[self.corpus]:
            failed.append(f"strict {share:.1%}, wanted {STRICT_SHARE[self.corpus]:.0%}")
        if result["critical"]:
            failed.append("critical: " + " ".join(result["critical"]))
        if total < result["of"]:
            failed.append(f"{result['of'] - total} cases not run: {result['stopped']}")
        passed = result["floor_pass"] + 3 - min(3, len(failed))
        return passed, failed + [f"{r['id']}: {'; '.join(r['floor_fail'])}" for r in result["results"] if r["floor_fail"]]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--weir", default="build/weir")
    ap.add_argument("--only", help="regular expression on id or class")
    ap.add_argument("--timeout", type=float, default=2.0)
    ap.add_argument("-v", "--verbose", action="store_true")
    args = ap.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            ports = free_ports(8)
            modes = [Mode(corpus, tls, args, folder, ports.pop(), ports.pop())
                     for tls in (False, True) for corpus in ("requests", "responses")]
            done = [m.finish() for m in modes]
    finally:
        for child in CHILDREN:
            if child.poll() is None:
                child.kill()
                child.wait()
    failed = [f"{m.name}: {text}" for m, (_, bad) in zip(modes, done) for text in bad]
    for text in failed:
        print(f"FAILED {text}")
    print(f"{sum(p for p, _ in done)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
