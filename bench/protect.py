#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a gateway is for, measured: an upstream that collapses under load, and a burst in front of it.

    protect.py [--proxy direct,nginx,haproxy,gateway] [--seconds S] [--json]

The upstream serves 20 requests at a time in 50 ms each (400/s); more in flight slow all of them down (bench/upstream.c,
/serve). Three runs for each proxy, open loop, seeded Poisson arrivals, every client gives up after 2 s and closes:

  burst    a noisy key at 1,100/s and a polite key at 40/s: goodput is answers 200 inside 2 s, of the 400/s that the
           upstream can do; polite is the share of the polite key's requests that got one; most is the upstream's
           highest number in flight.
  outage   200/s while the upstream answers 503 for a third of the run: amplification is requests that reached the upstream in
           that time per request that a client sent; back is seconds after its end until 1 s of goodput is 90 %.
  leak     1,000 clients that hang up half way, then 20 at once: served is how many of those 20 are answered, at_once how
           many of them the upstream had in flight together (19 means that a slot leaked).

GATEWAY and GATEWAY_CONF as in bench.py; the gateway's files are protect.yaml (all filters) and, as proxy "retry", retry.yaml
(the same without the breaker, so that the retry budget alone bounds the amplification).
"""
import argparse, asyncio, json, os, random, signal, subprocess, sys, tempfile, time
import bench

UP, PX = bench.UPSTREAM, bench.LISTEN
NGINX = bench.nginx_recipe(
    http="limit_req_zone $http_x_api_key zone=k:8m rate=1000r/s; limit_conn_zone $server_port zone=all:1m;",
    location="limit_req zone=k burst=100 nodelay; limit_conn all 20; limit_conn_status 503; proxy_next_upstream error timeout http_503; proxy_read_timeout 2s;")
HAPROXY_CONF = bench.HAPROXY_CONF.replace("maxconn 4096", "maxconn 20").replace("\nbackend b\n", "\nbackend b\n  timeout queue 2s\n  timeout server 2s\n  retries 2\n  retry-on 503\n")


def haproxy(d):
    open(f"{d}/haproxy.cfg", "w").write(HAPROXY_CONF.format(up=UP, listen=PX, front="", tls=""))
    return [os.environ.get("HAPROXY", "haproxy"), "-db", "-f", f"{d}/haproxy.cfg"]


PROXIES = {"direct": None, "nginx": NGINX, "haproxy": haproxy, "gateway": bench.gateway_recipe("protect.yaml"),
           "retry": bench.gateway_recipe("retry.yaml")}


async def ask(port, path, key, limit=2.0, hang_up=None):
    """One request on its own connection: (status or None, seconds)."""
    t0 = time.monotonic()
    w = None
    try:
        async def go():
            nonlocal w
            r, w = await asyncio.open_connection("127.0.0.1", port)
            w.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\nConnection: close\r\n\r\n".encode())
            if hang_up is not None:
                await asyncio.sleep(hang_up)
                return None
            line = await r.readline()
            status = int(line.split()[1]) if line else None
            head = await r.readuntil(b"\r\n\r\n")
            size = [int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
            await (r.readexactly(size[0]) if size else r.read())
            return status
        return await asyncio.wait_for(go(), limit), time.monotonic() - t0
    except (OSError, EOFError, asyncio.TimeoutError, IndexError, ValueError):
        return None, time.monotonic() - t0
    finally:
        if w:
            w.transport.abort()


async def stats(reset=False):
    r, w = await asyncio.open_connection("127.0.0.1", UP)
    w.write(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"/reset " if reset else b"/stats"))
    await r.readuntil(b"\r\n\r\n")
    out = await r.readline()
    w.close()
    return {} if reset else json.loads(out)


async def offer(port, rates, seconds, path, during=None):
    """Open loop: rates is {key: per second}. Returns [(key, sent at, status, took)]."""
    rng, rows, tasks, start = random.Random(7), [], [], time.monotonic()
    events = sorted((t, k) for k, r in rates.items() for t in arrivals(rng, r, seconds))

    async def one(k, at):
        status, took = await ask(port, path, k)
        rows.append((k, at, status, took))
    for at, k in events:
        wait = start + at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(k, at)))
    await asyncio.gather(*tasks)
    return rows


def arrivals(rng, rate, seconds):
    t, out = 0.0, []
    while (t := t + rng.expovariate(rate)) < seconds:
        out.append(t)
    return out


async def run(port, seconds):
    out = {}
    await stats(reset=True)
    rows = await offer(port, {"noisy": 1100, "polite": 40}, seconds, "/serve/50/20")
    ok = [r for r in rows if r[2] == 200 and r[1] + r[3] <= seconds]      # answered while the burst lasts
    polite = [r for r in rows if r[0] == "polite"]
    s = await stats()
    out["burst"] = {"goodput": len(ok) / seconds / 400, "polite": sum(r[2] == 200 for r in polite) / len(polite),
                    "p99_ms": sorted(r[3] for r in ok)[int(len(ok) * .99)] * 1e3 if ok else None, "most": s["max_in_flight"]}
    await asyncio.sleep(3)

    third = seconds / 3
    await stats(reset=True)

    async def outage():
        await asyncio.sleep(third)
        a = (await stats())["requests"]
        await ask(UP, f"/outage/{max(1, round(third))}", "x")
        await asyncio.sleep(max(1, round(third)))
        return (await stats())["requests"] - a
    job = asyncio.create_task(outage())
    rows = await offer(port, {"a": 200}, third * 3, "/serve/50/20")
    hit = await job
    span = max(1, round(third))
    sent = sum(third <= r[1] < third + span for r in rows)
    end, back = third + span, None
    for step in range(int((third * 3 - end) * 10) - 9):
        win = [r for r in rows if end + step / 10 <= r[1] < end + step / 10 + 1]
        if win and sum(r[2] == 200 for r in win) >= .9 * len(win):
            back = step / 10
            break
    out["outage"] = {"amplification": hit / sent, "back_s": back}
    await asyncio.sleep(2)

    for _ in range(10):
        await asyncio.gather(*[ask(port, "/serve/50/20", "x", hang_up=random.Random(_).uniform(0.001, .06)) for _ in range(100)])
    await asyncio.sleep(4)
    await stats(reset=True)
    got = await asyncio.gather(*[ask(port, "/serve/200/20", "x", limit=5) for _ in range(20)])
    out["leak"] = {"served": sum(g[0] == 200 for g in got), "at_once": (await stats())["max_in_flight"]}
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--proxy", default="direct,nginx,haproxy,gateway,retry"); ap.add_argument("--seconds", type=float, default=9)
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
    bench.BIN = tempfile.mkdtemp()
    subprocess.run(["cc", "-O2", "-o", f"{bench.BIN}/upstream", f"{bench.HERE}/upstream.c", "-lm"], check=True)
    result = {}
    for name in a.proxy.split(","):
        with tempfile.TemporaryDirectory() as d:
            cmd = PROXIES[name](d) if PROXIES[name] else []
            if cmd is None:
                continue
            log = open(f"{d}/log", "w+")
            up = bench.start([f"{bench.BIN}/upstream", str(UP)], 1, UP, log)
            px = None
            try:
                px = bench.start(cmd, 1, PX, log) if cmd else None
                result[name] = asyncio.run(run(PX if cmd else UP, a.seconds))
            finally:
                if px:
                    bench.stop(px)
                bench.stop(up)
        if not a.json:
            print(f"{name:8}" + "  ".join(f"{k}: " + " ".join(f"{n}={v:.3g}" if v is not None else f"{n}=never" for n, v in g.items())
                                           for k, g in result[name].items()), flush=True)
    if a.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
