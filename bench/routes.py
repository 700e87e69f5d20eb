#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the number of routes costs: CPU time a request with 10 and with 10,000 routes.

    routes.py [--weir build/weir] [--routes 10,10000] [--seconds S] [--rounds N]
    routes.py --yaml N          prints the configuration with N routes

Routes are spread over hosts, exact paths, subtrees and :params; requests visit many of them. Rounds are interleaved and
medians shown, as in bench.py, whose upstream, load generator and placement on CPUs are used.
"""
import argparse, os, statistics, subprocess, tempfile
import bench

TOP = os.path.dirname(bench.HERE)
LUA = """
local n = 0
request = function()
  n = (n + 7919) % {count}
  return wrk.format("GET", paths[n + 1], {{["Host"] = hosts[n + 1]}})
end
"""


def routes(n):
    """(host, match, a path that it matches) of each."""
    out = []
    for i in range(n):
        host = f"h{i % 50}.example.com"
        kind = i % 3
        match = f"/api/v1/thing{i}" if kind == 0 else f"/files/part{i}/" if kind == 1 else f"/users/:id/items{i}"
        path = match if kind == 0 else match + "a/b" if kind == 1 else match.replace(":id", "42")
        out.append((host, match, path))
    return out


def yaml(n, listen="{listen}", up="{up}"):
    lines = ["version: 1", f'listen: ["127.0.0.1:{listen}"]', "log: {to: none}", "upstreams:", "  u:",
             f'    endpoints: ["http://127.0.0.1:{up}"]', "routes:"]
    lines += [f'  - {{match: {{host: {host}, path: "{match}"}}, upstream: u}}' for host, match, _ in routes(n)]
    return "\n".join(lines) + "\n"


def lua(n):
    table = routes(n)
    names = {"hosts": [host for host, _, _ in table], "paths": [path for _, _, path in table]}
    lists = "".join(f"local {k} = {{{', '.join(repr(x) for x in v)}}}\n" for k, v in names.items())
    return lists + LUA.format(count=n)


def recipe(weir, n):
    def write(d):
        with open(f"{d}/weir.yaml", "w") as f:
            f.write(yaml(n, bench.LISTEN, bench.UPSTREAM))
        return [weir, "run", "-c", f"{d}/weir.yaml"]
    return write


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--weir", default=f"{TOP}/build/weir")
    ap.add_argument("--routes", default="10,10000")
    ap.add_argument("--seconds", type=int, default=4)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--yaml", type=int)
    args = ap.parse_args()
    if args.yaml:
        print(yaml(args.yaml), end="")
        return
    counts = [int(n) for n in args.routes.split(",")]
    with tempfile.TemporaryDirectory() as d:
        bench.BIN = d
        subprocess.run(["cc", "-O2", "-o", f"{d}/upstream", f"{bench.HERE}/upstream.c", "-lm"], check=True)
        for n in counts:
            with open(f"{d}/{n}.lua", "w") as f:
                f.write(lua(n))
            bench.SCENARIOS[str(n)] = {"proxies": {"gateway": recipe(args.weir, n)},
                                       "load": f"wrk -t1 -c64 -d{{s}} --latency -s {d}/{n}.lua http://127.0.0.1:{{p}}/"}
        rows = {n: [] for n in counts}
        for _ in range(args.rounds):
            for n in counts:
                rows[n].append(bench.measure(str(n), "gateway", args.seconds))
    base = None
    for n in counts:
        median = {k: statistics.median(r[k] for r in rows[n]) for k in rows[n][0]}
        base = base or median["cpu_us"]
        print(f"{n:6} routes  cpu_us {median['cpu_us']:.2f}  user_us {median['user_us']:.2f}  bad {median['bad']:.0f}  "
              f"rss_mib {median['rss_mib']:.1f}  x{median['cpu_us'] / base:.2f}")


if __name__ == "__main__":
    main()
