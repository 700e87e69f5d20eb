# SPDX-License-Identifier: Apache-2.0
"""Configurations of a gateway under chaos: one to begin and end with, any number of others that serve the same routes, and
broken ones. And the certificates that are swapped beneath it."""

import os
import re

TOKEN = "a-token-that-is-long-enough"
NAMES = ("site.example", "other.example")


class Places:
    """Ports, paths and endpoints that configurations speak of."""

    def __init__(self, directory, ports, endpoints):
        self.directory, self.endpoints = directory, endpoints
        self.plain, self.tls, self.proxy, self.crowd, self.extra, self.admin, self.dead = ports
        self.unix = os.path.join(directory, "weir.sock")
        self.conf = os.path.join(directory, "weir.yaml")
        self.log = os.path.join(directory, "access.log")

    def path(self, name):
        return os.path.join(self.directory, name)


def listeners(p, rng):
    """The same doors always, and one that comes and goes."""
    later = rng.choice(["", ", half_close: keep"]) if rng else ""
    profile = ", tickets: false" if rng and rng.random() < 0.3 else ""
    # Whoever came by TLS comes again when others are let in, so that changes at the extra door alone.
    asks = ", clients: {ca: %s, verify: optional, header: x-subject}" % p.path("ca.pem")
    times = "header_timeout: 30s, body_timeout: 30s, keepalive_timeout: %ds" % (rng.choice([40, 50, 60]) if rng else 40)
    certificates = ", ".join("{certificate: %s, key: %s}" % (p.path(n + ".pem"), p.path(n + ".key")) for n in NAMES)
    lines = ["{at: '127.0.0.1:%d', %s, filters: [ids]%s}" % (p.plain, times, later),
             "{at: '127.0.0.1:%d', %s, tls: {certificates: [%s]%s%s}}" % (p.tls, times, certificates, profile, asks),
             "{at: '127.0.0.1:%d', %s, proxy_protocol: {trusted: 127.0.0.0/8}}" % (p.proxy, times),
             "{at: '127.0.0.1:%d', %s, per_address: {connections: %d, rate: %d/s}}" % (
                 p.crowd, times, rng.choice([3, 5]) if rng else 4, rng.choice([20, 50]) if rng else 30),
             "{at: 'unix:%s', %s}" % (p.unix, times)]
    extra = rng.randrange(5) if rng else 0
    if extra == 1:
        lines.append("'127.0.0.1:%d'" % p.extra)
    elif extra:
        lines.append("{at: '127.0.0.1:%d', tls: {certificates: [%s]%s}}" % (
            p.extra, certificates, ["", asks, asks.replace("optional", "required")][extra - 2]))
    if rng:
        rng.shuffle(lines)
    return "listen: [%s]\n" % ",\n  ".join(lines)


def upstreams(p, rng):
    urls = {name: e.url for name, e in p.endpoints.items()}
    wild = [urls[n] for n in sorted(urls) if n.startswith("wild")]
    if rng:
        wild.remove(urls["wild-c"])
        rng.shuffle(wild)
        wild = wild[:rng.choice([2, len(wild), len(wild)])] + [urls["wild-c"]]
        if rng.random() < 0.3:
            wild.append("http://127.0.0.1:%d" % p.dead)
        if rng.random() < 0.2:
            wild.append(wild[0].replace("127.0.0.1", "localhost") if wild[0].startswith("http") else "http://no.host.invalid:1")
        if rng.random() < 0.5:
            wild.append(urls["impostor"])
    pick = rng.choice if rng else (lambda of: of[0])
    tls = "host: site.example\n    tls: {ca: %s%s}" % (p.path("ca.pem"), pick(["", ", profile: modern"]))
    keyed = pick(["", ", key: client_ip", ", fair_by: 'header:x-caller'"])
    calm = ", ".join('"%s"' % urls[n] for n in sorted(urls) if n.startswith("calm"))
    return """upstreams:
  calm:
    endpoints: [%s]
    %s
    balance: %s
    pool: {idle: 2s, max: %d}
    filters:
      - concurrency: {max: %d, queue: 400, max_wait: 30s%s}
      - retry: {max: %d}
      - timeout: {connect: 10s, first_byte: 30s, idle: 30s}
  spare:
    endpoints: ["%s"]
    pool: {idle: 1s}
    proxy_protocol: %s
    filters: [breaker, {concurrency: {max: 100, queue: 100, max_wait: 10s}}]
  wild:
    endpoints: [%s]
    %s
    balance: %s
    pool: {idle: %dms, max: %d}
    eject: {failures: %d, base: %dms, max: 1s, window: 1s}
    slow_start: %dms
    health: {path: /health, every: %dms, timeout: %dms, rise: 1, fall: %d}
    filters:
      - concurrency: {max: %d, queue: %d, max_wait: %dms%s}
      - breaker: {scope: %s, min_requests: %d, open: 50ms..400ms, ramp: %dms, window: 1s}
      - retry: {max: %d, backoff: 5ms..60ms, budget: 30%%, body: %s}
      - timeout: {connect: 500ms, first_byte: 1s, idle: 1s, total: %ds}
""" % (calm, tls, pick(["least_requests", "round_robin", "{hash: 'header:x-caller'}"]), pick([256, 2, 0]), pick([12, 8, 30]),
       pick(["", ", fair_by: client_ip"]), pick([2, 1]),
       urls["spare"], pick(["v2", "v1"]),
       ", ".join('"%s"' % u for u in wild), tls, pick(["least_requests", "round_robin", "{hash: client_ip}"]), pick([2000, 300, 30]),
       pick([256, 1]), pick([5, 2, 0]), pick([200, 50]), pick([200, 1000, 0]), pick([50, 20, 200]), pick([20, 10]), pick([2, 1]),
       pick([6, 2, 20]), pick([10, 2, 0]), pick([500, 50, 2000]), keyed, pick(["upstream", "endpoint"]), pick([10, 3]),
       pick([100, 0, 1000]), pick([2, 3, 0]), pick(["256KiB", "1KiB"]), pick([4, 2, 6]))


