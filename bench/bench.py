#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare proxies side by side, in one run, on the same work.

    bench.py [--scenario NAME,...] [--proxy NAME,...] [--seconds S] [--rounds N] [--json]

The proxy runs alone on CPU 1; load generator and upstream share CPU 0. The figure to quote is CPU microseconds a
request (user + system time of the proxy, all its processes, over the requests that it served), since it stays true
when the machine is busy; requests/s is printed beside it. Rounds are interleaved (A B C A B C ...), medians are shown,
and every figure also as a ratio to nginx.

A proxy is a folder-less recipe in PROXIES: how to write its configuration and how to start it on LISTEN with one
worker, forwarding everything to UPSTREAM. Set NGINX, HAPROXY, GATEWAY in the environment to choose other binaries.
"""
import argparse, json, os, re, shutil, signal, socket, ssl, statistics, subprocess, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
UPSTREAM, LISTEN = 9000, 9100
TICK = os.sysconf("SC_CLK_TCK")

NGINX_CONF = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log crit;
events {{ worker_connections 19000; accept_mutex off; }}
http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 10000000; keepalive_timeout 600s;
  {http}
  upstream u {{ server 127.0.0.1:{up}; keepalive 1024; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{listen} {tls} backlog=4096; {server}
    location / {{ {location} proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering {buffering};
      client_max_body_size 0; proxy_pass http://u; }} }} }}
"""
HAPROXY_CONF = """
global
  maxconn 9500
  nbthread 1
  tune.maxaccept 256
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend f
  bind 127.0.0.1:{listen} backlog 4096 {tls}
{front}
  default_backend b
backend b
  http-reuse always
  server s 127.0.0.1:{up} maxconn 4096
"""


def nginx_recipe(http="", server="", location="", tls="", buffering="off"):
    def write(d):
        open(f"{d}/nginx.conf", "w").write(NGINX_CONF.format(dir=d, up=UPSTREAM, listen=LISTEN, http=http,
            server=server.format(dir=d), location=location, tls=tls, buffering=buffering))
        return [os.environ.get("NGINX", "nginx"), "-p", d, "-c", f"{d}/nginx.conf"]
    return write


def haproxy_recipe(front="", tls=""):
    def write(d):
        open(f"{d}/haproxy.cfg", "w").write(HAPROXY_CONF.format(up=UPSTREAM, listen=LISTEN, front=front,
                                                                tls=tls.format(dir=d)))
        return [os.environ.get("HAPROXY", "haproxy"), "-db", "-f", f"{d}/haproxy.cfg"]
    return write


def relay_recipe(d):
    return [f"{BIN}/relay", str(LISTEN), str(UPSTREAM)]


def gateway_recipe(config, before=""):
    """GATEWAY is the binary; config names a YAML beside this file with {up}, {listen} and {dir} to fill in; `before` goes before
    the command."""
    def write(d):
        path = os.path.join(os.environ.get("GATEWAY_CONF", HERE), config)
        if "GATEWAY" not in os.environ or not os.path.exists(path):
            return None
        text = open(path).read()
        for k, v in {"{up}": UPSTREAM, "{listen}": LISTEN, "{dir}": d}.items():
            text = text.replace(k, str(v))
        open(f"{d}/gateway.yaml", "w").write(text)
        return before.split() + os.environ["GATEWAY"].split() + [f"{d}/gateway.yaml"]
    return write


TLS_NGINX = dict(tls="ssl", server="ssl_certificate {dir}/c.pem; ssl_certificate_key {dir}/k.pem; ssl_protocols TLSv1.3;")
LIMIT_NGINX = dict(http="limit_req_zone $http_x_api_key zone=k:64m rate=100000r/s; limit_conn_zone $http_x_api_key zone=c:64m;",
                   location="limit_req zone=k burst=100000 nodelay; limit_conn c 60000;")
REFUSE_NGINX = dict(http="limit_req_zone $server_port zone=k:1m rate=1r/m; limit_req_status 429;", location="limit_req zone=k;")
REFUSE_HAPROXY = "  http-request deny deny_status 429 if { src 127.0.0.0/8 }"
LIMIT_HAPROXY = """  stick-table type string len 32 size 1m expire 60s store http_req_rate(1s),conn_cur
  http-request track-sc0 req.hdr(x-api-key)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }"""

# scenario: what the load generator does, and which recipe each proxy runs
PLAIN = {"relay": relay_recipe, "nginx": nginx_recipe(), "haproxy": haproxy_recipe(),
         "gateway": gateway_recipe("plain.yaml"), "sandboxed": gateway_recipe("plain.yaml", "env WEIR_SECCOMP=1")}