def routes(p, rng):
    pick = rng.choice if rng else (lambda of: of[0])
    text = """routes:
  - {match: /calm/, upstream: calm, filters: [wide]}
  - {match: /limited/, upstream: calm, filters: [{token_bucket: {rate: %s, burst: 5, key: %s, name: narrow%s}}]}
  - {match: /once/, upstream: wild, fallback: {respond: {status: 503, body: "later", headers: {x-from: weir}}}}
  - {match: /wild/, upstream: wild, fallback: spare, filters: [wide, {timeout: {total: 8s}}]}
  - {match: /plainly/, upstream: wild}
  - {match: /said, respond: {status: 200, headers: {x-said: "yes"}, body: "always the same"}}
  - {match: /small/, upstream: calm, max_body: 1000B}
  - {match: /renamed/, rewrite: {prefix: /calm/}, upstream: calm, filters: [headers: {response: {set: {x-set: "1"}}}]}
  - {match: /, upstream: spare}
""" % (pick(["20/s", "5/s", "100/s"]), pick(["client_ip", "'header:x-caller'", "all"]), pick(["", ", delay: 50ms"]))
    if rng and rng.random() < 0.3:
        text += "".join("  - {match: /more/%d/:id, upstream: calm, timeout: %ds}\n" % (i, 1 + i % 60)
                        for i in range(rng.choice([10, 300])))
    return text


def configuration(p, rng=None):
    """Without `rng`: the one at the beginning and at the end. The version stands last, so that a file that is not whole is
    no configuration, wherever it ends."""
    log = "log: {to: %s}\n" % (p.log if not rng or rng.random() < 0.6 else rng.choice(["none", p.log + ".other"]))
    return listeners(p, rng) + """admin: {at: "127.0.0.1:%d", token: "${file:%s}"}
workers: 2
%sreload: {watch: %s, poll: 1s}
drain: {timeout: 5s}
define:
  ids: request_id
  wide: {token_bucket: {rate: %s, burst: 100000, key: client_ip}}
""" % (p.admin, p.path("token"), log, "true" if not rng or rng.random() < 0.8 else "false",
       rng.choice(["100000/s", "200000/s"]) if rng else "100000/s") + upstreams(p, rng) + routes(p, rng) + "version: 1\n"


def broken(text, rng):
    """One that must be refused."""
    kind = rng.randrange(6)
    if kind == 0:
        return text[:rng.randrange(len(text) - 3)]                      # half-written
    if kind == 1:
        return text.replace("upstreams:", "upsteams:")
    if kind == 2:
        return text.replace("idle: 30s", "idle: 30", 1)
    if kind == 3:
        return text.replace(".key}", ".nowhere}", 1)                    # a key that is not there
    if kind == 4:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice(["\0", "\t{", "%s${", "\xff\n&a [*a"]) + text[at:] + "more: [\n"
    return re.sub("match: /said", "match: /calm/", text)                # two routes for the same


class Certificates:
    """Several of each name, signed by one CA; and what a renewal does to their files."""

    def __init__(self, places, ca, each=3):
        self.places = places
        self.made = {n: [self.issue(ca, n, k) for k in range(each)] for n in NAMES}
        for name in NAMES:
            for at, text in zip(self.files(name), self.made[name][0]):
                write(at, text)

    @staticmethod
    def issue(ca, name, k):
        pem, key = ca.issue("%s-%d" % (name, k), "DNS:" + name, kind="rsa" if k == 1 else "ec")
        return open(pem, "rb").read(), open(key, "rb").read()

    def files(self, name):
        return self.places.path(name + ".pem"), self.places.path(name + ".key")

    def pick(self, rng):
        name = rng.choice(NAMES)
        return self.files(name), rng.choice(self.made[name])


def write(path, data):
    """Whole at once, as those do who replace a file."""
    with open(path + ".new", "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode("latin-1"))
    os.rename(path + ".new", path)