SCENARIOS = {
    "get":   dict(load="wrk -t1 -c64 -d{s} --latency http://127.0.0.1:{p}/", proxies=PLAIN),
    "post":  dict(load="wrk -t1 -c64 -d{s} --latency -s {here}/post.lua http://127.0.0.1:{p}/bytes/2048", proxies=PLAIN),
    "close": dict(load="wrk -t1 -c64 -d{s} --latency -H 'Connection: close' http://127.0.0.1:{p}/", proxies={k: v for k, v in PLAIN.items() if k != "relay"}),
    "big":   dict(load="wrk -t1 -c16 -d{s} --latency http://127.0.0.1:{p}/bytes/1000000", proxies=PLAIN),
    "limit": dict(load="wrk -t1 -c64 -d{s} --latency -s {here}/keys.lua http://127.0.0.1:{p}/",
                  proxies={"nginx": nginx_recipe(**LIMIT_NGINX), "haproxy": haproxy_recipe(front=LIMIT_HAPROXY),
                           "gateway": gateway_recipe("limit.yaml")}),
    "full":  dict(load="wrk -t1 -c64 -d{s} --latency -s {here}/keys.lua http://127.0.0.1:{p}/",
                  proxies={"nginx": nginx_recipe(), "haproxy": haproxy_recipe(), "gateway": gateway_recipe("full.yaml")}),
    "refuse": dict(load="wrk -t1 -c64 -d{s} --latency http://127.0.0.1:{p}/", refused=True,
                  proxies={"nginx": nginx_recipe(**REFUSE_NGINX), "haproxy": haproxy_recipe(front=REFUSE_HAPROXY),
                           "gateway": gateway_recipe("refuse.yaml"),
                           "sandboxed": gateway_recipe("refuse.yaml", "env WEIR_SECCOMP=1")}),
    "latency": dict(load="wrk -t1 -c1 -d{s} --latency http://127.0.0.1:{p}/", proxies=PLAIN),
    "tls":   dict(load="wrk -t1 -c64 -d{s} --latency https://127.0.0.1:{p}/",
                  proxies={"nginx": nginx_recipe(**TLS_NGINX), "haproxy": haproxy_recipe(tls="ssl crt {dir}/ck.pem ssl-min-ver TLSv1.3"),
                           "gateway": gateway_recipe("tls.yaml")}),
    "tlsnew": dict(load="wrk -t1 -c32 -d{s} --latency -H 'Connection: close' https://127.0.0.1:{p}/",
                  proxies={"nginx": nginx_recipe(**TLS_NGINX), "haproxy": haproxy_recipe(tls="ssl crt {dir}/ck.pem ssl-min-ver TLSv1.3"),
                           "gateway": gateway_recipe("tls.yaml")}),
    "tlsresume": dict(load="openssl s_time -connect 127.0.0.1:{p} -reuse -time {n} -www /", resumed=True,
                  proxies={"nginx": nginx_recipe(**TLS_NGINX), "haproxy": haproxy_recipe(tls="ssl crt {dir}/ck.pem ssl-min-ver TLSv1.3"),
                           "gateway": gateway_recipe("tls.yaml")}),
    "tlsidle": dict(idle=2000, tls=True,
                  proxies={"nginx": nginx_recipe(**TLS_NGINX), "haproxy": haproxy_recipe(tls="ssl crt {dir}/ck.pem ssl-min-ver TLSv1.3"),
                           "gateway": gateway_recipe("tls.yaml")}),
    "sse":   dict(load="h2load --h1 -t1 -c500 -n500 -T 60 http://127.0.0.1:{p}/sse/100/40", proxies=PLAIN, events=50500),
    "idle":  dict(idle=8000, proxies=PLAIN),
}


def group(pid):
    """The process and all its children."""
    out = [pid]
    for t in os.listdir("/proc"):
        if t.isdigit():
            try:
                if int(open(f"/proc/{t}/stat").read().rsplit(")", 1)[1].split()[1]) == pid:
                    out.append(int(t))
            except OSError:
                pass
    return out


def cpu(pids):
    user = sys_ = 0
    for p in pids:
        f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        user += int(f[11]); sys_ += int(f[12])
    return user / TICK, sys_ / TICK


def rss_kib(pids):
    total = 0
    for p in pids:
        m = re.search(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M)
        total += int(m[1])
    return total


def wait_port(port, proc):
    for _ in range(100):
        if proc.poll() is not None:
            raise SystemExit(f"bench: a server ended at once with status {proc.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"bench: nothing listens on {port}")


def start(cmd, core, port, log):
    proc = subprocess.Popen(["taskset", "-c", str(core)] + cmd, stdout=log, stderr=log, start_new_session=True)
    wait_port(port, proc)
    return proc


def stop(proc):
    proc.send_signal(signal.SIGTERM)
    try:
        proc.wait(5)
    except subprocess.TimeoutExpired:
        proc.kill(); proc.wait()


def unit(text):
    n, u = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(n) * {"us": 1, "ms": 1e3, "s": 1e6}[u]


def measure(name, proxy, seconds):
    sc = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as d:
        if "tls" in name:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=localhost", "-keyout", f"{d}/k.pem", "-out", f"{d}/c.pem"],
                           check=True, capture_output=True)
            open(f"{d}/ck.pem", "w").write(open(f"{d}/c.pem").read() + open(f"{d}/k.pem").read())
        cmd = sc["proxies"][proxy](d)
        if not cmd:
            return None
        log = open(f"{d}/log", "w+")
        up = start([f"{BIN}/upstream", str(UPSTREAM)], 0, UPSTREAM, log)
        px = None
        try:
            px = start(cmd, 1, LISTEN, log)
            time.sleep(0.2)
            pids = group(px.pid)
            if "idle" in sc:
                ctx = None
                if "tls" in sc:
                    ctx = ssl.create_default_context(); ctx.check_hostname = False; ctx.verify_mode = ssl.CERT_NONE

                def visit():
                    s = socket.create_connection(("127.0.0.1", LISTEN))
                    s = ctx.wrap_socket(s) if ctx else s
                    s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    s.recv(4096)
                    return s
                for _ in range(1000 if not ctx else 100):      # first touches of rings, slabs and heaps are not per connection
                    visit().close()
                time.sleep(0.3)
            base = rss_kib(pids)
            if "idle" in sc:
                socks = [visit() for _ in range(sc["idle"])]
                time.sleep(1)
                grown = rss_kib(pids) - base
                for s in socks:
                    s.close()
                return {"bytes_per_conn": grown * 1024 / sc["idle"], "rss_mib": (base + grown) / 1024}
            u0, s0 = cpu(pids)
            t0 = time.monotonic()
            load = sc["load"].format(s=f"{seconds}s", n=seconds, p=LISTEN, here=HERE)
            out = subprocess.run("taskset -c 0 " + load, shell=True, capture_output=True, text=True).stdout
            wall = time.monotonic() - t0
            u1, s1 = cpu(pids)
            peak = rss_kib(pids)
            if "events" in sc:
                n, bad = sc["events"], 0 if "500 succeeded" in out else 1
                lat = {}
            elif "resumed" in sc:
                n, bad, lat = int(re.search(r"(\d+) connections in \d+ real", out)[1]), 0, {}
            else:
                n = int(re.search(r"(\d+) requests in", out)[1])
                m = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
                e = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
                bad = (int(m[1]) if m else 0) + (sum(map(int, e.groups())) if e and name not in ("close", "tlsnew") else 0)
                if "refused" in sc:
                    bad = n - int(m[1]) if m else n
                lat = {"p50_us": unit(re.search(r"^\s+50%\s+(\S+)", out, re.M)[1]), "p99_us": unit(re.search(r"^\s+99%\s+(\S+)", out, re.M)[1])}
            return {"cpu_us": (u1 - u0 + s1 - s0) / n * 1e6, "user_us": (u1 - u0) / n * 1e6, "sys_us": (s1 - s0) / n * 1e6,
                    "per_s": n / wall, "busy": (u1 - u0 + s1 - s0) / wall, "rss_mib": peak / 1024, "bad": bad, **lat}
        finally:
            if px:
                stop(px)
            stop(up)


def main():
    global BIN
    ap = argparse.ArgumentParser()
    ap.add_argument("--scenario", default=",".join(SCENARIOS)); ap.add_argument("--proxy", default="relay,nginx,haproxy,gateway")
    ap.add_argument("--seconds", type=int, default=4); ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    BIN = tempfile.mkdtemp()
    for tool in ("upstream", "relay"):
        subprocess.run(["cc", "-O2", "-o", f"{BIN}/{tool}", f"{HERE}/{tool}.c", "-lm"], check=True)
    result = {}
    try:
        for name in a.scenario.split(","):
            rows = {}
            for _ in range(a.rounds):
                for proxy in a.proxy.split(","):
                    if proxy in SCENARIOS[name]["proxies"]:
                        r = measure(name, proxy, a.seconds)
                        if r:
                            rows.setdefault(proxy, []).append(r)
            result[name] = {p: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for p, rs in rows.items()}
            if not a.json:
                print(f"\n{name}")
                key = "bytes_per_conn" if "idle" in SCENARIOS[name] else "cpu_us"
                ref = result[name].get("nginx", {}).get(key)
                for p, r in result[name].items():
                    ratio = f"  x{r[key] / ref:.2f} of nginx" if ref else ""
                    print(f"  {p:8}" + "  ".join(f"{k} {v:,.1f}" for k, v in r.items()) + ratio, flush=True)
    finally:
        shutil.rmtree(BIN)
    if a.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
